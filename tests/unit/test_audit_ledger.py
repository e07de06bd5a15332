"""The ledger over real files: durable, sealed, found again, open intents, receipts."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from concurrent.futures import wait
from datetime import timedelta

import pytest

from audit.checkpoint import Checkpoint, SignedReceipt, VerifyingKey
from audit.errors import KeyStoreError, LedgerError, MissingError, RecordError, SealError
from audit.keyring import SubjectKey
from audit.keys import (
    KeyStore,
    auditor_line,
    generate_auditor,
    load_auditors,
    load_private,
    parse_auditor_line,
    save_auditors,
)
from audit.ledger import Ledger, Options, init_home, record_act
from audit.merkle import leaf_hash, verify_inclusion
from audit.record import Entry, parse
from audit.seal import commitment, open_entry
from audit.store import LedgerStore
from tests.auditkit import (
    HandClock,
    append_requests,
    intent,
    make_home,
    outcome,
    planted_forms,
    quick_folder,
    rid,
)

ASCII_VALUE = "Zebulon-Quark-4711 'x\""
WIDE_VALUE = "Żółć Ørsted-Quark"


@pytest.fixture
def folder():
    with quick_folder() as path:
        yield path


@pytest.fixture
def home(folder):
    return make_home(folder / "home")


def read(home, index):
    """Record ``index``, opened with the auditor's key and the key store."""
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    try:
        with store.reading() as reader:
            return open_entry(parse(reader.row(index).body), keys.key, home.private)
    finally:
        store.close()
        keys.close()


# --- what is on record ---------------------------------------------------------------------------


def test_an_appended_record_is_found_under_a_checkpoint(home):
    """The future's position, the receipt and the inclusion proof all name the same leaf."""
    with home.ledger() as ledger:
        appended = append_requests(ledger, 3)
        key = VerifyingKey.parse(_fact(home, "vkey"))
        found = ledger.find(rid(1))
        assert [record.event for record in found] == ["intent", "outcome"]
        for record in found:
            head = Checkpoint.open(record.checkpoint, key)
            verify_inclusion(record.leaf_hash, record.index, head.size, record.proof, head.root)
            assert leaf_hash(record.body) == record.leaf_hash
            assert SignedReceipt.open(record.receipt, key) == appended[record.index].receipt
        assert [a.index for a in appended] == list(range(6))
        assert ledger.find("0" * 31 + "f") == ()


def test_an_auditor_reads_what_was_sealed(home):
    """With the private key and the key store, everything comes back as it went in."""
    text = "lone surrogate \ud800, emoji \U0001f9ea, NUL \0"
    with home.ledger() as ledger:
        entry = intent(1, texts={"prompt": text}, committed={"original": "raw"}, subject="MRN 12")
        ledger.submit(entry).result()
    opened = read(home, 0)
    assert opened.sealed == entry.sealed
    assert opened.text["texts"] == {"prompt": text}
    assert opened.text["subject"] == "MRN 12"
    assert opened.values == ({"group": "PERSON_1", "values": entry.values["PERSON_1"]},)
    assert opened.at == "2026-03-01T09:30:15.000+00:00"
    commits = _header(home, 0)["commits"]
    assert commits["original"] == commitment(bytes.fromhex(opened.text["salt"]), "original", "raw")


def test_keys_made_ahead_seal_like_any_others(home):
    """With a reserve every record opens, no key serves two owners, and months do not mix."""
    options = Options(reserve=8)
    with home.ledger(options) as ledger:
        for number in range(40):
            ledger.submit(intent(number, texts={"prompt": str(number)})).result()
            if number == 20:
                home.clock.forward(days=40)
    opened = [read(home, number) for number in range(40)]
    assert [one.text["texts"]["prompt"] for one in opened] == [str(n) for n in range(40)]
    assert all(one.values for one in opened)
    headers = [_header(home, number) for number in range(40)]
    assert len({header["key"] for header in headers}) == 40
    assert len({header["expires"] for header in headers}) == 2


