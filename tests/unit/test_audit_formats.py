"""Exports for other programs: each format read back by a reader that is not ours."""

from __future__ import annotations

import csv
import json
import re
import shutil
import stat

import pytest
from cryptography.hazmat.primitives import serialization as s
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit.cli import app
from audit.errors import FormatError, LedgerError
from audit.export import open_evidence, write_records
from audit.formats.lines import cef, cell, syslog
from audit.formats.view import Selection, View, moment
from audit.record import Entry, Header
from audit.seal import Opened
from tests.auditkit import intent, make_home, outcome

_SYSLOG = re.compile(
    r"<(\d{1,3})>1 (\S+) ([!-~]{1,255}) (\S+) (\S+) ([!-~]{1,32}) \[([!-~]+) (.*)\]\n"
)
_PARAM = re.compile(r'([!-~]{1,32}?)="((?:[^"\\\]]|\\["\\\]])*)" ?')
NASTY = 'a=b|c\\d]e"f\n=1+1'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A home with two principals, one of them with a name that breaks careless formats."""
    folder = tmp_path_factory.mktemp("formats")
    home = make_home(folder / "home")
    with home.ledger() as ledger:
        ledger.submit(Entry("boot")).result()
        ledger.submit(intent(0)).result()
        ledger.submit(outcome(0)).result()
        home.clock.forward(days=2)
        ledger.submit(intent(1, sealed={"principal": NASTY}, subject="mrn-17")).result()
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(pem)
    return folder


def run(place, out, *options):
    """An export of a copy of the ledger's file, which leaves the ledger as it is."""
    words = ["export", shutil.copy(place / "home" / "ledger.db", place), "--out", out, *options]
    return CliRunner().invoke(app, [str(word) for word in words])


def keys(place):
    return "--key", place / "auditor.pem", "--keystore", place / "home" / "keystore.db"


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_jsonl_needs_no_key_and_shows_nothing_sealed(place, tmp_path):
    """Each record is a line with its readable part; the file is private."""
    assert run(place, tmp_path / "all.jsonl", "--format", "jsonl").exit_code == 0
    found = rows(tmp_path / "all.jsonl")
    assert [row["event"] for row in found] == ["boot", "intent", "outcome", "intent"]
    assert [row["index"] for row in found] == [0, 1, 2, 3]
    assert "ward-7" not in (tmp_path / "all.jsonl").read_text("utf-8")
    assert stat.S_IMODE((tmp_path / "all.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--from", "2026-03-02"), [3]),
        (("--to", "2026-03-01"), [0, 1, 2]),
        (("--from", "2026-03-01T09:30Z", "--to", "2026-03-01T09:30"), [0, 1, 2]),
        (("--from", "2026-03-01T09:31"), [3]),
        (("--event", "intent"), [1, 3]),
        (("--event", "nothing"), []),
    ],
)
def test_readable_filters(place, tmp_path, options, expected):
    """Dates take whole days, minutes are inclusive, and no record is taken twice or lost."""
    assert run(place, tmp_path / "x", "--format", "jsonl", *options).exit_code == 0
    assert [row["index"] for row in rows(tmp_path / "x")] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), [0, 1, 2, 3]), (("--principal", "ward-7"), [1]), (("--subject", "mrn-17"), [3])],
)
def test_sealed_filters_with_both_keys(place, tmp_path, options, expected):
    """With both keys seals are opened, and a principal or a subject can be asked for."""
    done = run(place, tmp_path / "x", "--format", "jsonl", *keys(place), *options)
    assert done.exit_code == 0, done.output
    assert [row["index"] for row in rows(tmp_path / "x")] == expected
    assert all("sealed" in row for row in rows(tmp_path / "x"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--format", "jsonl", "--principal", "ward-7"), "need --key"),
        (("--format", "csv", "--subject", "mrn-17"), "need --key"),
        (("--format", "csv", "--key", "k.pem"), "go together"),
        (("--format", "csv", "--from", "2026-02-30"), "UTC"),
        (("--format", "csv", "--from", "yesterday"), "UTC"),
        (("--key", "k.pem", "--keystore", "k.db"), "a bundle is sealed"),
        (("--format", "csv", "--certification"), "for bundles"),
    ],
)
def test_wrong_use_is_said_and_writes_nothing(place, tmp_path, options, word):
    """One plain line, exit code 2, no file."""
    done = run(place, tmp_path / "x", *options)
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert word in done.output


