"""Exports of a ledger on a real PostgreSQL server: proofs are read while records stream."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.ledger import Options
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
