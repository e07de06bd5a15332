"""The second signature line of checkpoints: ML-DSA-65 beside Ed25519."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.bundle import export_bundle
from audit.checkpoint import Checkpoint, SigningKey
from audit.cli import app
from audit.errors import NoteError
from audit.mldsa import MlDsaKey, MlDsaSigner, first_unsigned
from tests.auditkit import make_home

STANDALONE = Path(__file__).parents[2] / "audit" / "verify_standalone.py"
SECOND = MlDsaSigner("log.example/1", bytes(32))


def head(size, *, second):
    key = SigningKey("log.example/1", bytes(range(32)))
    key.second = SECOND.line if second else None
    return Checkpoint(key.name, size, bytes(32)).sign(key).note


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_both_lines_stand_under_the_origin_and_verify():
    """The Ed25519 line is read as before; the key's text form is read back."""
    note = head(5, second=True)
    key = SigningKey("log.example/1", bytes(range(32))).public
    assert Checkpoint.open(note, key).size == 5
    assert MlDsaKey.parse(SECOND.public.vkey()) == SECOND.public
    assert SECOND.public.signed(note)
    assert not SECOND.public.signed(head(5, second=False))


def test_a_changed_signature_rejects_the_note():
    """A line in the key's name that does not verify is no line to tolerate."""
    note, other = head(5, second=True), head(6, second=True)
    with pytest.raises(NoteError):
        SECOND.public.signed(note.partition("\n\n")[0] + "\n\n" + other.partition("\n\n")[2])


@pytest.mark.parametrize(
    ("signed", "lacking"),
    [("y", None), ("nny", None), ("yy", None), ("n", 0), ("yn", 1), ("nyny", 2), ("nn", 1)],
)
def test_once_signed_always_signed(signed, lacking):
    """Leaving the line out later is what somebody would do who can forge only the other."""
    notes = [head(n + 1, second=letter == "y") for n, letter in enumerate(signed)]
    assert first_unsigned(notes, SECOND.public) == lacking


@pytest.mark.parametrize("vkey", ["", "a+b", "a+00000000+AA==", SECOND.public.vkey()[:-4]])
def test_garbage_is_no_key(vkey):
    """Another length, type or id is refused."""
    with pytest.raises(NoteError):
        MlDsaKey.parse(vkey)


def test_a_home_gets_the_key_and_verify_demands_it(tmp_path):
    """Made once; signed from the next start; the stand-alone verifier tolerates the line."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    done = run("checkpoint", "ml-dsa", home.path)
    assert done.exit_code == 0, done.output
    (tmp_path / "key").write_text(done.stdout, "utf-8")
    assert run("checkpoint", "ml-dsa", home.path).stdout == done.stdout
    assert run("verify", home.path, "--ml-dsa", tmp_path / "key").exit_code == 30
    home.fill(1)
    found = run("verify", home.path, "--ml-dsa", tmp_path / "key")
    assert found.exit_code == 10, found.output
    export_bundle(home.path / "ledger.db", tmp_path / "bundle")
    assert run("verify", tmp_path / "bundle", "--ml-dsa", tmp_path / "key").exit_code == 10
    assert runpy.run_path(str(STANDALONE))["verdict"](str(tmp_path / "bundle"))[0] == 10
    stranger = MlDsaSigner("cloister.local/other", bytes(32)).public.vkey()
    assert run("verify", home.path, "--ml-dsa", stranger).exit_code == 30
    done = run("checkpoint", "export", home.path, "--qr", tmp_path / "head.svg")
    assert done.exit_code == 0, done.output
