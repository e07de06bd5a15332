"""Backups: one database each, checked by digest, never over what is there, replayed first."""

from __future__ import annotations

import json

import pytest

from audit.backup import Kind, create, restore, verify
from audit.erase import Request, erase
from audit.errors import FormatError, LedgerError, MissingError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import Entry, parse
from audit.replay import tag
from audit.subjects import Subject
from audit.verify import Code
from audit.verify import verify as judge
from tests.auditkit import intent, make_home, planted_forms

MADE = "2026-03-01T09:30:15+00:00"


@pytest.fixture
def home(tmp_path):
    made = make_home(tmp_path / "home")
    with made.ledger(Options(index=True)) as ledger:
        ledger.submit(Entry("boot")).result()
        for number in range(3):
            ledger.submit(intent(number, subject=f"MRN {number}")).result()
    return made


def keys_of(path):
    keys = KeyStore.open(path, readonly=True)
    found = set(keys.ids())
    keys.close()
    return found


def test_a_backup_of_a_running_ledger_verifies(home, tmp_path):
    """The copy is whole while somebody writes, is 0600, and holds nothing of the key store."""
    with home.ledger() as ledger:
        ledger.submit(Entry("boot")).result()
        done = create(home.path, Kind.DATABASE, tmp_path / "b", MADE)
        ledger.submit(Entry("boot")).result()
    assert verify(tmp_path / "b") == done
    assert done.records == 6
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["backup.json", "ledger.db"]
    assert {path.stat().st_mode & 0o77 for path in (tmp_path / "b").iterdir()} == {0}
    for path in (tmp_path / "b").iterdir():
        data = path.read_bytes()
        assert not [form for form in planted_forms("Zebulon Quark 1") if form in data]
    again = make_home(tmp_path / "other")
    (again.path / "ledger.db").unlink()
    (again.path / "keystore.db").unlink()
    restore(tmp_path / "b", again.path)
    create(home.path, Kind.KEYSTORE, tmp_path / "k", MADE)
    restore(tmp_path / "k", again.path)
    with open_evidence(again.path) as evidence:
        assert judge(evidence).code is Code.UNANCHORED
    with again.ledger() as ledger:
        assert ledger.submit(Entry("boot")).result().index == 6


def test_nothing_is_overwritten(home, tmp_path):
    """Neither a place for a backup nor a database in its place; what stood there stays."""
    before = (home.path / "keystore.db").read_bytes()
    for kind in Kind:
        create(home.path, kind, tmp_path / kind, MADE)
        with pytest.raises(LedgerError):
            create(home.path, kind, tmp_path / kind, MADE)
        with pytest.raises(LedgerError):
            restore(tmp_path / kind, home.path)
    assert (home.path / "keystore.db").read_bytes() == before


def test_a_key_store_comes_back_without_what_was_erased_since(home, tmp_path):
    """It replays the ledger's erasures before it is in its place; the rest of the keys is there."""
    create(home.path, Kind.KEYSTORE, tmp_path / "k", MADE)
    old = keys_of(home.path / "keystore.db")
    with home.ledger() as ledger:
        done = erase(ledger, home.private, Request(Subject("mrn1"), "17(1)(b)"))
    assert done.keys == 2
    for path in home.path.glob("keystore.db*"):
        path.unlink()
    assert restore(tmp_path / "k", home.path)[1] == 2
    with open_evidence(home.path) as evidence:
        header = parse(list(evidence.items())[done.records[0]].body).header
    gone = {key_id for key_id in old if tag(key_id) in header.features["erased"]}
    assert keys_of(home.path / "keystore.db") == old - gone
    assert not [k for k in gone if k in (home.path / "keystore.db").read_bytes()]
    assert not list(home.path.glob("*restoring*"))


def test_a_key_store_alone_or_of_another_log_is_not_restored(home, tmp_path):
    """Without its ledger there is nothing to replay; beside another one it opens nothing."""
    create(home.path, Kind.KEYSTORE, tmp_path / "k", MADE)
    with pytest.raises(LedgerError):
        restore(tmp_path / "k", tmp_path / "empty")
    assert not (tmp_path / "empty" / "keystore.db").exists()
    other = make_home(tmp_path / "other")
    (other.path / "keystore.db").unlink()
    with pytest.raises(LedgerError):
        restore(tmp_path / "k", other.path)
    assert not (other.path / "keystore.db").exists()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_backup_that_is_not_whole_is_refused(home, tmp_path, kind):
    """A flipped byte, a missing file, another manifest: an error of ours and nothing restored."""
    create(home.path, kind, tmp_path / "b", MADE)
    database = next((tmp_path / "b").glob("*.db"))
    data = bytearray(database.read_bytes())
    data[len(data) // 2] ^= 1
    database.write_bytes(data)
    with pytest.raises(FormatError):
        restore(tmp_path / "b", tmp_path / "new")
    database.unlink()
    with pytest.raises(MissingError):
        verify(tmp_path / "b")
    manifest = tmp_path / "b" / "backup.json"
    for wrong in (b"", b"[]", json.dumps({"format": "x"}).encode(), b"\xff"):
        manifest.write_bytes(wrong)
        with pytest.raises(FormatError):
            verify(tmp_path / "b")
    manifest.unlink()
    with pytest.raises(MissingError):
        verify(tmp_path / "b")
    assert not (tmp_path / "new").exists()
    with pytest.raises(MissingError):
        create(tmp_path, kind, tmp_path / "c", MADE)
