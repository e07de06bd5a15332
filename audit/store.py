"""The databases: the ledger's and the key store's. The only home of SQLAlchemy.

SQLite in WAL with ``synchronous=FULL``: a transaction that returned has been synced, so what was
acknowledged survives a crash of the process and of the machine (sqlite.org/pragma.html
#pragma_synchronous). ``secure_delete`` overwrites what is deleted. Files are 0600 before the first
byte is in them. Errors of the driver stop here: they become LedgerError, KeyStoreError or
MissingError, without their text.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Executable,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from audit.errors import (
    AuditError,
    FormatError,
    KeyStoreError,
    LedgerError,
    MissingError,
    StaleLockError,
)

BUSY_MS = 10_000
_PROBE_BYTES = 8192
_PROBE = "probe"
_PLAIN_KEY_BYTES = 32
LOCK = "lock"
"""The secret that tells how the others are encrypted."""
_DESTROYED_AT_ONCE = 1000  # variables of one statement

_ledger = MetaData()
_facts = Table(
    "facts", _ledger, Column("name", Text, primary_key=True), Column("value", LargeBinary)
)
_records = Table(
    "records",
    _ledger,
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("rid", Text),
    Column("body", LargeBinary, nullable=False),  # the leaf's data: what is hashed and exported
    Column("leaf", LargeBinary, nullable=False),
    Column("receipt", Text, nullable=False),
)
Index("records_rid", _records.c.rid, sqlite_where=_records.c.rid.is_not(None))
_nodes = Table(
    "nodes",
    _ledger,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
_checkpoints = Table(
    "checkpoints",
    _ledger,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)
_pending = Table(
    "pending",  # intents without an outcome: an index over the records, never trusted by verify
    _ledger,
    Column("rid", Text, primary_key=True),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("boot", Text, nullable=False),
    Column("deadline", Text),
    sqlite_with_rowid=False,
)

# Beside the leaves, never trusted by verify (audit-format.md §11).
_index = Table(
    "subject_index",
    _ledger,
    Column("token", LargeBinary, primary_key=True),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("day", Text, nullable=False),
    Column("month", Text, nullable=False),
    sqlite_with_rowid=False,
)
_acts = Table(
    "acts",  # where the records are that replaying, expiry and the index need
    _ledger,
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
)
Index("acts_event", _acts.c.event, _acts.c.idx)

_keystore = MetaData()
_secrets = Table(
    "secrets", _keystore, Column("name", Text, primary_key=True), Column("value", LargeBinary)
)
_keys = Table(
    "keys",  # one row per (subject, expiry month); ids are random and tell of no subject
    _keystore,
    Column("id", LargeBinary, primary_key=True),
    Column("month", Text, nullable=False, index=True),
    Column("key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Statements are made once: the driver's text for each is compiled once and kept.
_INSERT_RECORD, _INSERT_NODE = insert(_records), insert(_nodes)
_INSERT_CHECKPOINT, _INSERT_PENDING = insert(_checkpoints), insert(_pending)
_INSERT_KEY = insert(_keys)
_DELETE_PENDING = delete(_pending).where(_pending.c.rid == bindparam("closed"))
_PUT_FACT = insert(_facts).prefix_with("OR REPLACE")
_PROBE_SECRET = insert(_secrets).prefix_with("OR REPLACE")
_SELECT_FACT = select(_facts.c.value).where(_facts.c.name == bindparam("name"))
_SELECT_LAST = select(_records.c.idx, _records.c.leaf).order_by(_records.c.idx.desc()).limit(1)
_SELECT_LEAF = select(_records.c.leaf).where(_records.c.idx == bindparam("index"))
_SELECT_NODE = select(_nodes.c.hash).where(
    _nodes.c.level == bindparam("level"), _nodes.c.idx == bindparam("index")
)
_SELECT_ROW = select(_records).where(_records.c.idx == bindparam("index"))
_SELECT_RID = select(_records).where(_records.c.rid == bindparam("rid")).order_by(_records.c.idx)
_SELECT_NEWEST = select(_checkpoints).order_by(_checkpoints.c.size.desc()).limit(1)
_SELECT_CHECKPOINTS = select(_checkpoints).order_by(_checkpoints.c.size)
_SELECT_PENDING = select(_pending).order_by(_pending.c.idx)
_INSERT_INDEX, _INSERT_ACT = insert(_index), insert(_acts)
_DELETE_TOKEN = delete(_index).where(_index.c.token == bindparam("unindexed"))
_SELECT_TOKEN = select(_index.c.idx).where(_index.c.token == bindparam("token"))
_SELECT_ACTS = select(_acts.c.idx).where(_acts.c.event == bindparam("event")).order_by(_acts.c.idx)
_SELECT_LAST_ACT = select(func.max(_acts.c.idx)).where(_acts.c.event == bindparam("event"))
_SELECT_SECRET = select(_secrets.c.value).where(_secrets.c.name == bindparam("name"))
_SELECT_KEYROW = select(_keys.c.month, _keys.c.key).where(_keys.c.id == bindparam("id"))
_SELECT_KEYS_AFTER = select(_keys).where(_keys.c.id > bindparam("after")).order_by(_keys.c.id)
_PUT_SECRET = insert(_secrets).prefix_with("OR REPLACE")
_SWAP_KEY = (
    update(_keys)
    .where(_keys.c.id == bindparam("which"), _keys.c.key == bindparam("old"))
    .values(key=bindparam("new"))
)


@dataclass(frozen=True, slots=True)
class Row:
    """One record as stored: position, bytes, leaf hash, signed receipt."""

    index: int
    rid: str | None
    body: bytes = field(repr=False)
    leaf: bytes
    receipt: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pending:
    """An intent that has no outcome yet."""

    rid: str
    index: int
    boot: str
    deadline: str | None


# --- engines ----------------------------------------------------------------------------------


def _private_file(path: Path) -> None:
    """Create the file 0600 if it is not there: SQLite gives -wal and -shm the same mode."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.close(descriptor)