def test_the_readable_part_says_only_coarse_things(home):
    """Promise 7: principal, matter, subject and exact time are not in the header."""
    home.clock.forward(seconds=17)
    with home.ledger() as ledger:
        ledger.submit(intent(1, subject="MRN 12")).result()
    header = _header(home, 0)
    assert header["minute"] == "2026-03-01T09:30Z"
    assert header["expires"] == "2032-03"
    assert set(header) == {
        "v", "origin", "boot", "seq", "event", "rid", "minute", "expires", "key", "features",
        "commits", "deadline",
    }  # fmt: skip
    assert b"MRN" not in json.dumps(header).encode()


def test_equal_texts_have_unequal_commitments(home):
    """Salted per record: nobody can test a guess against them, nor see that two are equal."""
    with home.ledger() as ledger:
        for number in range(2):
            ledger.submit(intent(number, texts={"prompt": "the same"})).result()
    assert _header(home, 0)["commits"] != _header(home, 1)["commits"]


@pytest.mark.parametrize(("groups", "shown"), [(0, 0), (1, 1), (2, 4), (4, 4), (5, 8), (9, 16)])
def test_a_record_hides_how_many_subjects_it_names(home, groups, shown):
    """Value parts come in buckets; the rest are random bytes of the same size."""
    values = {f"PERSON_{n}": {f"<PERSON_{n}>": f"value {n}"} for n in range(groups)}
    with home.ledger() as ledger:
        ledger.submit(intent(1, values=values)).result()
    parts = [part for part in _record(home, 0).parts if part.name == "value"]
    assert len(parts) == shown
    assert len({(len(p.ciphertext), len(p.wraps[0][1])) for p in parts}) <= 1
    assert len(read(home, 0).values) == groups


def test_records_of_one_subject_do_not_show_that_they_belong_together(home):
    """The ids of the keys that open text and values are sealed themselves."""
    with home.ledger() as ledger:
        for number in range(2):
            ledger.submit(intent(number, subject="MRN 12")).result()
    assert _header(home, 0)["key"] != _header(home, 1)["key"]
    keys = _keystore(home).execute("select count(*) from keys").fetchone()[0]
    assert keys == 2 + 1 + 2  # one per request, one for the subject, one per group of values


# --- who can read --------------------------------------------------------------------------------


def test_neither_half_of_the_keys_opens_a_record(home):
    """Promises 7 and 8: another auditor's key, or a key store without the key, reads nothing."""
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
    record = _record(home, 0)
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    _, other = generate_auditor("other")
    with pytest.raises(MissingError):
        open_entry(record, keys.key, load_private(other))
    with pytest.raises(MissingError):
        open_entry(record, lambda _: None, home.private)
    with pytest.raises(SealError):
        open_entry(record, lambda _: bytes(32), home.private)
    keys.close()


def test_every_registered_auditor_reads_alone(folder):
    """A record is sealed to each auditor on the list."""
    pairs = [generate_auditor(name) for name in ("first", "second")]
    home = make_home(folder / "home")
    save_auditors(home.path / "auditors.json", [auditor for auditor, _ in pairs])
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    for _, pem in pairs:
        opened = open_entry(_record(home, 0), keys.key, load_private(pem))
        assert opened.sealed["principal"] == "ward-7"
    keys.close()


def test_a_part_moved_to_another_record_does_not_open(home):
    """The seal binds a part to its record: origin, boot, sequence, receipt id, features (§4.4)."""
    with home.ledger() as ledger:
        append_requests(ledger, 2)
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    for index, other in ((0, 1), (0, 2)):
        mine, theirs = _record(home, index), _record(home, other)
        moved = type(mine)(mine.header, theirs.parts, mine.bound)
        with pytest.raises(SealError):
            open_entry(moved, keys.key, home.private)
    keys.close()


