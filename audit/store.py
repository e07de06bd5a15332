"""The databases: the ledger's and the key store's, as the rest of the log sees them.

Both lie where ``audit/storage`` says: the key store in a SQLite file, the ledger in one or on a
PostgreSQL server. Errors of the drivers stop here: they become LedgerError, KeyStoreError or
MissingError, without their text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from sqlalchemy import Connection, Executable, Table, delete, func, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import FormatError, KeyStoreError, LedgerError, MissingError
from audit.storage import schema
from audit.storage.copying import copy
from audit.storage.engines import engines, file_engine, port, private_file, readonly_engine
from audit.storage.place import Place
from audit.storage.versions import check_version, stamp

_PROBE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Row:
    """One record as stored: position, bytes, leaf hash, signed receipt."""

    index: int
    rid: str | None
    body: bytes = field(repr=False)
    leaf: bytes
    receipt: str = field(repr=False)
    boot: str | None = None  # to append; readers have it from the body
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """An intent that has no outcome yet."""

    rid: str
    index: int
    boot: str
    deadline: str | None


# --- the ledger -------------------------------------------------------------------------------


class Reader:
    """One consistent snapshot of a ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fact(self, name: str) -> bytes:
        value = self._connection.scalar(schema.SELECT_FACT, {"name": name})
        if not isinstance(value, bytes):
            raise MissingError("the ledger lacks a fact about itself")
        return value

    def last(self) -> tuple[int, bytes]:
        """The number of records, which is one more than the last index, and the last leaf hash."""
        found = self._connection.execute(schema.SELECT_LAST).first()
        return (0, b"") if found is None else (found.idx + 1, found.leaf)

    def node(self, level: int, index: int) -> bytes:
        """The stored root of a perfect subtree."""
        if level == 0:
            value = self._connection.scalar(schema.SELECT_LEAF, {"index": index})
        else:
            value = self._connection.scalar(schema.SELECT_NODE, {"level": level, "index": index})
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
        query = schema.SELECT_RECORDS.order_by(schema.records.c.idx)
        for found in self._connection.execute(query.execution_options(yield_per=256)):
            yield self._row(found)

    def row(self, index: int) -> Row:
        found = self._connection.execute(schema.SELECT_ROW, {"index": index}).first()
        if found is None:
            raise MissingError("no such record")
        return self._row(found)

    def by_rid(self, rid: str) -> tuple[Row, ...]:
        return tuple(map(self._row, self._connection.execute(schema.SELECT_RID, {"rid": rid})))

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        for found in self._connection.execute(schema.SELECT_CHECKPOINTS):
            if not isinstance(found.note, str):
                raise FormatError("a checkpoint is not what this log writes")
            yield found.size, found.note

    def newest_checkpoint(self) -> tuple[int, str] | None:
        found = self._connection.execute(schema.SELECT_NEWEST).first()
        return None if found is None else (found.size, found.note)

    def pending(self) -> tuple[Pending, ...]:
        return tuple(Pending(*found) for found in self._connection.execute(schema.SELECT_PENDING))