def _engine(path: Path, *, begin: str) -> Engine:
    """An engine whose transactions start with ``begin``, said by us and not by the driver."""
    pool = QueuePool if begin == "BEGIN" else NullPool
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=pool)
    _listen(engine, begin, writable=True)
    return engine


def _readonly_engine(path: Path) -> Engine:
    """An engine that cannot write: for auditors, also on media that are mounted read-only."""
    wal = path.with_name(path.name + "-wal")
    immutable = not wal.exists() and not os.access(path.parent, os.W_OK)
    query = {"mode": "ro", "uri": "true"} | ({"immutable": "1"} if immutable else {})
    url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    engine = create_engine(url, poolclass=NullPool)
    _listen(engine, "BEGIN", writable=False)
    return engine


def _listen(engine: Engine, begin: str, *, writable: bool) -> None:
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        pragmas = [f"busy_timeout = {BUSY_MS}", "temp_store = MEMORY", "trusted_schema = OFF"]
        if writable:
            pragmas += ["journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"]
        for pragma in pragmas:
            connection.execute("PRAGMA " + pragma)

    event.listen(engine, "connect", connected)

    def started(connection: Connection) -> None:
        connection.connection.cursor().execute(begin)

    event.listen(engine, "begin", started)


@contextmanager
def _port(error: type[AuditError], message: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError):
        raise error(message) from None


# --- the ledger -------------------------------------------------------------------------------