def test_destroying_a_subjects_key_takes_its_texts_and_leaves_the_rest(home):
    """Promise 8: text and values go, the record stays readable about the act, proofs stay valid."""
    with home.ledger() as ledger:
        ledger.submit(intent(1, subject="MRN 12")).result()
        before = ledger.find(rid(1))
        keys = KeyStore.open(home.path / "keystore.db")
        rows = _keystore(home).execute("select id from keys").fetchall()
        own = bytes.fromhex(_header(home, 0)["key"])
        assert keys.destroy([row[0] for row in rows if row[0] != own]) == 2
        keys.close()
        assert ledger.find(rid(1)) == before
    opened = read(home, 0)
    assert opened.erased == 2
    assert opened.sealed["principal"] == "ward-7"
    assert (opened.text, opened.values) == ({}, ())


def test_keys_that_a_reader_holds_in_the_log_are_not_called_destroyed(home, monkeypatch):
    """A log that cannot be emptied still has them: the caller is told and can try again."""
    monkeypatch.setattr("audit.storage.engines.BUSY_MS", 50)
    path = home.path / "keystore.db"
    store = KeyStore.open(path)
    reader = sqlite3.connect(path)
    try:
        store.add([SubjectKey(b"i" * 16, "2030-01", b"k" * 32)])
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM keys").fetchone()[0] > 0
        with pytest.raises(KeyStoreError):
            store.destroy([b"i" * 16])
        reader.close()
        assert store.destroy([b"i" * 16]) == 0
        files = home.path.glob("keystore.db*")
        assert not any(b"k" * 32 in file.read_bytes() for file in files)
    finally:
        reader.close()
        store.close()


def test_a_destroyed_key_is_in_no_byte_of_the_key_store(home):
    """Database pages, freed ones too, and the write-ahead log hold nothing of it."""
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
        rows = _keystore(home).execute("select id, key from keys").fetchall()
        store = KeyStore.open(home.path / "keystore.db")
        assert store.destroy([row[0] for row in rows]) == len(rows)
        store.close()
        held = b"".join(path.read_bytes() for path in home.path.glob("keystore.db*"))
        assert all(key not in held and key_id not in held for key_id, key in rows)


@pytest.mark.parametrize("value", [ASCII_VALUE, WIDE_VALUE])
def test_planted_values_are_in_no_file(home, value):
    """Promise 2: database, WAL and key store hold them in no form, before and after a close."""
    entry = intent(
        1,
        sealed={"principal": value, "matter": value},
        texts={"prompt": value},
        committed={"original": value},
        values={"PERSON_1": {"<PERSON_1>": value}},
        subject=value,
    )
    with home.ledger() as ledger:
        ledger.submit(entry).result()
        ledger.submit(outcome(1)).result()
        ledger.publish().result()
        _assert_absent(home, value)
        store = KeyStore.open(home.path / "keystore.db")
        ids = [row[0] for row in _keystore(home).execute("select id from keys").fetchall()]
        store.destroy(ids)
        store.close()
        _assert_absent(home, value)
    _assert_absent(home, value)


def _assert_absent(home, value):
    for path in home.path.iterdir():
        data = path.read_bytes()
        assert not [form for form in planted_forms(value) if form in data], path.name


# --- acknowledgement -----------------------------------------------------------------------------


def test_what_was_acknowledged_is_seen_by_another_connection_at_once(home):
    """The future resolves after the commit, not before it."""
    with home.ledger() as ledger:
        index = ledger.submit(intent(1)).result().index
        count = sqlite3.connect(home.path / "ledger.db").execute("select count(*) from records")
        assert count.fetchone()[0] == index + 1


def test_many_threads_share_few_transactions(home):
    """Group commit: what waits is written together, each caller gets its own position."""
    options = Options(checkpoint_records=10_000)
    with home.ledger(options) as ledger:
        futures, lock = [], threading.Lock()

        def work(thread):
            for number in range(20):
                future = ledger.submit(intent(thread * 100 + number, values={}))
                with lock:
                    futures.append(future)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait(futures)
        assert sorted(future.result().index for future in futures) == list(range(160))