class Writer(Reader):
    """One write transaction. No other process appends while it is open."""

    def append(self, rows: Sequence[Row], nodes: Sequence[tuple[int, int, bytes]]) -> None:
        values = [
            (r.index, r.rid, r.body, r.leaf, r.receipt, r.boot and bytes.fromhex(r.boot), r.seq)
            for r in rows
        ]
        self._many(schema.records, schema.INSERT_RECORD, values)
        self._many(schema.nodes, schema.INSERT_NODE, nodes)

    def checkpoint(self, size: int, note: str) -> None:
        self._connection.execute(schema.INSERT_CHECKPOINT, {"size": size, "note": note})

    def open_intents(self, intents: Sequence[Pending]) -> None:
        values = [(i.rid, i.index, i.boot, i.deadline) for i in intents]
        self._many(schema.pending, schema.INSERT_PENDING, values)

    def close_intents(self, rids: Sequence[str]) -> None:
        if rids:
            self._connection.execute(schema.DELETE_PENDING, {"closed": list(rids)})

    def probe(self) -> None:
        """Write enough that a full disk says so."""
        self._connection.execute(schema.DELETE_FACT, {"old": "probe"})
        value = {"name": "probe", "value": os.urandom(_PROBE_BYTES)}
        self._connection.execute(schema.INSERT_FACT, value)

    def _many(self, table: Table, statement: Executable, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert whole rows, in the order of the table's columns, the quick way of each driver."""
        if not rows:
            return
        if self._connection.dialect.name == "postgresql":
            copy(self._connection, table, rows)
        else:
            names = table.c.keys()
            self._connection.execute(statement, [dict(zip(names, r, strict=True)) for r in rows])


class LedgerStore:
    """The ledger's database."""

    def __init__(self, place: Place, *, readonly: bool = False) -> None:
        if isinstance(place, Path) and not place.is_file():
            raise MissingError("there is no ledger here")
        self._readonly, self._known = readonly, False
        self._read, self._write = engines(place, readonly=readonly)
        self._writer: Connection | None = None

    @classmethod
    def create(cls, place: Place, facts: dict[str, bytes]) -> LedgerStore:
        """Make an empty ledger, unless there is one."""
        with port(LedgerError, "the ledger cannot be created"):
            if isinstance(place, Path):
                private_file(place)
            reading, writing = engines(place, readonly=False)
            with writing.begin() as connection:
                if not inspect(connection).has_table(schema.facts.name):
                    schema.ledger.create_all(connection)
                    stamp(connection, schema.ledger_version, schema.LEDGER_VERSIONS[-1])
                    rows = [{"name": name, "value": value} for name, value in facts.items()]
                    connection.execute(schema.INSERT_FACT, rows)
            writing.dispose()
            reading.dispose()
        return cls(place)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A snapshot.

        Raises:
            MissingError: it cannot be read as a ledger.
            LedgerError: its schema is newer than this program, or too old to write to.
        """
        with (
            port(MissingError, "the ledger cannot be read"),
            self._read.connect() as connection,
            connection.begin(),
        ):
            self._check(connection)
            yield Reader(connection)

    def _check(self, connection: Connection) -> None:
        """Look once whether this is a schema that this program reads, or writes."""
        if not self._known:
            check_version(
                connection,
                schema.ledger_version,
                schema.LEDGER_VERSIONS,
                write=not self._readonly,
                error=LedgerError,
            )
            self._known = True

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A transaction that is durable when this returns. One thread only.

        Raises:
            LedgerError: nothing of it is certain to be durable; the connection starts afresh.
        """
        try:
            with port(LedgerError, "the ledger cannot be written"):
                if self._writer is None:
                    self._writer = self._write.connect()
                with self._writer.begin():
                    self._check(self._writer)
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


class KeyRows:
    """The key store's database. Apart from the ledger's, so that backups of one lack the other."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if not path.is_file():
            raise KeyStoreError("there is no key store here")
        self._engine = (
            readonly_engine(path) if readonly else file_engine(path, begin="BEGIN IMMEDIATE")
        )
        self._readonly = readonly
        self._held: Connection | None = None

    @classmethod
    def create(cls, path: Path, secrets: Callable[[], dict[str, bytes]]) -> KeyRows:
        """Make a key store holding ``secrets()``, unless there is one."""
        with port(KeyStoreError, "the key store cannot be created"):
            private_file(path)
            engine = file_engine(path, begin="BEGIN IMMEDIATE")
            with engine.begin() as connection:
                fresh = not inspect(connection).has_table(schema.secrets.name)
                schema.keystore.create_all(connection)
                if fresh:
                    stamp(connection, schema.keystore_version, schema.KEYSTORE_VERSIONS[-1])
                if connection.scalar(select(func.count()).select_from(schema.secrets)) == 0:
                    rows = [{"name": name, "value": value} for name, value in secrets().items()]
                    connection.execute(schema.INSERT_SECRET, rows)
            engine.dispose()
        return cls(path)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with (
            port(KeyStoreError, "the key store cannot be used"),
            self._engine.begin() as connection,
        ):
            yield connection

    def secret(self, name: str) -> bytes:
        with self._transaction() as connection:
            check_version(
                connection,
                schema.keystore_version,
                schema.KEYSTORE_VERSIONS,
                write=not self._readonly,
                error=KeyStoreError,
            )
            value = connection.scalar(schema.SELECT_SECRET, {"name": name})
        if not isinstance(value, bytes):
            raise KeyStoreError("the key store lacks a key")
        return value

    def add(self, rows: Sequence[tuple[bytes, str, bytes]]) -> None:
        """Store ``(id, month, key)``; durable when this returns. One thread only."""
        try:
            with port(KeyStoreError, "the key store cannot be written"):
                if self._held is None:
                    self._held = self._engine.connect()
                with self._held.begin():
                    values = [{"id": i, "month": m, "key": k} for i, m, k in rows]
                    self._held.execute(schema.INSERT_KEY, values)
        except BaseException:
            held, self._held = self._held, None
            if held is not None:
                with suppress(SQLAlchemyError, OSError):
                    held.invalidate()
                    held.close()
            raise

    def key(self, key_id: bytes) -> bytes | None:
        with self._transaction() as connection:
            value = connection.scalar(schema.SELECT_KEY, {"id": key_id})
        return value if isinstance(value, bytes) else None

    def destroy(self, key_ids: Sequence[bytes]) -> int:
        """Overwrite these keys, in the database and in what its log still holds of them.

        Raises:
            KeyStoreError: not done, or not to the end: try again when nobody reads the key store.
        """
        with self._transaction() as connection:
            blank = update(schema.keys).where(schema.keys.c.id.in_(key_ids)).values(key=bytes(32))
            connection.execute(blank)
            gone = connection.execute(
                delete(schema.keys).where(schema.keys.c.id.in_(key_ids))
            ).rowcount
        with port(KeyStoreError, "the key store cannot be used"), self._engine.connect() as plain:
            cursor = plain.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found = cursor.fetchone()
            cursor.close()
        if found is None or found[0]:
            raise KeyStoreError("keys were deleted, but a reader holds what the log has of them")
        return int(gone)

    def probe(self) -> None:
        with self._transaction() as connection:
            connection.execute(schema.DELETE_SECRET, {"old": "probe"})
            value = {"name": "probe", "value": os.urandom(_PROBE_BYTES)}
            connection.execute(schema.INSERT_SECRET, value)

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(SQLAlchemyError, OSError):
                held.close()
        self._engine.dispose()
