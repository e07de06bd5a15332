"""Rotation of the key that signs the log: gateways take it up, the old key is gone (§7.8)."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from typer.testing import CliRunner

from audit.bundle import export_bundle
from audit.chain import Chain
from audit.checkpoint import Checkpoint, SignedReceipt, SigningKey, VerifyingKey
from audit.cli import app
from audit.errors import KeyStoreError, LedgerError, NoteError, RecordError
from audit.export import LedgerEvidence
from audit.keys import KeyStore
from audit.keystore.change import Change
from audit.keystore.passphrase import Passphrase
from audit.ledger import Ledger, Options
from audit.record import Entry, parse
from audit.rotate import rotate_signing
from audit.store import LedgerStore
from audit.verify import Code, verify
from tests.auditkit import append_requests, intent, make_home, quick_folder
from tests.conformance.test_audit_verifiers import judge, standalone


@pytest.fixture
def home():
    with quick_folder() as folder:
        yield make_home(folder / "home")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rotate(home):
    return rotate_signing(home.path, clock=home.clock)


def chain(home):
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        assert Chain.stored(reader) == Chain.follow(
            reader.fact("vkey").decode(), [note for _, note in reader.checkpoints()]
        )
        return Chain.stored(reader)


def seed(home):
    with closing(KeyStore.open(home.path / "keystore.db", readonly=True)) as keys:
        return keys.signing_key._key.private_bytes_raw()


def rows(home):
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        return list(reader.rows())


def test_the_record_names_the_new_key_and_both_keys_sign_for_it(home):
    """What was before is the old key's, the checkpoint over the record both keys', the rest new."""
    home.fill(2)
    old = chain(home).current
    done = rotate(home)
    home.fill(1)
    assert done.size == 6
    assert (done.key, done.key.name) == (chain(home).current, old.name)
    assert done.key != old
    assert Checkpoint.open(done.checkpoint, old) == Checkpoint.open(done.checkpoint, done.key)
    found = rows(home)
    header = parse(found[5].body).header
    assert (header.event, header.features["signing"]) == ("key.rotated", done.key.public.hex())
    for row in found:
        key, other = (old, done.key) if row.index < 6 else (done.key, old)
        assert SignedReceipt.open(row.receipt, key).index == row.index
        with pytest.raises(NoteError):
            SignedReceipt.open(row.receipt, other)
    with home.ledger() as ledger, pytest.raises(NoteError):
        Checkpoint.open(ledger.checkpoint(), old)


def test_a_checkpoint_of_before_still_anchors_and_receipts_of_both_times_hold(home, tmp_path):
    """An auditor who kept something of each time verifies all of it, with each verifier."""
    kept, receipts = [], []
    for _ in range(3):
        with home.ledger() as ledger:
            receipts.append(append_requests(ledger, 2)[-1].receipt.note.encode())
            ledger.publish().result()
            kept.append(ledger.checkpoint().encode())
        kept.append(rotate(home).checkpoint.encode())
    home.fill(1)
    export_bundle(home.path / "ledger.db", tmp_path / "bundle")
    for source in (tmp_path / "bundle", home.path):
        assert judge(source).code is Code.UNANCHORED
        for note in kept:
            assert judge(source, [note], receipts).code is Code.ANCHORED
    for note in kept:
        assert standalone(str(tmp_path / "bundle"), [note], receipts)[0] == 0
    assert [n for n, _ in judge(home.path).keys] == [0, 5, 10, 15]


def test_a_gateway_that_runs_signs_with_the_new_key_without_a_restart(home):
    """The key is read in the transaction that appends, also by two ledgers on one log."""
    with home.ledger() as one, home.ledger() as two:
        before = [ledger.submit(intent(n)).result() for n, ledger in enumerate((one, two))]
        key = rotate(home).key
        after = [ledger.submit(intent(9 + n)).result() for n, ledger in enumerate((two, one))]
        for done in before:
            with pytest.raises(NoteError):
                SignedReceipt.open(done.receipt.note, key)
        for done in after:
            assert SignedReceipt.open(done.receipt.note, key).index == done.index
        assert one.find(after[0].receipt.rid)[0].index == after[0].index
        again = rotate(home).key
        assert two.find(before[0].receipt.rid)[0].index == before[0].index
        assert SignedReceipt.open(one.submit(intent(20)).result().receipt.note, again)
    assert judge(home.path).code is Code.UNANCHORED


def test_the_old_private_key_is_destroyed(home):
    """Its bytes stand in no file of the home, so who steals it later has the new one only."""
    home.fill(1)
    old = seed(home)
    files = [home.path / name for name in ("keystore.db", "keystore.db-wal")]
    assert any(old in file.read_bytes() for file in files if file.exists())
    rotate(home)
    assert not any(old in file.read_bytes() for file in files if file.exists())
    assert seed(home) != old


STEPS = ("prepared", "committed", "placed", "scoured")
CHILD = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from audit.keystore.store import KeyStore
from audit import rotate
from audit.storage import keyrows as store

step, home = sys.argv[1], Path(sys.argv[2])
def die(*_, **__):
    os._exit(9)
if step == "prepared":
    rotate._seal = die
if step == "committed":
    KeyStore.settle = die
if step == "placed":
    store.KeyRows.scour = die
if step == "scoured":
    store.KeyRows.names = die
rotate.rotate_signing(home, clock=lambda: datetime.now(UTC))
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_that_was_killed_leaves_a_log_that_goes_on(home, step):
    """At each step the log has one key, which is there; the same command finishes the work."""
    home.fill(1)
    first = chain(home).first
    code = subprocess.run([sys.executable, "-c", CHILD, step, str(home.path)], check=False)
    assert code.returncode == 9
    begun = len(chain(home).later)
    assert begun == (step != "prepared")
    home.fill(1)
    assert judge(home.path).code is Code.UNANCHORED
    done = rotate(home)
    assert [n for n, _ in chain(home).later] == [done.size]
    assert done.key != first
    with closing(sqlite3.connect(home.path / "keystore.db")) as database:
        names = [name for (name,) in database.execute("select name from secrets")]
    assert not [name for name in names if ":next:" in name]
    home.fill(1)
    assert judge(home.path, [done.checkpoint.encode()]).code is Code.ANCHORED


def test_two_rotations_at_once_are_two_rotations(home):
    """Each in a process of its own, beside a ledger that appends all the time: one chain."""
    command = [sys.executable, "-m", "audit", "keystore", "rotate-signing", str(home.path)]
    with home.ledger(Options(checkpoint_records=3)) as ledger:
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        number = 0
        while any(process.poll() is None for process in running):
            ledger.submit(intent(number)).result()
            number += 1
            time.sleep(0.01)
        assert [process.returncode for process in running] == [0, 0]
        ledger.submit(intent(number)).result()
    assert len(chain(home).later) == 2
    assert judge(home.path).code is Code.UNANCHORED


def lock_with_phrase(home):
    (home.path / "phrase").write_bytes(b"correct horse")
    (home.path / "phrase").chmod(0o600)
    settings = '[keystore]\nlock = "passphrase"\npassphrase_file = "phrase"\n'
    (home.path / "settings.toml").write_text(settings)
    Change(home.path / "keystore.db").lock(Passphrase(b"correct horse", cost=1 << 14))


def test_the_key_stores_own_rotation_at_the_same_time_loses_no_key(home):
    """Rows move under a new master key, the signing key changes: neither undoes the other."""
    lock_with_phrase(home)
    home.fill(1)
    base = [sys.executable, "-m", "audit", "keystore"]
    running = [
        subprocess.Popen([*base, verb, str(home.path)], stdout=subprocess.DEVNULL)
        for verb in ("rotate", "rotate-signing")
    ]
    assert [process.wait() for process in running] == [0, 0]
    home.fill(1)
    assert len(chain(home).later) == 1
    assert judge(home.path).code is Code.UNANCHORED


def test_a_key_that_was_kept_is_one_of_the_logs(home, tmp_path):
    """Each of the chain counts, another does not, and none of them anchors the log."""
    home.fill(1)
    key = chain(home).first.vkey()
    later = rotate(home).key.vkey()
    (tmp_path / "key").write_text(later + "\n")
    for kept in (key, later, tmp_path / "key"):
        assert run("verify", home.path, "--log", kept).exit_code == 10
    stranger = SigningKey(chain(home).name, bytes(range(32))).public.vkey()
    refused = run("verify", home.path, "--log", stranger)
    assert (refused.exit_code, "never had it" in refused.output) == (30, True)
    assert run("verify", home.path, "--log", "a+b").exit_code == 2


def test_only_a_rotation_writes_its_record(home):
    """Elsewhere the event is refused: a verifier would take it for a forgery."""
    with home.ledger() as ledger, pytest.raises(RecordError):
        ledger.submit(Entry("key.rotated", features={"signing": "0" * 64}))


def test_a_key_store_of_before_a_rotation_signs_nothing(home):
    """A restored copy holds the destroyed key: the ledger does not open with it."""
    home.fill(1)
    copy = (home.path / "keystore.db").read_bytes()
    rotate(home)
    (home.path / "keystore.db").write_bytes(copy)
    with pytest.raises(LedgerError, match="lacks the key that signs"):
        Ledger.open(home.path, clock=home.clock)
    with pytest.raises(LedgerError, match="lacks the key that signs"):
        rotate(home)


def test_a_ledger_of_before_a_rotation_is_not_written_on(home):
    """Rolled back beside the key store of now, it names a key that is destroyed; it verifies."""
    home.fill(1)
    copy = (home.path / "ledger.db").read_bytes()
    kept = rotate(home).checkpoint.encode()
    for file in home.path.glob("ledger.db*"):
        file.unlink()
    (home.path / "ledger.db").write_bytes(copy)
    with pytest.raises(LedgerError, match="lacks the key that signs"):
        Ledger.open(home.path, clock=home.clock)
    assert judge(home.path).code is Code.UNANCHORED
    assert judge(home.path, [kept]).code is Code.MISSING


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("delete from facts where name = 'rotations'", 10),
        ("update facts set value = 'x' where name = 'rotations'", 10),
        ("delete from checkpoints where size = 4", 40),
        ("delete from checkpoints where size > 3", 40),
        ("delete from checkpoints where size > 4", 10),  # each record behind has its receipt
        ("delete from checkpoints where size > 4; update records set receipt = '' where idx=5", 40),
        ("delete from checkpoints where size > 3; delete from records where idx > 3", 40),
        ("delete from checkpoints where size > 3; delete from records where idx > 2", 10),
        ("update facts set value = cast(? as blob) where name = 'vkey'", 40),
    ],
)  # fmt: skip
def test_a_rotated_ledger_that_was_tampered_with_is_found_out(home, statement, code):
    """``verify`` takes the keys from the checkpoints and trusts no list of the database."""
    home.fill(1)
    new = rotate(home).key.vkey()
    home.fill(1)
    with closing(sqlite3.connect(home.path / "ledger.db")) as database:
        for one in statement.split(";"):
            database.execute(one, [new] if "?" in one else [])
        database.commit()
    assert int(judge(home.path).code) == code


def test_a_locked_key_store_keeps_the_new_key_under_its_lock(home):
    """The new private key stands nowhere in the open, and opens with the passphrase."""
    lock_with_phrase(home)
    done = run("keystore", "rotate-signing", home.path, "-o", "json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert VerifyingKey.parse(told["vkey"]) == chain(home).current
    for file in home.path.glob("keystore.db*"):
        assert seed(home) not in file.read_bytes()
    assert run("keystore", "rotate", home.path).exit_code == 0
    home.fill(1)
    assert judge(home.path, [told["checkpoint"].encode()]).code is Code.ANCHORED


def test_the_second_key_signs_across_a_rotation(home):
    """ML-DSA-65 is not rotated: its line stands on every checkpoint from its first one on."""
    with closing(KeyStore.open(home.path / "keystore.db")) as keys:
        second = keys.second_key()
    home.fill(1)
    rotate(home)
    home.fill(1)
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        assert all(second.signed(note) for _, note in reader.checkpoints())
        assert verify(LedgerEvidence(reader), second=second).code is Code.UNANCHORED


@pytest.mark.parametrize("value", ["not json", "[]0", "[[1]]", "{}1", '[["x", "y"]]', "[[3, 4]]"])
def test_a_damaged_list_of_keys_stops_the_ledger(home, value):
    """Nothing is signed where the ledger does not say with which key."""
    home.fill(1)
    rotate(home)
    with sqlite3.connect(home.path / "ledger.db") as database:
        database.execute("update facts set value = ? where name = 'rotations'", [value.encode()])
    with pytest.raises(LedgerError):
        Ledger.open(home.path, clock=home.clock)


def test_a_list_that_forgets_the_rotation_does_not_bring_the_old_key_back(home):
    """Who can write the database alone gets no signature of a key that was exchanged."""
    home.fill(1)
    rotate(home)
    with sqlite3.connect(home.path / "ledger.db") as database:
        database.execute("delete from facts where name = 'rotations'")
    with pytest.raises(LedgerError):
        Ledger.open(home.path, clock=home.clock)


def test_keys_are_printed_with_the_first_record_of_each(home):
    """For witnesses and auditors who begin late: the last line is the key in use."""
    home.fill(1)
    done = rotate(home)
    shown = CliRunner().invoke(app, ["checkpoint", "keys", str(home.path)])
    first, last = shown.stdout.splitlines()
    assert first.split() == ["0", chain(home).first.vkey()]
    assert last.split() == [str(done.size), done.key.vkey()]


def test_a_key_that_is_not_here_is_not_made_up(home):
    """The key store answers for its own keys only."""
    other = VerifyingKey(chain(home).name, bytes([9]) * 32)
    with closing(KeyStore.open(home.path / "keystore.db")) as keys, pytest.raises(KeyStoreError):
        keys.signer(other)