def test_an_entry_that_may_not_be_written_fails_at_once(home):
    """RecordError comes from submit itself; nothing was queued."""
    with home.ledger() as ledger:
        with pytest.raises(RecordError):
            ledger.submit(intent(1, features={"note": "Zebulon"}))
        assert ledger.submit(intent(1)).result().index == 0


def test_an_entry_that_cannot_be_sealed_fails_alone(home):
    """The rest of its batch is written, and the error repeats nothing of it."""
    with home.ledger() as ledger:
        bad = ledger.submit(intent(1, sealed={"principal": ValueError("Zebulon")}))
        good = ledger.submit(intent(2))
        with pytest.raises(LedgerError) as raised:
            bad.result()
        assert "Zebulon" not in str(raised.value)
        assert good.result().index == 0
        assert ledger.writable


def test_a_caller_that_stopped_waiting_does_not_stop_the_record(home):
    """Cancelling the future changes nothing about what is on record."""
    with home.ledger() as ledger:
        for number in range(50):
            ledger.submit(intent(number, values={})).cancel()
        assert ledger.submit(intent(99)).result().index == 50


def test_a_closed_ledger_takes_nothing(home):
    """Closing writes what waited, signs the end, and refuses what comes later."""
    with home.ledger() as ledger:
        last = ledger.submit(intent(1))
    assert last.result().index == 0
    assert not ledger.writable
    with pytest.raises(LedgerError):
        ledger.submit(intent(2))
    ledger.close()


# --- checkpoints, intents, opening ---------------------------------------------------------------


def test_checkpoints_come_by_number_by_time_and_at_the_end(home):
    """Every N records, after T seconds, and on close; never two for one size."""
    options = Options(checkpoint_records=4, checkpoint_seconds=3600)
    with home.ledger(options) as ledger:
        assert ledger.checkpoint() is None
        for number in range(4):
            ledger.submit(intent(number)).result()
        assert _sizes(home) == [4]
        home.clock.forward(hours=2)
        ledger.submit(intent(4)).result()
        ledger.submit(intent(5)).result()
        assert _sizes(home)[1:] in ([5], [6])
        ledger.publish().result()
        ledger.publish().result()
    assert _sizes(home)[-1] == 6
    assert len(set(_sizes(home))) == len(_sizes(home))


def test_the_quiet_after_a_record_gets_a_checkpoint(home):
    """With nothing to write, the writer signs what has waited long enough."""
    options = Options(checkpoint_records=1000, checkpoint_seconds=0.02)
    with home.ledger(options) as ledger:
        ledger.submit(intent(1)).result()
        home.clock.forward(seconds=1)
        deadline = threading.Event()
        for _ in range(200):
            if ledger.checkpoint() is not None:
                break
            deadline.wait(0.02)
        assert ledger.checkpoint() is not None


def test_open_intents_are_those_past_their_deadline_or_of_an_earlier_process(home):
    """An intent without outcome is evidence of a crash; one that still runs is none."""
    with home.ledger() as first:
        deadline = home.clock() + timedelta(minutes=2)
        for number in range(3):
            first.submit(intent(number, deadline=deadline)).result()
        first.submit(outcome(0)).result()
        assert first.open_intents() == ()
        home.clock.forward(minutes=3)
        assert [i.rid for i in first.open_intents()] == [rid(1), rid(2)]
        first.submit(outcome(1)).result()
        assert [(i.rid, i.index) for i in first.open_intents()] == [(rid(2), 2)]
        home.clock.moment = HandClock().moment
        assert first.open_intents() == ()
    with home.ledger() as second:
        assert [i.rid for i in second.open_intents()] == [rid(2)]


def test_a_clock_that_goes_backwards_stops_nothing(home):
    """Order is the tree's; minutes are what the clock said."""
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
        home.clock.forward(days=-400)
        ledger.submit(outcome(1)).result()
        assert [r.minute[:4] for r in ledger.find(rid(1))] == ["2026", "2025"]


