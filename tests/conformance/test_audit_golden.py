"""A small ledger of format 1, kept as bytes: what was written once is read for ever.

``tests/golden/audit/v1`` was made by ``write_golden`` below with fixed keys, clock and randomness.
Never make it anew to get a test to pass: a change of the format is a new folder beside it.
"""

from __future__ import annotations

import base64
import json
import runpy
from datetime import timedelta
from pathlib import Path

import pytest

from audit.bundle import export_bundle
from audit.checkpoint import SignedReceipt, VerifyingKey
from audit.export import open_evidence
from audit.keys import KeyStore, generate_auditor, load_private, parse_auditor_line
from audit.ledger import Ledger, init_home
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.verify import Code, verify
from tests.auditkit import HandClock, intent, outcome, seeded

GOLDEN = Path(__file__).parents[1] / "golden" / "audit" / "v1"
STANDALONE = Path(__file__).parents[2] / "audit" / "verify_standalone.py"


def write_ledger(home, auditor):
    """The same ledger each time, except for what HPKE draws by itself."""
    clock, randomness = HandClock(), seeded(2026)
    init_home(home, [auditor], randomness=randomness)
    ledger = Ledger.open(home, clock=clock, randomness=randomness)
    receipts = []
    for entry in (
        Entry("boot", features={"version": "0.1.0", "isolation": "seccomp+landlock"}),
        intent(1, subject="MRN 12", deadline=clock() + timedelta(minutes=2)),
        outcome(1),
        intent(2, values={}, committed={"original": "żółć \ud800"}),
        Entry("auth.denied", features={"role": "lawyer", "error": "permission_denied"}),
    ):
        receipts.append(ledger.submit(entry).result().receipt.note)
        clock.forward(seconds=61)
    ledger.close()
    return receipts


def write_golden(folder, scratch):
    """Make the golden files: run once per version of the format."""
    auditor, pem = generate_auditor("golden")
    receipts = write_ledger(scratch, auditor)
    export_bundle(scratch / "ledger.db", folder)
    (folder / "verify_standalone.py").unlink()
    (folder / "auditor.pem").write_bytes(pem)
    (folder / "receipt.txt").write_text(receipts[2], "utf-8")
    keys = KeyStore.open(scratch / "keystore.db", readonly=True)
    opened, used = [], {}

    def key(key_id):
        found = keys.key(key_id)
        used[key_id.hex()] = found.hex()
        return found

    with open_evidence(folder) as evidence:
        for item in evidence.items():
            found = open_entry(parse(item.body), key, load_private(pem))
            opened.append(shown(found))
    keys.close()
    (folder / "keys.json").write_text(json.dumps(used, indent=1), "utf-8")
    (folder / "opened.json").write_text(json.dumps(opened, indent=1), "utf-8")


def shown(opened):
    return [opened.at, opened.sealed, opened.text, list(opened.values), opened.erased]


def without_wraps(body):
    """A record without the part of it that cannot be made twice."""
    value = json.loads(body)
    for part in value["parts"]:
        part["w"] = sorted(part["w"])
    return value


@pytest.fixture
def records():
    with open_evidence(GOLDEN) as evidence:
        return [item.body for item in evidence.items()]


def test_the_golden_ledger_verifies():
    """Both verifiers find it intact and anchored, and its receipt in place."""
    kept, receipt = ((GOLDEN / name).read_bytes() for name in ("checkpoint.txt", "receipt.txt"))
    with open_evidence(GOLDEN) as evidence:
        found = verify(evidence, kept=[kept], receipts=[receipt], now="2026-03-01T09:33Z")
    assert found.code is Code.ANCHORED
    assert (found.records, found.covered, found.receipts) == (5, 5, 1)
    assert found.open_intents == ()
    assert runpy.run_path(str(STANDALONE))["verdict"](str(GOLDEN), [kept], [receipt])[0] == 0


def test_the_golden_records_open(records):
    """The auditor's key and the keys of the key store give back what was sealed then."""
    private = load_private((GOLDEN / "auditor.pem").read_bytes())
    keys = json.loads((GOLDEN / "keys.json").read_text("utf-8"))
    expected = json.loads((GOLDEN / "opened.json").read_text("utf-8"))

    def key(key_id):
        return bytes.fromhex(keys[key_id.hex()])

    assert [shown(open_entry(parse(body), key, private)) for body in records] == expected


def test_the_writer_still_writes_the_golden_bytes(tmp_path, records):
    """With the same keys, clock and randomness, every byte but HPKE's own is the same."""
    private = load_private((GOLDEN / "auditor.pem").read_bytes())
    public = private.public_key().public_bytes_raw()
    line = "cloister-auditor/1 golden " + base64.b64encode(public).decode()
    receipts = write_ledger(tmp_path / "home", parse_auditor_line(line))
    export_bundle(tmp_path / "home" / "ledger.db", tmp_path / "bundle")
    with open_evidence(tmp_path / "bundle") as evidence:
        written = [item.body for item in evidence.items()]
    assert list(map(without_wraps, written)) == list(map(without_wraps, records))
    manifest = json.loads((GOLDEN / "manifest.json").read_text("utf-8"))
    written = json.loads((tmp_path / "bundle" / "manifest.json").read_text("utf-8"))
    assert {name: written[name] for name in manifest} == manifest  # fields are added
    key = VerifyingKey.parse(manifest["vkey"])
    old = SignedReceipt.open((GOLDEN / "receipt.txt").read_text("utf-8"), key)
    new = SignedReceipt.open(receipts[2], key)
    assert (old.rid, old.event, old.index, old.minute) == (
        new.rid,
        new.event,
        new.index,
        new.minute,
    )
