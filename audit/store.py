"""The ledger's database as the rest of the log sees it: snapshots, and transactions that append.

It lies in a SQLite file or on a PostgreSQL server (``audit/storage``). Errors of the drivers stop
here: they become LedgerError or MissingError, without their text.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import FormatError, LedgerError, MissingError
from audit.storage import schema
from audit.storage.copying import delete_each, insert_rows, look_up
from audit.storage.engines import engines, port, private_file
from audit.storage.place import Place
from audit.storage.standing import Standing
from audit.storage.versions import check_version, stamp

_PROBE_BYTES = 8192
_AT_ONCE = 1000  # variables of one statement
_T = TypeVar("_T")


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


def _pieces(values: Sequence[_T]) -> Iterator[list[_T]]:
    """As many at a time as one statement takes."""
    for start in range(0, len(values), _AT_ONCE):
        yield list(values[start : start + _AT_ONCE])


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
        leaves, nodes = schema.records.c, schema.nodes.c
        if level == 0:
            value = look_up(self._connection, leaves.leaf, (leaves.idx, index))
        else:
            value = look_up(self._connection, nodes.hash, (nodes.level, level), (nodes.idx, index))
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

    def rows(self, start: int = 0, at_once: int = 256) -> Generator[Row, None, None]:
        """The records from ``start`` on, in order, streamed; the driver holds ``at_once``."""
        query = schema.SELECT_RECORDS.order_by(schema.records.c.idx)
        if start:
            query = query.where(schema.records.c.idx >= start)
        with self._connection.execute(query.execution_options(yield_per=at_once)) as result:
            for found in result:
                yield self._row(found)

    def row(self, index: int) -> Row:
        found = self._connection.execute(schema.SELECT_ROW, {"index": index}).first()
        if found is None:
            raise MissingError("no such record")
        return self._row(found)

    def by_rid(self, rid: str) -> tuple[Row, ...]:
        found: list[Row] = []
        for some in _pieces(schema.runs(self.last()[0])):
            asked = {"rid": rid, "runs": some}
            found += map(self._row, self._connection.execute(schema.SELECT_RID, asked))
        return tuple(found)

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        for found in self._connection.execute(schema.SELECT_CHECKPOINTS):
            if not isinstance(found.note, str):
                raise FormatError("a checkpoint is not what this log writes")
            yield found.size, found.note

    def newest_checkpoint(self) -> tuple[int, str] | None:
        found = self._connection.execute(schema.SELECT_NEWEST).first()
        return None if found is None else (found.size, found.note)

    def checkpoint_at(self, size: int) -> str | None:
        query = select(schema.checkpoints.c.note).where(schema.checkpoints.c.size == size)
        return self._connection.scalar(query)

    def acts(self, event: str) -> tuple[int, ...]:
        """The indices of the acts of one kind, oldest first. Empty in a ledger of before §11."""
        if not self._has(schema.acts):
            return ()
        return tuple(self._connection.scalars(schema.SELECT_ACTS, {"event": event}))

    def last_act(self, event: str) -> int:
        """The index of the newest act of one kind, or -1."""
        found = self._connection.scalar(schema.SELECT_LAST_ACT, {"event": event})
        return -1 if found is None else int(found)

    def indexed(self, tokens: Sequence[bytes]) -> tuple[int, ...]:
        """The records that the blind index names for any of these tokens."""
        if not self._has(schema.subject_index):
            return ()
        found: set[int] = set()
        for run in schema.runs(self.last()[0]):
            for some in _pieces(tokens):
                asked = {"run": run, "tokens": some}
                found.update(self._connection.scalars(schema.SELECT_TOKENS, asked))
        return tuple(sorted(found))

    def _has(self, table: Table) -> bool:
        return bool(inspect(self._connection).has_table(table.name))

    def pending(self) -> tuple[Pending, ...]:
        return tuple(Pending(*found) for found in self._connection.execute(schema.SELECT_PENDING))


class Writer(Reader):
    """One write transaction. No other process appends while it is open."""

    def append(self, rows: Sequence[Row], nodes: Sequence[tuple[int, int, bytes]]) -> None:
        values = [
            (r.index, r.rid, r.body, r.leaf, r.receipt, r.boot and bytes.fromhex(r.boot), r.seq)
            for r in rows
        ]
        insert_rows(self._connection, schema.records, values)
        insert_rows(self._connection, schema.nodes, nodes)

    def checkpoint(self, size: int, note: str) -> None:
        self._connection.execute(schema.INSERT_CHECKPOINT, {"size": size, "note": note})

    def open_intents(self, intents: Sequence[Pending]) -> None:
        values = [(i.rid, i.index, i.boot, i.deadline) for i in intents]
        insert_rows(self._connection, schema.pending, values)

    def close_intents(self, rids: Sequence[str]) -> None:
        delete_each(self._connection, schema.pending.c.rid, rids)

    def cosigned(self, size: int, note: str) -> None:
        """Keep a checkpoint with the signature lines of its witnesses (audit-format.md §5.4)."""
        changed = update(schema.checkpoints).where(schema.checkpoints.c.size == size)
        self._connection.execute(changed.values(note=note))

    def index(self, rows: Sequence[tuple[bytes, int, str, str]]) -> None:
        """Rows of the blind index: token, record, day, and the month they go after."""
        insert_rows(self._connection, schema.subject_index, list(dict.fromkeys(rows)))

    def unindex(self, tokens: Sequence[bytes], *, before: str = "") -> None:
        """Remove the rows of these tokens, and those of the months before ``before``."""
        for run in schema.runs(self.last()[0]) if tokens else ():
            for some in _pieces(tokens):
                self._connection.execute(schema.DELETE_TOKENS, {"run": run, "tokens": some})
        if before:
            self._connection.execute(schema.DELETE_MONTHS, {"before": before})

    def note_acts(self, acts: Sequence[tuple[int, str]]) -> None:
        insert_rows(self._connection, schema.acts, acts)

    def set_fact(self, name: str, value: bytes) -> None:
        """Let the ledger say something of itself."""
        self._connection.execute(schema.DELETE_FACT, {"old": name})
        self._connection.execute(schema.INSERT_FACT, {"name": name, "value": value})

    def probe(self) -> None:
        """Write enough that a full disk says so."""
        self.set_fact("probe", os.urandom(_PROBE_BYTES))


class LedgerStore:
    """The ledger's database."""

    def __init__(self, place: Place, *, readonly: bool = False) -> None:
        if isinstance(place, Path) and not place.is_file():
            raise MissingError("there is no ledger here")
        self._readonly, self._known = readonly, False
        self._read, self._write = engines(place, readonly=readonly)
        self._writer: Connection | None = None
        self._standing = Standing(place if isinstance(place, Path) else None)

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
                self._standing.check(held=self._writer is not None)
                if self._writer is None:
                    self._writer = self._write.connect()
                with self._writer.begin():
                    self._check(self._writer)
                    yield Writer(self._writer)
                self._standing.check(held=True)
        except BaseException:
            self._drop_writer()
            raise

    def _drop_writer(self) -> None:
        """At the end; and after an error: nothing the connection remembers is trusted then."""
        connection, self._writer = self._writer, None
        self._standing.let_go()
        if connection is not None:
            with suppress(SQLAlchemyError, OSError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        self._drop_writer()
        self._write.dispose()
        self._read.dispose()
