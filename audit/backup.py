"""Backups of the ledger and of the key store, apart from each other (audit-format.md §11.7).

A backup is a directory with one database, copied through SQLite's online backup while the gateway
runs, and a manifest with its digest. Whoever has one of the two has nothing to read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audit.errors import AuditError, FormatError, LedgerError, MissingError
from audit.keys import KeyStore
from audit.ledger import KEYSTORE_FILE
from audit.replay import replay
from audit.storage.place import LEDGER_FILE, Place, Server, place_of
from audit.store import LedgerStore

FORMAT, MANIFEST = "cloister-backup/1", "backup.json"
_TEMPORARY = ".restoring"
_ON_SERVER = "this home's ledger lies on a PostgreSQL server: use the server's own tools"
_PIECE = 1 << 20


class Kind(StrEnum):
    """Which of the two. A backup never holds both."""

    DATABASE = "database"
    KEYSTORE = "keystore"


_FILES = {Kind.DATABASE: LEDGER_FILE, Kind.KEYSTORE: KEYSTORE_FILE}


@dataclass(frozen=True, slots=True)
class Backup:
    """What a manifest says. ``records``: how many the ledger had, of a key store 0."""

    kind: Kind
    origin: str
    made: str
    sha256: str
    size: int
    records: int


def create(home: Path, kind: Kind, out: Path, made: str) -> Backup:
    """Copy one database of a home to the new directory ``out``. The gateway may be running.

    Raises:
        LedgerError: ``out`` is there already, or cannot be written; or the ledger is a server's.
        MissingError, KeyStoreError: there is nothing to copy.
    """
    source = home / _FILES[kind]
    if kind is Kind.DATABASE and isinstance(place_of(home), Server):
        raise LedgerError(_ON_SERVER)
    if not source.is_file():
        raise MissingError(f"there is no {_FILES[kind]} here")
    with _disk():
        out.mkdir(mode=0o700, parents=True)
    target = out / source.name
    _copy(source, target)
    origin, records = _inside(kind, target)
    backup = Backup(kind, origin, made, _digest(target), target.stat().st_size, records)
    with _disk():
        _write(out / MANIFEST, _manifest(backup))
        _sync(out)
    return backup


def verify(folder: Path) -> Backup:
    """Check a backup against its manifest and open what is in it.

    Raises:
        MissingError, FormatError: it is not whole, or not what was written.
    """
    try:
        value = json.loads((folder / MANIFEST).read_bytes())
        if value["format"] != FORMAT:
            raise FormatError("the manifest is not one of a backup")
        backup = Backup(
            Kind(value["kind"]), str(value["origin"]), str(value["made"]), str(value["sha256"]),
            int(value["size"]), int(value["records"]),
        )  # fmt: skip
    except OSError:
        raise MissingError("there is no backup here") from None
    except (ValueError, KeyError, TypeError):
        raise FormatError("the manifest is not one of a backup") from None
    path = folder / _FILES[backup.kind]
    if not path.is_file():
        raise MissingError("the backup lacks its database")
    if _digest(path) != backup.sha256:
        raise FormatError("the backup's database is not the one that was written")
    if _inside(backup.kind, path) != (backup.origin, backup.records):
        raise FormatError("the backup's database is not the one that was written")
    return backup


def restore(folder: Path, home: Path) -> tuple[Backup, int]:
    """Put a backup into a home; return it, and how many erased keys were destroyed in it again.

    A key store comes to its place only after it has replayed the erasures of the ledger there.

    Raises:
        LedgerError: one stands in its place already, the other half is of another log, or a key
            store is restored where there is no ledger to replay.
        MissingError, FormatError: the backup is not whole.
        KeyStoreError: the erasures could not be replayed; nothing was restored.
    """
    backup = verify(folder)
    target = home / _FILES[backup.kind]
    if target.exists():
        raise LedgerError(f"{target.name} stands in its place already; nothing is overwritten")
    ledger = place_of(home)
    if backup.kind is Kind.DATABASE and isinstance(ledger, Server):
        raise LedgerError(_ON_SERVER)
    other = Kind.KEYSTORE if backup.kind is Kind.DATABASE else Kind.DATABASE
    beside = home / KEYSTORE_FILE if other is Kind.KEYSTORE else ledger
    there = isinstance(beside, Server) or beside.is_file()
    if there and _inside(other, beside)[0] != backup.origin:
        raise LedgerError(f"the {other.value} here belongs to another log")
    if backup.kind is Kind.KEYSTORE and not there:
        raise LedgerError("restore the ledger first: a key store has to replay its erasures")
    with _disk():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(target.name + _TEMPORARY)
    _remove(temporary)  # of a run that was killed
    try:
        _copy(folder / target.name, temporary)
        gone = _replayed(ledger, temporary) if backup.kind is Kind.KEYSTORE else 0
        with _disk():
            os.link(temporary, target)  # unlike a rename it never overwrites
            _sync(home)
    finally:
        _remove(temporary)
    return backup, gone


def _replayed(ledger: Place, keystore: Path) -> int:
    store = LedgerStore(ledger, readonly=True)
    keys = KeyStore.open(keystore)
    try:
        return replay(store, keys)
    finally:
        keys.close()
        store.close()


# --- files ------------------------------------------------------------------------------------


def _copy(source: Path, target: Path) -> None:
    """A consistent copy in one file: SQLite's backup follows what is written meanwhile."""
    with _disk():
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
            sound = new.execute("PRAGMA integrity_check").fetchone()
        if sound != ("ok",):
            raise FormatError("the database is damaged")
        with target.open("rb+") as file:
            os.fsync(file.fileno())


def _inside(kind: Kind, place: Place) -> tuple[str, int]:
    """The log that a database belongs to, and the number of its records."""
    if kind is Kind.KEYSTORE and isinstance(place, Path):
        keys = KeyStore.open(place, readonly=True)
        try:
            return keys.signing_key.name, 0
        finally:
            keys.close()
    store = LedgerStore(place, readonly=True)
    try:
        with store.reading() as reader:
            return reader.fact("vkey").decode("utf-8", "replace").partition("+")[0], reader.last()[
                0
            ]
    finally:
        store.close()


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with _disk(), path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def _manifest(backup: Backup) -> bytes:
    value: dict[str, Any] = {
        "format": FORMAT,
        "kind": backup.kind.value,
        "origin": backup.origin,
        "made": backup.made,
        "sha256": backup.sha256,
        "size": backup.size,
        "records": backup.records,
    }
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        temporary.with_name(temporary.name + ending).unlink(missing_ok=True)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except AuditError:
        raise
    except FileExistsError:
        raise LedgerError("there is something at that place already") from None
    except (OSError, sqlite3.Error):
        raise LedgerError("the backup cannot be read or written") from None
