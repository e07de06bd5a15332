"""Small ledgers, kept as bytes: what was written once is read for ever.

The folders in ``tests/golden/audit`` were made by ``write_golden`` below, each as it was then, with
fixed keys, clock and randomness: v1 with wraps of the first form, v2 with those of the second
(audit-format.md §4.2). Never make one anew to get a test to pass: a change of the format is a new
folder beside it.
"""

from __future__ import annotations

import base64
import json
import runpy
from datetime import timedelta
from pathlib import Path

import pytest

from audit.checkpoint import SignedReceipt, VerifyingKey
from audit.export import export_bundle, open_evidence
from audit.keys import KeyStore, generate_auditor, load_private, parse_auditor_line
from audit.ledger import Ledger, init_home
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.verify import Code, verify
from tests.auditkit import HandClock, intent, outcome, seeded

FOLDER = Path(__file__).parents[1] / "golden" / "audit"
NEWEST = FOLDER / "v2"
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
    for copy in ("verify_standalone.py", "verify.html"):
        (folder / copy).unlink()
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


@pytest.fixture(params=["v1", "v2"])
def golden(request):
    return FOLDER / request.param


def bodies(folder):
    with open_evidence(folder) as evidence:
        return [item.body for item in evidence.items()]


def test_the_golden_ledger_verifies(golden):
    """Both verifiers find it intact and anchored, and its receipt in place."""
    kept, receipt = ((golden / name).read_bytes() for name in ("checkpoint.txt", "receipt.txt"))
    with open_evidence(golden) as evidence:
        found = verify(evidence, kept=[kept], receipts=[receipt], now="2026-03-01T09:33Z")
    assert found.code is Code.ANCHORED
    assert (found.records, found.covered, found.receipts) == (5, 5, 1)
    assert found.open_intents == ()
    assert runpy.run_path(str(STANDALONE))["verdict"](str(golden), [kept], [receipt])[0] == 0


def test_the_golden_records_open(golden):
    """The auditor's key and the keys of the key store give back what was sealed then."""
    private = load_private((golden / "auditor.pem").read_bytes())
    keys = json.loads((golden / "keys.json").read_text("utf-8"))
    expected = json.loads((golden / "opened.json").read_text("utf-8"))

    def key(key_id):
        return bytes.fromhex(keys[key_id.hex()])

    assert [shown(open_entry(parse(body), key, private)) for body in bodies(golden)] == expected


def test_the_writer_still_writes_the_newest_golden_bytes(tmp_path):
    """With the same keys, clock and randomness, every byte but HPKE's own is the same."""
    private = load_private((NEWEST / "auditor.pem").read_bytes())
    public = private.public_key().public_bytes_raw()
    line = "cloister-auditor/1 golden " + base64.b64encode(public).decode()
    receipts = write_ledger(tmp_path / "home", parse_auditor_line(line))
    export_bundle(tmp_path / "home" / "ledger.db", tmp_path / "bundle")
    written = bodies(tmp_path / "bundle")
    assert list(map(without_wraps, written)) == list(map(without_wraps, bodies(NEWEST)))
    manifest = json.loads((NEWEST / "manifest.json").read_text("utf-8"))
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text("utf-8")) == manifest
    key = VerifyingKey.parse(manifest["vkey"])
    old = SignedReceipt.open((NEWEST / "receipt.txt").read_text("utf-8"), key)
    new = SignedReceipt.open(receipts[2], key)
    assert (old.rid, old.event, old.index, old.minute) == (
        new.rid,
        new.event,
        new.index,
        new.minute,
    )
