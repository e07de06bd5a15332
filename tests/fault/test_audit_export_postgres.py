"""Exports of a ledger on a real PostgreSQL server: proofs are read while records stream."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from audit.bundle import export_bundle
from audit.cli import app
from audit.formats.view import Selection
from audit.ledger import Options
from audit.rotate import rotate_signing
from audit.storage.place import place_of
from tests import postgres
from tests.auditkit import make_home
from tests.conformance.test_audit_verifiers import judge, standalone

pytestmark = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)


def test_bundles_whole_and_partial_and_parquet(tmp_path):
    """What is exported verifies with all of its records, and is on record in the database."""
    with postgres.running() as server:
        postgres.settle(tmp_path / "home", server.fresh("exports"))
        home = make_home(tmp_path / "home")
        home.fill(200, Options(checkpoint_records=50))

        def run(name, *options):
            words = ["export", home.path, "--out", tmp_path / name, *options]
            done = CliRunner().invoke(app, [str(word) for word in words])
            assert done.exit_code == 0, done.output
            return tmp_path / name

        whole, chosen = run("a.zip"), run("b.zip", "--event", "intent")
        run("c.parquet", "--format", "parquet")
        assert (int(judge(whole).code), judge(whole).records) == (10, 402)
        assert (int(judge(chosen).code), judge(chosen).chosen) == (10, 200)
        assert standalone(str(whole))[0] == standalone(str(chosen))[0] == 10
        assert not (home.path / "ledger.db").exists()


def test_a_rotated_log_in_bundles_whole_and_partial(tmp_path):
    """Its keys are in the checkpoints, wherever the ledger lies; what was kept anchors each."""
    with postgres.running() as server:
        postgres.settle(tmp_path / "home", server.fresh("rotated"))
        home, kept = make_home(tmp_path / "home"), []
        for _ in range(2):
            home.fill(3, Options(checkpoint_records=4))
            kept.append(rotate_signing(home.path, clock=home.clock).checkpoint.encode())
        home.fill(2)
        for name, selection in (
            ("whole", None), ("chosen", Selection(event="outcome")),
            ("rotations", Selection(event="key.rotated")),
        ):  # fmt: skip
            export_bundle(place_of(home.path), tmp_path / name, selection=selection)
            found = judge(tmp_path / name, kept)
            assert (int(found.code), len(found.keys)) == (0, 3), found.words
            assert standalone(str(tmp_path / name), kept)[0] == 0
