"""``auditlog``: exit codes, words, JSON, files; run as its own process where start-up matters."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.keys import parse_auditor_line
from audit.record import Entry
from tests.auditkit import append_requests, intent, make_home, outcome, rid


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A demo home, a kept checkpoint, a receipt and a bundle made by the commands themselves."""
    folder = tmp_path_factory.mktemp("auditlog")
    home = make_home(folder / "home", demo=True)
    with home.ledger() as ledger:
        ledger.submit(Entry("boot")).result()
        receipt = append_requests(ledger, 2)[0].receipt.note
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415

    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(pem)
    (folder / "receipt.txt").write_text(receipt, "utf-8")
    (folder / "kept.txt").write_text(run("checkpoint", home.path).stdout, "utf-8")
    assert run("export", home.path, "--out", folder / "bundle.zip").exit_code == 0
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_verify_says_what_it_found_and_that_it_is_a_demo(place):
    """Words, numbers, how to anchor; DEMO in front of every verdict of a demo log."""
    done = run("verify", place / "home")
    assert done.exit_code == 10
    assert done.stdout.startswith("DEMO - Consistent but unanchored: 6 records")
    assert "auditlog checkpoint" in done.stdout


def test_verify_anchors_to_what_was_kept(place):
    """With the kept checkpoint and a receipt the exit code is 0, for a home and for a bundle."""
    for source in (place / "home", place / "home" / "ledger.db", place / "bundle.zip"):
        done = run(
            "verify", source, "--checkpoint", place / "kept.txt", "--receipt", place / "receipt.txt"
        )
        assert done.exit_code == 0, done.output
        assert "Verified and anchored" in done.stdout
        assert "receipts     1 in place" in done.stdout


def test_verify_as_json(place):
    """One object with the code, the verdict's name, and what was counted."""
    done = run("verify", place / "bundle.zip", "-o", "json")
    value = json.loads(done.stdout)
    assert (value["code"], value["verdict"], value["demo"]) == (10, "unanchored", True)
    assert (value["records"], value["covered"], value["open_intents"]) == (6, 6, [])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "nowhere"], 20),
        (["verify", "bundle.zip", "--checkpoint", "receipt.txt"], 2),
        (["verify", "bundle.zip", "--checkpoint", "nowhere.txt"], 2),
        (["verify", "bundle.zip", "--receipt", "kept.txt"], 2),
        (["verify", "--unknown"], 2),
        (["checkpoint", "nowhere"], 1),
        (["export", "nowhere", "--out", "x"], 1),
        (["export", "home", "--out", "bundle.zip"], 1),
        (["show", "bundle.zip", "--key", "kept.txt", "--keystore", "home/keystore.db"], 1),
        (["show", "bundle.zip", "--key", "auditor.pem", "--keystore", "nowhere"], 1),
    ],
)
def test_failures_have_their_exit_codes_and_one_line(place, monkeypatch, arguments, code):
    """A verdict, a failure or wrong use: never a traceback."""
    monkeypatch.chdir(place)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output


def test_open_intents_are_reported_and_leave_the_code(tmp_path):
    """A crash between intent and outcome is evidence, not tampering."""
    home = make_home(tmp_path / "home")
    with home.ledger() as ledger:
        ledger.submit(Entry("boot")).result()
        ledger.submit(intent(1)).result()
        ledger.submit(intent(2)).result()
        ledger.submit(outcome(2)).result()
    with home.ledger() as ledger:
        ledger.submit(Entry("boot")).result()
    done = run("verify", home.path)
    assert done.exit_code == 10
    assert f"receipt {rid(1)}: crashed" in done.stdout
    assert rid(2) not in done.stdout


def test_show_decrypts_with_both_halves(place):
    """The auditor's key and the key store open a record; control characters stay escaped."""
    options = ["--key", place / "auditor.pem", "--keystore", place / "home" / "keystore.db"]
    done = run("show", place / "bundle.zip", "--rid", rid(1), *options)
    assert done.exit_code == 0
    assert "Zebulon Quark 1" in done.stdout
    assert "Zebulon Quark 0" not in done.stdout
    rows = run("show", place / "home", *options, "-o", "json").stdout.splitlines()
    assert [json.loads(row)["event"] for row in rows] == [
        "boot", "intent", "outcome", "intent", "outcome", "export.made", "seals.opened",
    ]  # fmt: skip
    assert run("show", place / "home", "--rid", rid(9), *options).exit_code == 1


def test_keygen_keeps_the_private_half_private(tmp_path):
    """The key file is 0600 and never overwritten; the public line can be registered."""
    (tmp_path / "phrase").write_text("correct horse\n")
    arguments = ["keygen", "--out", tmp_path / "a.pem", "--name", "ann",
                 "--passphrase-file", tmp_path / "phrase"]  # fmt: skip
    assert run(*arguments).exit_code == 0
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (tmp_path / "a.pem").read_bytes()
    assert parse_auditor_line((tmp_path / "a.pem.pub").read_text()).name == "ann"
    assert run(*arguments).exit_code == 1
    assert run("keygen", "--out", tmp_path / "b", "--name", "a b").exit_code == 1


def test_auditlog_needs_nothing_of_the_gateway_and_starts_lean():
    """An auditor installs the base package only; help must not load databases or ciphers."""
    code = (
        "import sys; import audit.cli; "
        "print({'gateway', 'sqlalchemy', 'cryptography', 'litestar'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_color_where_it_is_not_wanted(place):
    """Without a terminal, or with NO_COLOR, the output holds no escape sequence."""
    done = subprocess.run(
        [sys.executable, "-c", "from audit.cli import main; main()", "verify", "bundle.zip"],
        capture_output=True, text=True, check=False, cwd=place,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 10
    assert "\x1b" not in done.stdout