def test_csv_is_read_back_and_computes_nothing(place, tmp_path):
    """The csv module reads every field back; no cell starts as a formula."""
    assert run(place, tmp_path / "x.csv", "--format", "csv", *keys(place)).exit_code == 0
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["principal"] for row in found] == ["", "ward-7", "", NASTY]
    assert found[3]["subject"] == "mrn-17"
    assert json.loads(found[1]["entities"]) == {"PERSON": "1"}


@given(st.text(max_size=20))
def test_no_cell_starts_as_a_formula(text):
    """Whatever the text is, what is left of it after spaces starts with no formula's sign."""
    assert cell(text).lstrip()[:1] not in {*"=+-@＝＋－＠"}  # noqa: RUF001
    assert cell(text).removeprefix("'") == text.removeprefix("'")


def view(principal):
    header = Header("demo.log 1", "0" * 32, 3, "auth.denied", None, "2026-03-01T09:30Z",
                    "2032-03", "1" * 32, {"status": 403})  # fmt: skip
    return View(7, header, Opened("x", {"principal": principal}, {}, ()))


def unescaped(text):
    return re.sub(r"\\(.)", r"\1", text)


@given(st.text(max_size=40))
def test_syslog_is_one_line_of_rfc_5424(text):
    """A parser of the RFC's grammar reads each parameter back; printable text is unchanged."""
    line = syslog(view(text))
    match = _SYSLOG.fullmatch(line)
    assert match is not None
    assert (match[1], match[2], match[3]) == ("108", "2026-03-01T09:30:00Z", "demo.log1")
    assert _PARAM.sub("", match[8]) == ""
    found = {name: unescaped(value) for name, value in _PARAM.findall(match[8])}
    assert found["event"] == "auth.denied"
    if text.isprintable() and text:
        assert found["principal"] == text


@given(st.text(max_size=40))
def test_cef_is_one_line_with_seven_heads(text):
    """Heads split at bars that are not escaped; a value's equals signs are escaped."""
    heads = re.split(r"(?<!\\)\|", cef(view(text)).removesuffix("\n"), maxsplit=7)
    assert heads[:7] == [
        "CEF:0", "Cloister", "gateway", "1", "auth.denied", "auth.denied", "6",
    ]  # fmt: skip
    assert "\n" not in heads[7]
    pairs = re.findall(r"(\w+)=((?:[^=\\]|\\.)*)(?= \w+=|$)", heads[7])
    found = {name: unescaped(value) for name, value in pairs}
    assert (found["rt"], found["cn1"], found["cn1Label"]) == ("1772357400000", "7", "index")
    if text.isprintable() and text.strip() and not re.search(r"(^|\s)\w+$", text):
        assert found["suser"] == text


def test_an_export_from_a_home_is_on_record_first(place, tmp_path):
    """It is sealed with the account, the format and the filters; a refused one leaves none."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    out = ["export", str(home.path), "--format", "csv", "--out", str(tmp_path / "x.csv")]
    assert CliRunner().invoke(app, [*out, "--event", "intent"]).exit_code == 0
    assert CliRunner().invoke(app, out).exit_code == 1
    with open_evidence(home.path) as evidence:
        events = [json.loads(item.body)["header"]["event"] for item in evidence.items()]
    assert events == ["boot", "intent", "outcome", "export.made"]


def test_an_interrupted_export_leaves_nothing(tmp_path):
    """A record that is none, or a hand on the keyboard, halfway: no file of any name stays."""

    def broken(error):
        yield view("a")
        raise error

    for error in (FormatError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_records(tmp_path / "x", "csv", broken(error))
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_kept(tmp_path):
    """What another process wrote at the place since is never replaced."""

    def meanwhile():
        yield view("a")
        (tmp_path / "x").write_text("theirs", "utf-8")

    with pytest.raises(LedgerError):
        write_records(tmp_path / "x", "csv", meanwhile())
    assert [path.read_text("utf-8") for path in tmp_path.iterdir()] == ["theirs"]


def test_a_selection_does_not_print_whom_it_asks_about():
    """A principal and a subject are in no repr."""
    shown = repr(Selection(moment("2026-03-01", last=False), principal="ward-7", subject="mrn-17"))
    assert "ward-7" not in shown
    assert "mrn-17" not in shown
