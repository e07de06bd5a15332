"""Two verifiers, written apart, give one verdict over a corpus of tampered logs.

``audit.verify`` reads ledgers and bundles; ``verify_standalone.py`` reads bundles with nothing but
the standard library, and runs here as its own process' code would: from its file.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import rfc8785

from audit.checkpoint import Checkpoint, SignedReceipt, SigningKey, VerifyingKey
from audit.errors import AuditError, FormatError, MissingError
from audit.export import export_bundle, open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.merkle import Frontier, leaf_hash
from audit.record import Entry
from audit.verify import Code, Report, check_kept, verify
from tests.auditkit import append_requests, make_home, quick_folder

STANDALONE = Path(__file__).parents[2] / "audit" / "verify_standalone.py"
ANCHORED, UNANCHORED, MISSING, CONTRADICTED, TAMPERED = 0, 10, 20, 30, 40


@dataclass
class Bundle:
    """A bundle taken apart, to be tampered with and written again."""

    manifest: dict
    lines: list[bytes]
    notes: list[str]
    kept: bytes = b""
    receipt: bytes = b""
    tail: bytes = b""
    missing: set = field(default_factory=set)

    @property
    def bodies(self):
        return [line.partition(b" ")[2] for line in self.lines]

    def renumber(self, bodies):
        """Lines with consistent numbers, as an attacker who knows the format would write."""
        self.lines = [b"%d %b" % (n, body) for n, body in enumerate(bodies)]
        self.manifest["records"] = len(bodies)
        return self

    def resign(self, key, sizes):
        """Checkpoints over the present records by whoever holds ``key``."""
        tree, self.notes = Frontier(), []
        for body in self.bodies:
            tree.add(leaf_hash(body))
            if tree.size in sizes:
                head = Checkpoint(key.name, tree.size, tree.root())
                self.notes.append(head.sign(key).note)
        self.manifest["vkey"] = key.public.vkey()
        return self

    def write(self, folder):
        folder.mkdir()
        files = {
            "manifest.json": json.dumps(self.manifest, sort_keys=True).encode(),
            "records.log": b"".join(line + b"\n" for line in self.lines) + self.tail,
            "checkpoints.json": json.dumps(self.notes).encode(),
        }
        for name, data in files.items():
            if name not in self.missing:
                (folder / name).write_bytes(data)
        return folder


@dataclass
class Original:
    """An intact log: its home, its signing key, and what an auditor kept of it."""

    home: object
    bundle: Bundle
    key: SigningKey


@pytest.fixture(scope="module")
def folder():
    with quick_folder() as path:
        yield path


@pytest.fixture(scope="module")
def original(folder):
    home = make_home(folder / "home")
    with home.ledger(Options(checkpoint_records=10_000)) as ledger:
        ledger.submit(Entry("boot")).result()
        receipt = append_requests(ledger, 3)[-1].receipt.note
        ledger.publish().result()
        kept = ledger.checkpoint()
        append_requests(ledger, 2)
    exported = folder / "bundle"
    export_bundle(home.path / "ledger.db", exported)
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    key = keys.signing_key
    keys.close()
    bundle = Bundle(
        manifest=json.loads((exported / "manifest.json").read_bytes()),
        lines=(exported / "records.log").read_bytes().split(b"\n")[:-1],
        notes=json.loads((exported / "checkpoints.json").read_bytes()),
        kept=kept.encode(),
        receipt=receipt.encode(),
    )
    assert (len(bundle.lines), len(bundle.notes)) == (11, 2)
    return Original(home, bundle, key)


def judge(source, kept=(), receipts=()):
    """The verdict of ``audit.verify`` as ``auditlog verify`` gives it."""
    check_kept(kept, receipts)
    try:
        with open_evidence(source) as evidence:
            return verify(evidence, kept=kept, receipts=receipts)
    except MissingError as failed:
        return Report(Code.MISSING, str(failed))
    except FormatError as failed:
        return Report(Code.TAMPERED, str(failed))


standalone = runpy.run_path(str(STANDALONE))["verdict"]


def swap(line):
    """Exchange the ciphertexts of the first two parts of a record."""
    value = json.loads(line)
    first, second = value["parts"][:2]
    first["c"], second["c"] = second["c"], first["c"]
    return rfc8785.dumps(value)


def flip(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def edit(body, **fields):
    value = json.loads(body)
    value["header"] |= fields
    return rfc8785.dumps(value)


def tampered(name, o):  # noqa: C901, PLR0911, PLR0912, PLR0915 - one case per attack
    """The corpus. Each case is (bundle, verdict unanchored, verdict with the kept checkpoint)."""
    b = replace(o.bundle, manifest=dict(o.bundle.manifest), lines=list(o.bundle.lines),
                notes=list(o.bundle.notes), missing=set())  # fmt: skip
    bodies, sizes = b.bodies, (7, 11)
    forged = SigningKey(o.key.name, bytes(32))
    other = SigningKey("cloister.local/other", bytes(32))
    signature = SigningKey("witness.example", bytes(32)).sign_note("x\n").rpartition("\n\n")[2]
    match name:
        case "intact":
            return b, UNANCHORED, ANCHORED
        case "an extra signature line":
            b.notes[0] += signature
            return b, UNANCHORED, ANCHORED
        case "a broken extra signature line":
            b.notes[0] += "\u2014 witness.example AA\n"
            return b, TAMPERED, TAMPERED
        case "flip a byte of a ciphertext":
            b.lines[4] = flip(b.lines[4], b.lines[4].index(b'"c":"') + 20)
            return b, TAMPERED, TAMPERED
        case "flip a byte of the last record":
            b.lines[10] = flip(b.lines[10], 60)
            return b, TAMPERED, TAMPERED
        case "flip a byte of a checkpoint":
            b.notes[1] = b.notes[1].replace("\n1", "\n2", 1)
            return b, TAMPERED, TAMPERED
        case "drop a record":
            del b.lines[4]
            return b, MISSING, MISSING
        case "drop a record and number again":
            return b.renumber(bodies[:4] + bodies[5:]), TAMPERED, TAMPERED
        case "drop a record and sign again":
            b.renumber(bodies[:4] + bodies[5:]).resign(o.key, (7, 10))
            return b, UNANCHORED, CONTRADICTED
        case "drop the last record":
            del b.lines[10]
            return b, MISSING, MISSING
        case "drop the tail and its checkpoint":
            b.renumber(bodies[:7]).resign(o.key, (7,))
            return b, UNANCHORED, ANCHORED
        case "truncate below what was kept":
            b.renumber(bodies[:5]).resign(o.key, (5,))
            return b, UNANCHORED, MISSING
        case "truncate and continue":
            b.renumber(bodies[:5] + bodies[7:]).resign(o.key, (9,))
            return b, UNANCHORED, CONTRADICTED
        case "cut the last line":
            b.lines[10], b.tail = b"", b.lines[10][:40]
            b.lines.pop()
            return b, MISSING, MISSING
        case "reorder":
            b.lines[4], b.lines[5] = b.lines[5], b.lines[4]
            return b, MISSING, MISSING
        case "reorder and number again":
            bodies[4], bodies[5] = bodies[5], bodies[4]
            return b.renumber(bodies), TAMPERED, TAMPERED
        case "reorder and sign again":
            bodies[4], bodies[5] = bodies[5], bodies[4]
            return b.renumber(bodies).resign(o.key, sizes), TAMPERED, TAMPERED
        case "duplicate":
            b.lines.insert(5, b.lines[4])
            return b, TAMPERED, TAMPERED
        case "duplicate and sign again":
            b.renumber([*bodies, bodies[4]]).resign(o.key, (7, 12))
            return b, TAMPERED, TAMPERED
        case "a record with no leaf":
            b.lines.append(b"11 " + edit(bodies[10], seq=99))
            return b, TAMPERED, TAMPERED
        case "swap two ciphertexts":
            bodies[1] = swap(bodies[1])
            return b.renumber(bodies), TAMPERED, TAMPERED
        case "swap two ciphertexts and sign again":
            bodies[1] = swap(bodies[1])
            return b.renumber(bodies).resign(o.key, sizes), UNANCHORED, CONTRADICTED
        case "edit a record and sign again":
            bodies[1] = edit(bodies[1], features={"role": "lawyer"})
            return b.renumber(bodies).resign(o.key, sizes), UNANCHORED, CONTRADICTED
        case "edit a record after what was kept and sign again":
            bodies[9] = edit(bodies[9], features={"role": "lawyer"})
            return b.renumber(bodies).resign(o.key, sizes), UNANCHORED, ANCHORED
        case "replace the signing key":
            return b.resign(forged, sizes), UNANCHORED, CONTRADICTED
        case "replace the key in the manifest only":
            b.manifest["vkey"] = forged.public.vkey()
            return b, TAMPERED, TAMPERED
        case "checkpoints by another key":
            vkey = b.manifest["vkey"]
            b.resign(forged, sizes).manifest["vkey"] = vkey
            return b, TAMPERED, TAMPERED
        case "a checkpoint of another log":
            b.notes[1] = Checkpoint(other.name, 11, bytes(32)).sign(o.key).note
            return b, TAMPERED, TAMPERED
        case "records of another log":
            bodies = [edit(body, origin=other.name) for body in bodies]
            return b.renumber(bodies).resign(o.key, sizes), TAMPERED, TAMPERED
        case "checkpoints in the wrong order":
            b.notes.reverse()
            return b, TAMPERED, TAMPERED
        case "a checkpoint twice":
            b.notes.append(b.notes[-1])
            return b, TAMPERED, TAMPERED
        case "no checkpoints but records":
            b.notes = []
            return b, TAMPERED, TAMPERED
        case "empty":
            b.renumber([]).notes = []
            return b, MISSING, MISSING
        case "no records but checkpoints":
            return b.renumber([]), MISSING, MISSING
        case "a record that is none":
            bodies[10] = b'{"note":"free text"}'
            return b.renumber(bodies).resign(o.key, sizes), TAMPERED, TAMPERED
        case "a record in two spellings":
            bodies[10] = bodies[10].replace(b'"v":1', b'"v": 1')
            return b.renumber(bodies).resign(o.key, sizes), TAMPERED, TAMPERED
        case "a record of a later format":
            value = json.loads(bodies[10])
            value["zone"] = 1
            bodies[10] = rfc8785.dumps(value)
            return b.renumber(bodies).resign(o.key, sizes), UNANCHORED, ANCHORED
        case "an index in another spelling":
            b.lines[3] = b"0" + b.lines[3]
            return b, TAMPERED, TAMPERED
        case "a line without an index":
            b.lines[3] = b.bodies[3]
            return b, TAMPERED, TAMPERED
        case "an empty line":
            b.lines.insert(3, b"")
            return b, TAMPERED, TAMPERED
        case "no records file":
            b.missing.add("records.log")
            return b, MISSING, MISSING
        case "no checkpoints file":
            b.missing.add("checkpoints.json")
            return b, MISSING, MISSING
        case "no manifest":
            b.missing.add("manifest.json")
            return b, MISSING, MISSING
        case "a manifest of something else":
            b.manifest["format"] = "other/1"
            return b, TAMPERED, TAMPERED
        case "a manifest without a key":
            del b.manifest["vkey"]
            return b, TAMPERED, TAMPERED
        case "a manifest with a broken key":
            b.manifest["vkey"] = b.manifest["vkey"][:-5]
            return b, TAMPERED, TAMPERED
        case "a manifest that promises more":
            b.manifest["records"] = 12
            return b, MISSING, MISSING
        case "a manifest with half a surrogate pair":
            b.manifest["vkey"] = "\ud800" + b.manifest["vkey"]
            return b, TAMPERED, TAMPERED
        case "a checkpoint with half a surrogate pair":
            b.notes[0] = b.notes[0].replace("\n", "\ud800\n", 1)
            return b, TAMPERED, TAMPERED
        case "a part without a name":
            value = json.loads(bodies[10])
            value["parts"][0]["n"] = 5
            bodies[10] = rfc8785.dumps(value)
            return b.renumber(bodies).resign(o.key, sizes), TAMPERED, TAMPERED
        case "a key that anybody signs for, in another spelling":
            b.manifest["vkey"] = VerifyingKey(
                o.key.name, (2**255 - 18).to_bytes(32, "little")
            ).vkey()
            return b, TAMPERED, TAMPERED
        case "the same key with a sign that zero does not have":
            b.manifest["vkey"] = VerifyingKey(
                o.key.name, (1 | 1 << 255).to_bytes(32, "little")
            ).vkey()
            return b, TAMPERED, TAMPERED
        case _:
            raise AssertionError(name)


CASES = [
    line.split('"')[1]
    for line in Path(__file__).read_text("utf-8").splitlines()
    if line.startswith('        case "')
]


@pytest.mark.parametrize("form", ["directory", "zip"])
@pytest.mark.parametrize("name", CASES)
def test_both_verifiers_give_the_expected_verdict(original, tmp_path, name, form):
    """With and without the kept checkpoint, from a directory and from a zip file."""
    bundle, unanchored, anchored = tampered(name, original)
    source = bundle.write(tmp_path / "bundle")
    if form == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source))
    kept = original.bundle.kept
    for codes, anchors in ((unanchored, ()), (anchored, (kept,))):
        report = judge(source, anchors)
        assert int(report.code) == codes, report.words
        code, words = standalone(str(source), anchors)
        assert code == codes, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intact", UNANCHORED),
        ("drop the last record", MISSING),
        ("drop the tail and its checkpoint", UNANCHORED),  # the receipt's record is still there
        ("truncate below what was kept", MISSING),
        ("truncate and continue", TAMPERED),
        ("replace the signing key", CONTRADICTED),
        ("edit a record and sign again", UNANCHORED),  # another record than the receipt's
    ],
)
def test_a_signed_receipt_exposes_what_became_of_its_record(original, tmp_path, name, expected):
    """Promise 6: who kept only a receipt learns that its record is gone or another."""
    bundle, _, _ = tampered(name, original)
    source = bundle.write(tmp_path / "bundle")
    receipts = (original.bundle.receipt,)
    assert int(judge(source, (), receipts).code) == expected
    assert standalone(str(source), (), receipts)[0] == expected


def test_a_receipt_of_a_tail_that_was_dropped_cleanly_says_missing(original, tmp_path):
    """The log was cut behind a checkpoint and looks intact; the receipt knows better."""
    bundle, _, _ = tampered("drop the tail and its checkpoint", original)
    source = bundle.write(tmp_path / "bundle")
    lost = SignedReceipt(
        original.key.name, "a" * 32, "outcome", 9, bytes(32), "2026-03-01T09:30Z"
    ).sign(original.key)
    receipts = (lost.note.encode(),)
    assert int(judge(source, (), receipts).code) == MISSING
    assert standalone(str(source), (), receipts)[0] == MISSING


@pytest.mark.parametrize("garbage", [b"", b"kept", b"\xff\n\n\n", b"a\n0\n\n\n"])
def test_what_the_auditor_brings_must_be_what_it_is_called(original, tmp_path, garbage):
    """A broken file of the auditor's own is wrong use, and no verdict about the log."""
    source = tampered("intact", original)[0].write(tmp_path / "bundle")
    empty = Checkpoint(original.key.name, 0, hashlib.sha256().digest()).sign(original.key)
    for kept, receipts in (
        ((garbage,), ()),
        ((), (garbage,)),
        ((original.bundle.receipt,), ()),
        ((), (original.bundle.kept,)),
        ((empty.note.encode(),), ()),
    ):
        with pytest.raises(AuditError):
            judge(source, kept, receipts)
        with pytest.raises(standalone.__globals__["Bad"]):
            standalone(str(source), kept, receipts)


