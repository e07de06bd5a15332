"""The key store at rest: locked with a passphrase, rotated, changed and unlocked (§7.6)."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.errors import KeyStoreError
from audit.keyring import SubjectKey
from audit.keys import KeyStore
from audit.keystore.change import Change, state
from audit.keystore.lock import Box, Lock, key_row
from audit.keystore.passphrase import Passphrase
from audit.ledger import Ledger
from audit.storage.keyrows import KeyRows
from tests.auditkit import HandClock, intent, make_home, quick_folder

CHEAP = 1 << 14
OLD = Passphrase(b"an old passphrase", cost=CHEAP)
NEW = Passphrase(b"a new passphrase", cost=CHEAP)


@pytest.fixture
def home():
    with quick_folder() as folder:
        yield make_home(folder / "home")


def change(home):
    return Change(home.path / "keystore.db")


def opened(home, guard=OLD):
    path = home.path / "keystore.db"
    return closing(KeyStore.open(path, readonly=True, guard=lambda kind: kind and guard))


def add_keys(home, count, guard=OLD):
    keys = [SubjectKey(os.urandom(16), "2032-03", os.urandom(32)) for _ in range(count)]
    path = home.path / "keystore.db"
    with closing(KeyStore.open(path, guard=lambda kind: kind and guard)) as store:
        store.add(keys)
    return keys


def assert_readable(home, keys, guard=OLD):
    with opened(home, guard) as store:
        assert [store.key(key.id) for key in keys] == [key.key for key in keys]


def settings(home, phrase, *, lock="passphrase"):
    """Settings that name a file with this passphrase."""
    (home.path / "phrase").write_bytes(phrase + b"\n")
    (home.path / "phrase").chmod(0o600)
    text = f'[keystore]\nlock = "{lock}"\npassphrase_file = "phrase"\n'
    (home.path / "settings.toml").write_text(text)


def command(*arguments):
    return CliRunner().invoke(app, ["keystore", *map(str, arguments)])


def test_a_locked_key_store_holds_no_key_in_the_open(home):
    """Neither what it held before nor what was added since stands in any of its files."""
    before = add_keys(home, 600)
    with opened(home) as store:
        seed = store.signing_key._key.private_bytes_raw()
        public = store.signing_key.public
    change(home).lock(OLD)
    since = add_keys(home, 5)
    held = b"".join(path.read_bytes() for path in home.path.glob("keystore.db*"))
    assert not [key for key in (*before, *since) if key.key in held]
    assert seed not in held
    assert_readable(home, [*before, *since])
    with opened(home) as store:
        assert store.signing_key.public == public


def test_another_passphrase_opens_nothing(home):
    """It is an error in plain words, and the key store stays as it is."""
    change(home).lock(OLD)
    with pytest.raises(KeyStoreError, match="passphrase does not open"), opened(home, NEW):
        pass
    with opened(home):
        pass


def test_rotation_leaves_no_row_under_the_older_key(home):
    """Every row is under the new master key, and the older one is forgotten."""
    keys = add_keys(home, 20)
    change(home).lock(OLD)
    old = state(home.path / "keystore.db")
    change(home).rotate(OLD)
    new = state(home.path / "keystore.db")
    assert old.masters.keys().isdisjoint(new.masters)
    assert new.complete
    held = b"".join(path.read_bytes() for path in home.path.glob("keystore.db*"))
    assert bytes.fromhex(old.current) not in held
    assert_readable(home, keys)


def test_a_new_passphrase_opens_and_the_old_one_does_not(home):
    """Changing it changes no row."""
    keys = add_keys(home, 3)
    change(home).lock(OLD)
    change(home).guard(OLD, NEW)
    assert_readable(home, keys, NEW)
    with pytest.raises(KeyStoreError), opened(home, OLD):
        pass


def test_unlocking_brings_back_what_there_was(home):
    """After it no passphrase is needed, and the lock is gone."""
    keys = add_keys(home, 600)
    change(home).lock(OLD)
    change(home).unlock(OLD)
    assert state(home.path / "keystore.db") is None
    assert_readable(home, keys, None)


def test_a_destroyed_key_stays_destroyed_through_a_rotation(home):
    """Rotation writes over rows that are there and never brings one back."""
    gone, kept = add_keys(home, 2)
    change(home).lock(OLD)
    with closing(KeyStore.open(home.path / "keystore.db", guard=lambda _: OLD)) as store:
        assert store.destroy([gone.id]) == 1
    change(home).rotate(OLD)
    with opened(home) as store:
        assert store.key(gone.id) is None
        assert store.key(kept.id) == kept.key


@pytest.mark.parametrize("tampered", ["swapped", "flipped", "plain", "month"])
def test_a_row_that_the_lock_did_not_write_is_refused(home, tampered):
    """Rows are bound to their place and month; a plain one is forged once the lock is complete."""
    one, two = add_keys(home, 2)
    change(home).lock(OLD)
    with sqlite3.connect(home.path / "keystore.db") as database:
        value = database.execute("select key from keys where id = ?", (two.id,)).fetchone()[0]
        row = {
            "swapped": value,
            "flipped": value[:-1] + bytes([value[-1] ^ 1]),
            "plain": os.urandom(32),
            "month": value,
        }[tampered]
        which = one.id if tampered == "swapped" else two.id
        month = "2099-01" if tampered == "month" else "2032-03"
        database.execute("update keys set key = ?, month = ? where id = ?", (row, month, which))
    database.close()
    with opened(home) as store, pytest.raises(KeyStoreError):
        store.key(which)


def test_a_ledger_in_use_follows_every_change(home):
    """Locked, rotated and unlocked while it records, each record stays readable."""
    settings(home, OLD.phrase, lock="none")
    ledger = Ledger.open(home.path, clock=HandClock())
    done = [ledger.submit(intent(1)).result()]
    settings(home, OLD.phrase)
    for number, work in enumerate(("lock", "rotate"), start=2):
        getattr(change(home), work)(OLD)
        done.append(ledger.submit(intent(number)).result())
    settings(home, OLD.phrase, lock="none")
    change(home).unlock(OLD)
    done.append(ledger.submit(intent(4)).result())
    ledger.close()
    assert [one.index for one in done] == [0, 1, 2, 3]
    with closing(sqlite3.connect(home.path / "keystore.db")) as database:
        rows = database.execute("select id, key from keys").fetchall()
    assert rows
    with opened(home, None) as store:
        assert [store.key(name) for name, _ in rows] == [key for _, key in rows]


def test_nothing_is_written_under_a_lock_that_was_changed(home):
    """Who still holds the older lock stores nothing: its key will be forgotten."""
    change(home).lock(OLD)
    with closing(KeyRows(home.path / "keystore.db")) as rows:
        raw = rows.find("lock")
        change(home).rotate(OLD)
        with pytest.raises(KeyStoreError):
            rows.add([(b"i" * 16, "2032-03", b"k" * 32)], raw)
        assert rows.key(b"i" * 16) is None


def test_the_commands_lock_rotate_change_and_unlock(home):
    """Each says what it did in a line and is on record."""
    settings(home, OLD.phrase)
    assert command("status", home.path).stdout == "lock  none\n"
    assert command("lock", home.path).exit_code == 0
    assert command("lock", home.path).exit_code == 1
    assert json.loads(command("status", home.path, "-o", "json").stdout) == {
        "lock": "passphrase",
        "complete": True,
    }
    assert command("rotate", home.path).exit_code == 0
    (home.path / "phrase").rename(home.path / "old-phrase")
    settings(home, NEW.phrase)
    old = home.path / "old-phrase"
    assert command("change", home.path, "--old-passphrase-file", old).exit_code == 0
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
    assert command("unlock", home.path).exit_code == 1
    settings(home, NEW.phrase, lock="none")
    assert command("unlock", home.path).exit_code == 0
    with closing(sqlite3.connect(home.path / "ledger.db")) as database:
        bodies = [row[0] for row in database.execute("select body from records order by idx")]
    events = [json.loads(body)["header"]["event"] for body in bodies]
    assert [event for event in events if event.startswith("keystore.")] == [
        "keystore.locked",
        "keystore.rotated",
        "keystore.changed",
        "keystore.unlocked",
    ]


@pytest.mark.parametrize("wrong", ["phrase", "mode", "missing", "unlocked"])
def test_what_does_not_open_is_one_line_and_exit_1(home, wrong):
    """A wrong or unreadable passphrase, or a lock that is asked for and not there."""
    settings(home, OLD.phrase)
    if wrong != "unlocked":
        assert command("lock", home.path).exit_code == 0
    if wrong == "phrase":
        settings(home, NEW.phrase)
    elif wrong == "mode":
        (home.path / "phrase").chmod(0o644)
    elif wrong == "missing":
        (home.path / "phrase").unlink()
    failed = command("rotate", home.path)
    assert failed.exit_code == 1
    assert failed.stderr.count("\n") == 1
    assert OLD.phrase.decode() not in failed.stderr
    with pytest.raises(KeyStoreError):
        Ledger.open(home.path, clock=HandClock())


def test_a_passphrase_comes_from_a_systemd_credential(home, monkeypatch, tmp_path):
    """Where neither settings nor variable name a file."""
    change(home).lock(OLD)
    (tmp_path / "keystore-passphrase").write_bytes(OLD.phrase)
    (tmp_path / "keystore-passphrase").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with home.ledger() as ledger:
        assert ledger.submit(intent(1)).result().index == 0


def test_a_lock_that_asks_for_other_costs_is_refused():
    """A forged lock cannot make the process take all memory, nor a guess cheap."""
    wrapped = dict(OLD.wrap(b"m" * 32, b"bound"))
    assert OLD.unwrap(wrapped, b"bound") == b"m" * 32
    for cost in (1 << 30, 1 << 4, 3 << 14, -1):
        with pytest.raises(KeyStoreError, match="costs"):
            OLD.unwrap(wrapped | {"n": str(cost)}, b"bound")
    with pytest.raises(KeyStoreError):
        OLD.unwrap(wrapped, b"another place")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"v":1}', b"[" * 99_999])
def test_a_damaged_lock_is_said_to_be_damaged(data):
    """Any bytes are a lock or our error."""
    with pytest.raises(KeyStoreError, match="damaged"):
        Lock.parse(data)


def test_a_row_of_one_store_is_none_of_another():
    """Associated data binds a row to its store, though both were under one master key."""
    one = Box(None, {}).renewed(OLD, os.urandom)
    two = Box(replace(one.lock, store="0" * 32), one._opened)
    row = key_row(b"i" * 16, "2032-03")
    stored = one.seal(row, b"k" * 32, os.urandom(12))
    assert one.read(row, stored) == b"k" * 32
    with pytest.raises(KeyStoreError):
        two.read(row, stored)


def test_a_key_is_looked_up_in_the_file_that_is_there_now(tmp_path):
    """A connection stays open for look-ups: a destroyed key is gone at once, and so is a file."""
    key = SubjectKey(b"k" * 16, "2030-01", b"s" * 32)
    here, other = tmp_path / "keystore.db", tmp_path / "other.db"
    KeyStore.create(other, "log.example/2").close()
    keys = KeyStore.create(here, "log.example/1")
    try:
        keys.add([key])
        looking = KeyStore.open(here, readonly=True)
        assert looking.key(key.id) == keys.key(key.id) == key.key
        keys.destroy([key.id])
        assert looking.key(key.id) is keys.key(key.id) is None
        keys.add([replace(key, id=b"l" * 16)])
        assert looking.key(b"l" * 16) == key.key
        for beside in tmp_path.glob("keystore.db-*"):
            beside.unlink()  # SQLite would take the old file's log for the new one's
        other.replace(here)
        assert looking.key(b"l" * 16) is None
        looking.close()
    finally:
        keys.close()