def test_several_processes_worth_of_ledgers_append_to_one_tree(home):
    """Position and tree are read inside the transaction: two writers never fork the log."""
    with home.ledger() as one, home.ledger() as two:
        indexes = []
        for number in range(10):
            indexes.append(one.submit(intent(number)).result().index)
            indexes.append(two.submit(outcome(number)).result().index)
        assert indexes == list(range(20))
        assert one.find(rid(9))[1].index == 19
    record_act(home.path, Entry("key.issued"))
    assert _sizes(home)[-1] == 21


def test_nothing_is_sealed_to_nobody(folder):
    """Fail closed: without a registered auditor the ledger does not open."""
    init_home(folder / "home")
    with pytest.raises(KeyStoreError):
        Ledger.open(folder / "home", clock=HandClock())
    save_auditors(folder / "home" / "auditors.json", [])
    with pytest.raises(KeyStoreError):
        Ledger.open(folder / "home", clock=HandClock())


def test_init_is_idempotent_and_private(home):
    """A second init changes no key; directory 0700, files 0600."""
    before = _fact(home, "vkey")
    init_home(home.path)
    home.fill(1)
    assert _fact(home, "vkey") == before
    assert len(load_auditors(home.path / "auditors.json")) == 1
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert {"ledger.db-wal", "keystore.db-wal"} <= set(modes)


def test_a_demo_log_says_so_in_its_name(folder):
    """The origin is in every record, checkpoint and receipt, so a demo cannot be promoted."""
    home = make_home(folder / "home", demo=True)
    init_home(home.path, demo=False)
    with home.ledger() as ledger:
        assert ledger.demo
        assert ledger.submit(intent(1)).result().receipt.origin.startswith("demo.")


@pytest.mark.parametrize(
    "damage",
    [
        "delete from records where idx = 5",
        "update records set leaf = zeroblob(32) where idx = 6",
        "update nodes set hash = zeroblob(32) where level = 2 and idx = 0",
        "delete from nodes",
        "update checkpoints set note = replace(note, '7', '8')",
        "update facts set value = x'00' where name = 'vkey'",
    ],
)
def test_a_damaged_ledger_is_not_written_on(home, damage):
    """A log that contradicts its newest checkpoint does not start: it must not sign a fork."""
    home.fill(3)
    with sqlite3.connect(home.path / "ledger.db") as database:
        database.execute(damage)
        if "idx = 5" in damage:
            database.execute("delete from records where idx = 6")
    with pytest.raises(LedgerError):
        Ledger.open(home.path, clock=home.clock)


def test_a_private_key_needs_its_passphrase(folder):
    """The auditor's key file is a PKCS #8 PEM, encrypted where a passphrase was given."""
    auditor, pem = generate_auditor("ann", b"correct horse")
    assert b"ENCRYPTED" in pem
    key = load_private(pem, b"correct horse")
    assert key.public_key().public_bytes_raw() == auditor.public
    for wrong in (None, b"", b"battery staple"):
        with pytest.raises(SealError):
            load_private(pem, wrong)
    assert parse_auditor_line(auditor_line(auditor)) == auditor


# --- helpers -------------------------------------------------------------------------------------


def _record(home, index):
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    try:
        with store.reading() as reader:
            return parse(reader.row(index).body)
    finally:
        store.close()


def _header(home, index):
    return _record(home, index).header.to_json()


def _fact(home, name):
    query = "select value from facts where name = ?"
    database = sqlite3.connect(home.path / "ledger.db")
    try:
        return database.execute(query, (name,)).fetchone()[0].decode()
    finally:
        database.close()


def _sizes(home):
    database = sqlite3.connect(home.path / "ledger.db")
    try:
        return [row[0] for row in database.execute("select size from checkpoints order by size")]
    finally:
        database.close()


def _keystore(home):
    return sqlite3.connect(home.path / "keystore.db")
