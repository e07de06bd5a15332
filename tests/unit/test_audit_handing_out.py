"""What goes out with a bundle: policy texts, sums and a form; and what stays on record of it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit.bundle import export_bundle
from audit.certification import Certification
from audit.cli import app
from audit.export import open_evidence
from audit.formats.view import Selection
from audit.keys import KeyStore
from audit.ledger import Options
from audit.policytexts import PolicyTexts
from audit.record import parse
from audit.seal import open_entry
from tests.auditkit import intent, make_home
from tests.conformance.test_audit_verifiers import judge, standalone

WHEN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
OWN = b"name: site\nallow: little\n"


def digest(text):
    return hashlib.sha256(text).hexdigest()


@pytest.fixture
def home(tmp_path):
    """A home with a policy of its own, which its second record names; its first names another."""
    made = make_home(tmp_path / "home")
    (made.path / "policies").mkdir()
    (made.path / "policies" / "site.yaml").write_bytes(OWN)
    (made.path / "policies" / "unused.yaml").write_bytes(b"name: unused\n")
    with made.ledger() as ledger:
        for number, named in enumerate((b"an older text\n", OWN)):
            digests = {"policy:site": digest(named), "tables": "0" * 64}
            ledger.submit(intent(number, features={"digests": digests})).result()
    return made


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_bundle_takes_the_policy_texts_that_records_name(home, tmp_path):
    """Found by digest, named for people, listed in the manifest; a text nobody names stays."""
    out = tmp_path / "bundle"
    assert run("export", home.path, "--out", out).exit_code == 0
    name = f"policies/site-{digest(OWN)[:12]}.yaml"
    assert [str(path.relative_to(out)) for path in out.rglob("*.yaml")] == [name]
    assert (out / name).read_bytes() == OWN
    assert json.loads((out / "manifest.json").read_bytes())["files"][name] == digest(OWN)
    assert judge(out).policies == (name,)


def test_a_shipped_policy_is_handed_out_too(home, tmp_path):
    """Where a record names the text that comes with this distribution."""
    text = (Path(__file__).parents[2] / "policies" / "hipaa.yaml").read_bytes()
    with home.ledger() as ledger:
        digests = {"policy:hipaa": digest(text)}
        ledger.submit(intent(2, features={"digests": digests})).result()
    assert run("export", home.path, "--out", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b" / f"policies/hipaa-{digest(text)[:12]}.yaml").read_bytes() == text


def test_a_partial_bundle_takes_the_texts_of_its_records_only(home, tmp_path):
    """A choice without the record that names a text does not hand the text out."""
    assert (
        run("export", home.path, "--event", "export.made", "--out", tmp_path / "b").exit_code == 0
    )
    assert not (tmp_path / "b" / "policies").exists()


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_a_text_that_no_record_names_is_told_and_changes_no_code(home, tmp_path, form):
    """Both verifiers say which one; the log itself is as good as before."""
    out = tmp_path / "bundle"
    assert run("export", home.path, "--out", out).exit_code == 0
    name = f"policies/site-{digest(OWN)[:12]}.yaml"
    (out / name).write_bytes(OWN + b"allow: everything\n")
    if form == "zip":
        packed = tmp_path / "bundle.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for path in out.rglob("*.*"):
                archive.write(path, path.relative_to(out))
        out = packed
    report, (code, words) = judge(out), standalone(str(out))
    assert (int(report.code), code) == (10, 10)
    assert report.unnamed_policies == (name,)
    assert f"No record here names the text {name}." in words
    shown = run("verify", out)
    assert shown.exit_code == 10
    assert re.search(rf"{re.escape(name)}: no record names this text", shown.output)


@given(st.lists(st.binary(max_size=8), max_size=4, unique=True), st.data())
def test_only_named_texts_are_found(texts, data):
    """Whichever texts records name, in any order, those are found and no others."""
    named = data.draw(st.lists(st.sampled_from(texts), unique=True)) if texts else []
    found = PolicyTexts(texts)
    for text in named:
        digests = json.dumps({"policy:a": digest(text)}, separators=(",", ":"))
        found.look(b'{"digests":' + digests.encode() + b"}")
        found.look(f'{{"tables":"{digest(text)}"}}'.encode())
    assert sorted(found.found.values()) == sorted(named)


# --- certification ----------------------------------------------------------------------------


def test_a_certification_sums_each_file_and_claims_nothing(home, tmp_path):
    """Each other file with its size and two digests; a form that a person has to fill in."""
    out = tmp_path / "bundle"
    assert run("export", home.path, "--certification", "--out", out).exit_code == 0
    told = json.loads((out / "certification" / "manifest.json").read_bytes())
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}
    assert {row["name"] for row in told["files"]} == {
        name for name in files if not name.startswith("certification/")
    }
    for row in told["files"]:
        data = files[row["name"]]
        assert row["size"] == len(data)
        assert row["sha256"] == digest(data)
        assert row["sha512"] == hashlib.sha512(data).hexdigest()
    span = told["export"]
    assert (span["first_index"], span["last_index"], span["records"]) == (0, 2, 3)
    assert span["checkpoint"].encode() == files["checkpoint.txt"]
    form = files["certification/declaration.md"].decode()
    assert "902(13)" in form
    assert "902(14)" in form
    assert "This is a form, not a certification." in form
    assert "no legal advice" in form
    assert digest(files["certification/manifest.json"]) in form
    assert all(row["sha256"] in form for row in told["files"])
    assert "{{" not in form
    assert not re.search(r"\bcomplian|\bcertif(y|ies) that", form)
    assert judge(out).code == standalone(str(out))[0] == 10


def test_the_same_export_at_the_same_time_is_the_same_bytes(home, tmp_path):
    """Nothing in a bundle is drawn at random or tells of the machine."""
    packed = []
    for name in ("a.zip", "b.zip"):
        export_bundle(home.path / "ledger.db", tmp_path / name, policies=[OWN],
                      certification=Certification(WHEN))  # fmt: skip
        packed.append((tmp_path / name).read_bytes())
    assert packed[0] == packed[1]
    assert b"2026-03-01T10:00:00+00:00" in zipfile.ZipFile(tmp_path / "a.zip").read(
        "certification/manifest.json"
    )


# --- on record, on the screen -----------------------------------------------------------------


def test_the_auditor_reads_in_the_record_of_an_export_what_was_asked_for(home, tmp_path):
    """The sealed filters open with the auditor's key and the key store; readable is the role."""
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (tmp_path / "auditor.pem").write_bytes(pem)
    done = run(
        "export", home.path, "--format", "jsonl", "--out", tmp_path / "x", "--from", "2026-02-01",
        "--to", "2026-12-31T10:00", "--event", "intent", "--principal", "ward-7", "--subject",
        "mrn-17", "--key", tmp_path / "auditor.pem", "--keystore", home.path / "keystore.db",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with open_evidence(home.path) as evidence:
        record = parse(list(evidence.items())[-1].body)
    assert record.header.event == "export.made"
    assert record.header.features == {"role": "operator"}
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    opened = partial(open_entry, key=keys.key, private=home.private)(record)
    keys.close()
    assert opened.sealed == {
        "account": os.getuid(),
        "format": "jsonl",
        "opened": True,
        "filters": {
            "from": "2026-02-01T00:00Z",
            "to": "2026-12-31T10:00Z",
            "event": "intent",
            "principal": "ward-7",
            "subject": True,
        },
    }
    assert opened.text["subject"] == "mrn-17"


def test_on_a_terminal_a_bar_tells_how_many_of_all(home, tmp_path):
    """Standard error of a terminal shows the count and the rate; of a pipe, nothing."""
    copy = shutil.copy(home.path / "ledger.db", tmp_path)
    command = [sys.executable, "-m", "audit", "export", str(copy)]
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "a.zip")], stderr=theirs, stdout=subprocess.PIPE,
        check=True, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(ours, 1 << 16).decode())
    os.close(ours)
    assert b"2 records in" in done.stdout
    assert "2/2" in shown
    assert "records/s" in shown
    done = subprocess.run([*command, "--out", str(tmp_path / "b.zip")], capture_output=True,
                          check=True)  # fmt: skip
    assert done.stderr == b""


