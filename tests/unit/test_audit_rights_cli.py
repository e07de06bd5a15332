"""``auditlog subject``, ``erase``, ``hold``, ``expire`` and ``gateway backup``: words and codes."""

from __future__ import annotations

import json
import shutil

import pytest
from cryptography.hazmat.primitives import serialization as s
from typer.testing import CliRunner

from audit.cli import app
from audit.ledger import Options
from audit.record import Entry
from gateway.cli import app as gateway
from tests.auditkit import intent, make_home, outcome

PLANTED = "MRN 8812"


@pytest.fixture
def place(tmp_path):
    """A home with two requests about the planted subject and one about another; a key outside."""
    home = make_home(tmp_path / "home")
    with home.ledger(Options(index=True)) as ledger:
        ledger.submit(Entry("boot")).result()
        for number, subject in ((1, PLANTED), (2, "MRN 9"), (3, PLANTED)):
            ledger.submit(intent(number, subject=subject)).result()
            ledger.submit(outcome(number)).result()
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (tmp_path / "auditor.pem").write_bytes(pem)
    return tmp_path


def run(place, *arguments):
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, [*words, "--key", str(place / "auditor.pem")])


def found(place, subject=PLANTED):
    done = run(place, "subject", "find", place / "home", "--subject", subject, "-o", "json")
    return json.loads(done.stdout)["records"]


def test_find_answers_from_the_index(place):
    """Any spelling; nothing for somebody unknown; a subject or a matter, not both."""
    assert found(place, "mrn-8812") == [2, 6]
    assert found(place, "MRN 8813") == []
    assert run(place, "subject", "find", place / "home").exit_code == 2


def test_report_tells_and_copies(place):
    """JSON, text and HTML; texts only with --copy, and of no other subject."""
    options = ["--subject", PLANTED, "--keystore", place / "home" / "keystore.db"]
    made = json.loads(
        run(place, "subject", "report", place / "home", *options, "-o", "json").stdout
    )
    assert [row["record"] for row in made["records"]] == [2, 3, 6, 7]
    assert made["purposes"] == ["treatment"]
    done = run(place, "subject", "report", place / "home", *options, "--copy")
    assert "visit 3" in done.stdout
    assert "visit 2" not in done.stdout
    page = run(place, "subject", "report", place / "home", *options, "-o", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    shown = run(place, "subject", "report", place / "home", *options, "--kind", "hipaa528")
    assert "records    0" in shown.stdout  # all of it was treatment


def test_erase_plans_refuses_and_erases(place):
    """--dry-run changes nothing, a hold refuses with exit code 1, then it goes and stays gone."""
    home = place / "home"
    erase = ["erase", home, "--subject", PLANTED, "--ground", "17(1)(a)"]
    dry = json.loads(run(place, *erase, "--dry-run", "-o", "json").stdout)
    assert (dry["records"], dry["on_record"], dry["keys"]) == ([2, 3, 6, 7], [], 5)
    hold = run(place, "hold", "set", home, "--matter", "A", "--subject", "B", "--reason", "x")
    assert hold.exit_code == 1
    set_ = ["hold", "set", home, "--subject", PLANTED, "--reason", "dispute", "-o", "json"]
    hold = json.loads(run(place, *set_).stdout)["hold"]
    refused = run(place, *erase)
    assert refused.exit_code == 1
    assert "17(3)(e)" in refused.stdout
    assert hold in run(place, "hold", "list", home).stdout
    release = ["hold", "release", home, "--hold", hold, "--reason", "over"]
    assert run(place, *release).exit_code == 0
    done = run(place, *erase)
    assert done.exit_code == 0
    assert "keys         " in done.stdout
    assert found(place) == []
    assert "keys         0" in run(place, *erase).stdout
    assert run(place, *erase[:-1], "because").exit_code == 1


def test_an_older_key_store_shows_nothing_that_was_erased(place):
    """`show` and `report` leave out what the log says is erased, whatever the copy still has."""
    home, old = place / "home", place / "old.db"
    shutil.copy(home / "keystore.db", old)
    done = run(place, "erase", home, "--subject", PLANTED, "--ground", "17(1)(a)")
    assert done.exit_code == 0
    shown = run(place, "show", home, "--keystore", old)
    assert "visit 2" in shown.stdout
    assert PLANTED not in shown.stdout
    options = ["--subject", PLANTED, "--keystore", old]
    assert "records    0" in run(place, "subject", "report", home, *options).stdout


def test_expire_says_what_it_did(place):
    """Nothing is due in a fresh home, with a private key and without one."""
    done = CliRunner().invoke(app, ["expire", str(place / "home")])
    assert done.stdout.startswith("destroyed    0 keys")
    value = json.loads(run(place, "expire", place / "home", "-o", "json").stdout)
    assert (value["destroyed"], value["waiting"]) == (0, False)


def test_gateway_backup_creates_verifies_and_restores(place, monkeypatch):
    """Exit code 0 and a line, 1 and a line where something is in the way, 2 for another kind."""
    monkeypatch.setenv("CLOISTER_HOME", str(place / "home"))

    def backup(*arguments):
        return CliRunner().invoke(gateway, ["backup", *map(str, arguments)])

    for kind in ("database", "keystore"):
        assert backup("create", kind, "--out", place / kind).exit_code == 0
        assert "sha256" in backup("verify", place / kind).stdout
        assert backup("create", kind, "--out", place / kind).exit_code == 1
        assert backup("restore", place / kind).exit_code == 1
    assert backup("create", "all", "--out", place / "all").exit_code == 2
    assert backup("verify", place / "nowhere").exit_code == 1
    for name in ("ledger.db", "keystore.db"):
        (place / "home" / name).unlink()
    assert backup("restore", place / "keystore").exit_code == 1
    assert backup("restore", place / "database").exit_code == 0
    assert backup("restore", place / "keystore", "-o", "json").exit_code == 0
    assert found(place) == [2, 6]