@pytest.mark.parametrize(
    ("statement", "unanchored", "anchored"),
    [
        ("select 1", UNANCHORED, ANCHORED),
        ("delete from records where idx = 4", MISSING, MISSING),
        ("delete from records where idx >= 9", MISSING, MISSING),
        ("delete from records where idx >= 5; delete from checkpoints", MISSING, MISSING),
        ("delete from records; delete from checkpoints", MISSING, MISSING),
        ("delete from facts", MISSING, MISSING),
        ("drop table records", MISSING, MISSING),
        ("update records set body = cast(replace(body, 'clinician', 'researche') as blob)",
         TAMPERED, TAMPERED),
        ("update records set leaf = zeroblob(32) where idx = 3", TAMPERED, TAMPERED),
        ("update records set idx = idx + 100 where idx = 3", MISSING, MISSING),
        (("insert into records (idx, rid, body, leaf, receipt)"
          " select 11, rid, body, leaf, receipt from records where idx = 3"),
         TAMPERED, TAMPERED),
        ("delete from checkpoints where size = 11", UNANCHORED, ANCHORED),
        ("delete from checkpoints where size = 11; update records set receipt = '' where idx = 9",
         TAMPERED, TAMPERED),
        ("update records set body = 'text' where idx = 3", TAMPERED, TAMPERED),
        ("update checkpoints set note = x'ff' where size = 7", TAMPERED, TAMPERED),
        ("update checkpoints set note = (select note from checkpoints where size = 7)",
         TAMPERED, TAMPERED),
        ("update facts set value = x'41' where name = 'vkey'", TAMPERED, TAMPERED),
    ],
)  # fmt: skip
def test_a_tampered_ledger_file_is_found_out(original, tmp_path, statement, unanchored, anchored):
    """``auditlog verify`` reads the database itself and trusts none of its columns."""
    copy = tmp_path / "ledger.db"
    shutil.copy(original.home.path / "ledger.db", copy)
    database = sqlite3.connect(copy)
    database.executescript(statement)
    database.commit()
    database.close()
    assert int(judge(copy).code) == unanchored
    assert int(judge(copy, (original.bundle.kept,)).code) == anchored


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 9000])
def test_a_cut_ledger_file_is_no_success(original, tmp_path, size):
    """Whatever SQLite makes of a truncated file, the verdict is not a good one."""
    copy = tmp_path / "ledger.db"
    copy.write_bytes((original.home.path / "ledger.db").read_bytes()[:size])
    assert judge(copy).code in (Code.MISSING, Code.TAMPERED)