def test_a_selection_is_written_without_what_was_not_asked():
    """Only what a manifest may tell."""
    assert Selection("2026-03-01T00:00Z", None, "intent").readable() == {
        "from": "2026-03-01T00:00Z", "event": "intent",
    }  # fmt: skip


# --- what was erased stays so -----------------------------------------------------------------


def planted(home, folder):
    """A request about a subject, a copy of the key store with its keys, and the auditor's key."""
    with home.ledger(Options(index=True)) as ledger:
        ledger.submit(intent(7, subject="MRN 8812")).result()
    old = folder / "old.db"
    shutil.copy(home.path / "keystore.db", old)
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(pem)
    return ("--key", folder / "auditor.pem", "--keystore", old)


def test_the_ledger_s_own_file_is_the_ledger_in_use(home, tmp_path):
    """Naming it leaves the same record as naming its home; a copy has nowhere to leave one."""
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
    for source, more in (
        (home.path / "ledger.db", 1),
        (shutil.copy(home.path / "ledger.db", tmp_path), 0),
    ):
        with home.ledger() as ledger, ledger.reading() as reader:
            before = reader.last()[0]
        done = run("export", source, "--format", "jsonl", "--out", tmp_path / f"out{more}")
        assert done.exit_code == 0, done.output
        with home.ledger() as ledger, ledger.reading() as reader:
            assert reader.last()[0] == before + more


def test_an_older_key_store_opens_nothing_that_was_erased_since(home, tmp_path):
    """An export with a copy from before the erasure names the subject nowhere (§11.4)."""
    keys = planted(home, tmp_path)
    source = home.path / "ledger.db"
    assert run("export", source, "--format", "jsonl", "--out", tmp_path / "a", *keys).exit_code == 0
    assert "MRN 8812" in (tmp_path / "a").read_text("utf-8")
    done = run("erase", home.path, "--subject", "MRN 8812", "--ground", "17(1)(a)", *keys[:2])
    assert done.exit_code == 0, done.output
    assert run("export", source, "--format", "jsonl", "--out", tmp_path / "b", *keys).exit_code == 0
    assert "MRN 8812" not in (tmp_path / "b").read_text("utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--format", "jsonl", "--out", "x"),
        ("show",),
        ("subject", "report", "--subject", "MRN 8812"),
    ],
)
def test_nothing_is_opened_from_a_partial_bundle(home, tmp_path, monkeypatch, command):
    """It may lack the erasure of what it holds: whoever opens seals needs the whole log."""
    monkeypatch.chdir(tmp_path)
    keys = planted(home, tmp_path)
    export_bundle(home.path / "ledger.db", tmp_path / "b", selection=Selection(event="intent"))
    done = run(*command, tmp_path / "b", *keys)
    assert done.exit_code == 1
    assert "use the whole log" in done.output
    assert not (tmp_path / "x").exists()


def test_readable_parts_come_out_of_a_partial_bundle(home, tmp_path):
    """Without a key the formats of records take it as any other."""
    export_bundle(home.path / "ledger.db", tmp_path / "b", selection=Selection(event="intent"))
    out = tmp_path / "x"
    assert run("export", tmp_path / "b", "--format", "csv", "--out", out).exit_code == 0
    assert out.read_text("utf-8").count("\n") == 3