class Reader:
    """One consistent snapshot of a ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fact(self, name: str) -> bytes:
        value = self._connection.scalar(_SELECT_FACT, {"name": name})
        if not isinstance(value, bytes):
            raise MissingError("the ledger lacks a fact about itself")
        return value

    def last(self) -> tuple[int, bytes]:
        """The number of records, which is one more than the last index, and the last leaf hash."""
        found = self._connection.execute(_SELECT_LAST).first()
        return (0, b"") if found is None else (found.idx + 1, found.leaf)

    def node(self, level: int, index: int) -> bytes:
        """The stored root of a perfect subtree."""
        if level == 0:
            value = self._connection.scalar(_SELECT_LEAF, {"index": index})
        else:
            value = self._connection.scalar(_SELECT_NODE, {"level": level, "index": index})
        if not isinstance(value, bytes):
            raise MissingError("the ledger lacks a node of its tree")
        return value

    @staticmethod
    def _row(found: Any) -> Row:
        """A row of the types we wrote: SQLite would store any type in any column."""
        types: tuple[Any, ...] = (int, (str, NoneType), bytes, bytes, str)
        if not all(isinstance(value, kind) for value, kind in zip(found, types, strict=True)):
            raise FormatError(f"record {found[0]!r} is not what this log writes")
        return Row(*found)

    def rows(self) -> Iterator[Row]:
        """All records in order, streamed."""
        query = select(_records).order_by(_records.c.idx).execution_options(yield_per=256)
        for found in self._connection.execute(query):
            yield self._row(found)

    def row(self, index: int) -> Row:
        found = self._connection.execute(_SELECT_ROW, {"index": index}).first()
        if found is None:
            raise MissingError("no such record")
        return self._row(found)

    def by_rid(self, rid: str) -> tuple[Row, ...]:
        return tuple(map(self._row, self._connection.execute(_SELECT_RID, {"rid": rid})))

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        for found in self._connection.execute(_SELECT_CHECKPOINTS):
            if not isinstance(found.note, str):
                raise FormatError("a checkpoint is not what this log writes")
            yield found.size, found.note

    def checkpoint_at(self, size: int) -> str | None:
        query = select(_checkpoints.c.note).where(_checkpoints.c.size == size)
        return self._connection.scalar(query)

    def newest_checkpoint(self) -> tuple[int, str] | None:
        found = self._connection.execute(_SELECT_NEWEST).first()
        return None if found is None else (found.size, found.note)

    def rows_from(self, index: int) -> Iterator[Row]:
        """The records from ``index`` on, in order, streamed."""
        query = select(_records).where(_records.c.idx >= index).order_by(_records.c.idx)
        for found in self._connection.execute(query.execution_options(yield_per=256)):
            yield self._row(found)

    def acts(self, event: str) -> tuple[int, ...]:
        """The indices of the acts of one kind, oldest first. Empty in a ledger of before §11."""
        if not self._has("acts"):
            return ()
        return tuple(self._connection.scalars(_SELECT_ACTS, {"event": event}))

    def last_act(self, event: str) -> int:
        """The index of the newest act of one kind, or -1."""
        found = self._connection.scalar(_SELECT_LAST_ACT, {"event": event})
        return -1 if found is None else int(found)

    def indexed(self, tokens: Sequence[bytes]) -> tuple[int, ...]:
        """The records that the blind index names for any of these tokens."""
        if not self._has("subject_index"):
            return ()
        found: set[int] = set()
        for token in tokens:
            found.update(self._connection.scalars(_SELECT_TOKEN, {"token": token}))
        return tuple(sorted(found))

    def _has(self, table: str) -> bool:
        return bool(inspect(self._connection).has_table(table))

    def pending(self) -> tuple[Pending, ...]:
        return tuple(Pending(*found) for found in self._connection.execute(_SELECT_PENDING))


class Writer(Reader):
    """One write transaction. No other process appends while it is open."""

    def append(self, rows: Sequence[Row], nodes: Sequence[tuple[int, int, bytes]]) -> None:
        self._many(
            _INSERT_RECORD,
            [
                {"idx": r.index, "rid": r.rid, "body": r.body, "leaf": r.leaf, "receipt": r.receipt}
                for r in rows
            ],
        )
        self._many(_INSERT_NODE, [{"level": n, "idx": i, "hash": h} for n, i, h in nodes])

    def checkpoint(self, size: int, note: str) -> None:
        self._connection.execute(_INSERT_CHECKPOINT, {"size": size, "note": note})

    def cosigned(self, size: int, note: str) -> None:
        """Keep a checkpoint with the signature lines of its witnesses (audit-format.md §5.4)."""
        changed = update(_checkpoints).where(_checkpoints.c.size == size).values(note=note)
        self._connection.execute(changed)

    def open_intents(self, intents: Sequence[Pending]) -> None:
        self._many(
            _INSERT_PENDING,
            [
                {"rid": i.rid, "idx": i.index, "boot": i.boot, "deadline": i.deadline}
                for i in intents
            ],
        )

    def close_intents(self, rids: Sequence[str]) -> None:
        self._many(_DELETE_PENDING, [{"closed": rid} for rid in rids])

    def index(self, rows: Sequence[tuple[bytes, int, str, str]]) -> None:
        """Rows of the blind index: token, record, day, and the month they go after."""
        values = [{"token": t, "idx": i, "day": d, "month": m} for t, i, d, m in set(rows)]
        self._many(_INSERT_INDEX, values)

    def unindex(self, tokens: Sequence[bytes], *, before: str = "") -> None:
        """Remove the rows of these tokens, and those of the months before ``before``."""
        self._many(_DELETE_TOKEN, [{"unindexed": token} for token in tokens])
        if before:
            self._connection.execute(delete(_index).where(_index.c.month < before))

    def note_acts(self, acts: Sequence[tuple[int, str]]) -> None:
        self._many(_INSERT_ACT, [{"idx": index, "event": name} for index, name in acts])

    def set_fact(self, name: str, value: bytes) -> None:
        """Let the ledger say something of itself."""
        self._connection.execute(_PUT_FACT, {"name": name, "value": value})

    def probe(self) -> None:
        """Write enough that a full disk says so."""
        self.set_fact(_PROBE, os.urandom(_PROBE_BYTES))

    def _many(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)


class LedgerStore:
    """The ledger's database."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if not path.is_file():
            raise MissingError("there is no ledger here")
        self._path = path
        if readonly:
            self._read = self._write = _readonly_engine(path)
        else:
            self._read = _engine(path, begin="BEGIN")
            self._write = _engine(path, begin="BEGIN IMMEDIATE")
        self._writer: Connection | None = None

    @classmethod
    def create(cls, path: Path, facts: dict[str, bytes]) -> LedgerStore:
        """Make an empty ledger, unless there is one."""
        with _port(LedgerError, "the ledger cannot be created"):
            _private_file(path)
            engine = _engine(path, begin="BEGIN IMMEDIATE")
            with engine.begin() as connection:
                _ledger.create_all(connection)
                rows = [{"name": name, "value": value} for name, value in facts.items()]
                connection.execute(insert(_facts).prefix_with("OR IGNORE"), rows)
            engine.dispose()
        return cls(path)

    def extend(self) -> None:
        """Make the tables that a ledger of an older version lacks."""
        with _port(LedgerError, "the ledger cannot be written"), self._write.begin() as connection:
            _ledger.create_all(connection)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A snapshot.

        Raises:
            MissingError: the file cannot be read as a ledger.
        """
        with (
            _port(MissingError, "the ledger cannot be read"),
            self._read.connect() as connection,
            connection.begin(),
        ):
            yield Reader(connection)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A transaction that is durable when this returns. One thread only.

        Raises:
            LedgerError: nothing of it is certain to be durable; the connection starts afresh.
        """
        try:
            with _port(LedgerError, "the ledger cannot be written"):
                if self._writer is None:
                    self._writer = self._write.connect()
                with self._writer.begin():
                    yield Writer(self._writer)
        except BaseException:
            self._drop_writer()
            raise

    def _drop_writer(self) -> None:
        """After an error nothing the connection remembers is trusted (a failed sync least)."""
        connection, self._writer = self._writer, None
        if connection is not None:
            with suppress(SQLAlchemyError, OSError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            with suppress(SQLAlchemyError, OSError):
                connection.close()
        self._write.dispose()
        self._read.dispose()


# --- the key store ----------------------------------------------------------------------------


def _check_lock(connection: Connection, lock: bytes | None) -> None:
    """What is written MUST be under the lock that stands there now, in this very transaction."""
    if connection.scalar(_SELECT_SECRET, {"name": LOCK}) != lock:
        raise StaleLockError("the key store's lock was changed meanwhile")


class KeyRows:
    """The key store's database. Apart from the ledger's, so that backups of one lack the other."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if not path.is_file():
            raise KeyStoreError("there is no key store here")
        self._engine = (
            _readonly_engine(path) if readonly else _engine(path, begin="BEGIN IMMEDIATE")
        )
        self._held: Connection | None = None

    @classmethod
    def create(cls, path: Path, secrets: Callable[[], dict[str, bytes]]) -> KeyRows:
        """Make a key store holding ``secrets()``, unless there is one."""
        with _port(KeyStoreError, "the key store cannot be created"):
            _private_file(path)
            engine = _engine(path, begin="BEGIN IMMEDIATE")
            with engine.begin() as connection:
                _keystore.create_all(connection)
                if connection.scalar(select(func.count()).select_from(_secrets)) == 0:
                    rows = [{"name": name, "value": value} for name, value in secrets().items()]
                    connection.execute(insert(_secrets), rows)
            engine.dispose()
        return cls(path)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with (
            _port(KeyStoreError, "the key store cannot be used"),
            self._engine.begin() as connection,
        ):
            yield connection

    def secret(self, name: str) -> bytes:
        with self._transaction() as connection:
            value = connection.scalar(_SELECT_SECRET, {"name": name})
        if not isinstance(value, bytes):
            raise KeyStoreError("the key store lacks a key")
        return value

    def find(self, name: str) -> bytes | None:
        """A secret as it is stored, or None."""
        with self._transaction() as connection:
            value = connection.scalar(_SELECT_SECRET, {"name": name})
        return value if isinstance(value, bytes) else None

    def add_secret(self, name: str, value: bytes, lock: bytes | None) -> None:
        """Store a secret, unless there is one of this name.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            row = {"name": name, "value": value}
            connection.execute(insert(_secrets).prefix_with("OR IGNORE"), row)

    def drop(self, name: str, lock: bytes | None) -> None:
        """Forget a secret.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            connection.execute(delete(_secrets).where(_secrets.c.name == name))

    def names(self) -> tuple[str, ...]:
        """Of all secrets but the lock."""
        with self._transaction() as connection:
            found = connection.scalars(select(_secrets.c.name).order_by(_secrets.c.name))
            return tuple(name for name in found if name not in {LOCK, _PROBE})

    def ids(self, before: str | None = None) -> Iterator[bytes]:
        """The ids of all keys, or of those that expire before a month."""
        query = select(_keys.c.id).execution_options(yield_per=1024)
        if before is not None:
            query = query.where(_keys.c.month < before)
        with self._transaction() as connection:
            yield from connection.scalars(query)

    def add(self, rows: Sequence[tuple[bytes, str, bytes]], lock: bytes | None = None) -> None:
        """Store ``(id, month, key)``; durable when this returns. One thread only.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``; nothing was stored.
        """
        try:
            with _port(KeyStoreError, "the key store cannot be written"):
                if self._held is None:
                    self._held = self._engine.connect()
                with self._held.begin():
                    _check_lock(self._held, lock)
                    values = [{"id": i, "month": m, "key": k} for i, m, k in rows]
                    self._held.execute(_INSERT_KEY, values)
        except BaseException:
            held, self._held = self._held, None
            if held is not None:
                with suppress(SQLAlchemyError, OSError):
                    held.invalidate()
                    held.close()
            raise

    def key(self, key_id: bytes) -> tuple[str, bytes] | None:
        """The month and the key as they are stored, or None."""
        with self._transaction() as connection:
            found = connection.execute(_SELECT_KEYROW, {"id": key_id}).first()
        if found is None or not isinstance(found.key, bytes):
            return None
        return str(found.month), found.key

    def destroy(self, key_ids: Sequence[bytes]) -> int:
        """Overwrite these keys, in the database and in what its log still holds of them.

        Raises:
            KeyStoreError: not done, or not to the end: try again when nobody reads the key store.
        """
        gone = 0
        with self._transaction() as connection:
            for start in range(0, len(key_ids), _DESTROYED_AT_ONCE):
                these = _keys.c.id.in_(key_ids[start : start + _DESTROYED_AT_ONCE])
                connection.execute(update(_keys).where(these).values(key=bytes(32)))
                gone += connection.execute(delete(_keys).where(these)).rowcount
        self._empty_log()
        return gone

    def _empty_log(self) -> None:
        with _port(KeyStoreError, "the key store cannot be used"), self._engine.connect() as plain:
            cursor = plain.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found = cursor.fetchone()
            cursor.close()
        if found is None or found[0]:
            raise KeyStoreError("keys were deleted, but a reader holds what the log has of them")

    # --- changing the lock (audit-format.md §7.6) ---

    def keys_after(self, after: bytes, limit: int) -> list[tuple[bytes, str, bytes]]:
        """The next ``(id, month, key)`` in the order of their ids, as they are stored."""
        with self._transaction() as connection:
            found = connection.execute(_SELECT_KEYS_AFTER.limit(limit), {"after": after})
            return [(row.id, row.month, row.key) for row in found]

    def swap_keys(self, rows: Sequence[tuple[bytes, bytes, bytes]], lock: bytes | None) -> None:
        """Store ``(id, old, new)`` where ``old`` still stands: a destroyed key stays destroyed.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            values = [{"which": i, "old": old, "new": new} for i, old, new in rows]
            if values:
                connection.execute(_SWAP_KEY, values)

    def put(self, secrets: Mapping[str, bytes], lock: bytes | None) -> None:
        """Store secrets, the lock among them, in one transaction.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            rows = [{"name": name, "value": value} for name, value in secrets.items()]
            connection.execute(_PUT_SECRET, rows)

    def settle(self, prefix: bytes, old: bytes, new: bytes | None) -> bool:
        """Put ``new`` in the place of the lock, unless a key does not begin with ``prefix``.

        An empty prefix stands for plain keys, which are shorter than any other.
        """
        begins = func.substr(_keys.c.key, 1, len(prefix)) == prefix
        right = begins if prefix else func.length(_keys.c.key) == _PLAIN_KEY_BYTES
        with self._transaction() as connection:
            _check_lock(connection, old)
            if connection.scalar(select(func.count()).select_from(_keys).where(~right)):
                return False
            if new is None:
                connection.execute(delete(_secrets).where(_secrets.c.name == LOCK))
            else:
                connection.execute(_PUT_SECRET, [{"name": LOCK, "value": new}])
        return True

    def scour(self) -> None:
        """Write the file anew, so that what rows held before stands nowhere in it.

        Raises:
            KeyStoreError: not done: try again when nobody reads the key store.
        """
        message = "the key store cannot be written"
        with _port(KeyStoreError, message), self._engine.connect() as plain:
            cursor = plain.connection.cursor()
            cursor.execute("VACUUM")
            cursor.close()
        self._empty_log()

    def probe(self) -> None:
        with self._transaction() as connection:
            value = {"name": _PROBE, "value": os.urandom(_PROBE_BYTES)}
            connection.execute(_PROBE_SECRET, value)

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(SQLAlchemyError, OSError):
                held.close()
        self._engine.dispose()