def test_a_damaged_zip_is_unreadable_and_not_intact(original, tmp_path):
    """A flipped byte in a compressed file gives no good verdict, and both verifiers the same."""
    source = tampered("intact", original)[0].write(tmp_path / "bundle")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source))
    with zipfile.ZipFile(packed) as archive:
        start = archive.getinfo("records.log").header_offset + 100
    packed.write_bytes(flip(packed.read_bytes(), start))
    assert judge(packed).code in (Code.MISSING, Code.TAMPERED)
    assert standalone(str(packed))[0] == judge(packed).code


def test_a_file_that_is_two_things_is_read_as_one(original, tmp_path):
    """Bytes before a zip, or a ledger before one: no verifier sees what another misses."""
    source = tampered("intact", original)[0].write(tmp_path / "bundle")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source)).read_bytes()
    for start in (b"XX", (original.home.path / "ledger.db").read_bytes()):
        (tmp_path / "both").write_bytes(start + packed)
        assert standalone(str(tmp_path / "both"))[0] == MISSING
    (tmp_path / "both").write_bytes(b"XX" + packed)
    assert judge(tmp_path / "both").code is Code.MISSING


def test_a_bundle_planted_in_a_home_does_not_stand_in_for_its_ledger(original, tmp_path):
    """An intact copy beside a tampered ledger is no verdict on either."""
    source = tampered("intact", original)[0].write(tmp_path / "home")
    shutil.copy(original.home.path / "ledger.db", source)
    assert judge(source).code is Code.TAMPERED
    assert standalone(str(source))[0] == TAMPERED
    assert judge(source / "ledger.db").code is Code.UNANCHORED


@pytest.mark.parametrize("place", ["nothing", "folder", "text"])
def test_nothing_is_not_a_log(tmp_path, place):
    """A path without a log says so; it is not an intact log of zero records."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    assert judge(tmp_path / place).code is Code.MISSING
    assert standalone(str(tmp_path / place))[0] == MISSING


def test_the_exported_copy_runs_alone(original, tmp_path):
    """The bundle's verifier runs isolated from this project and ends with its exit codes."""
    folder = tmp_path / "bundle"
    export_bundle(original.home.path / "ledger.db", folder)
    kept, receipt = tmp_path / "kept.txt", tmp_path / "receipt.txt"
    kept.write_bytes(original.bundle.kept)
    receipt.write_bytes(original.bundle.receipt)

    def run(*arguments):
        command = [sys.executable, "-I", "-S", str(folder / "verify_standalone.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run("bundle").returncode == UNANCHORED
    done = run("bundle", "--checkpoint", "kept.txt", "--receipt", "receipt.txt")
    assert (done.returncode, done.stderr) == (ANCHORED, "")
    assert run("bundle", "--checkpoint", "receipt.txt").returncode == 2
    assert run("elsewhere").returncode == MISSING
