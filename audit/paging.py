"""A log read a page at a time, each in a snapshot of its own, up to a size fixed before.

A reader who takes hours holds no transaction open: the write-ahead log of SQLite is emptied as
ever, PostgreSQL's vacuum is not held up, and what is appended meanwhile is not seen. What was
appended never changes, so pages of one size fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing

from audit.errors import MissingError
from audit.store import Reader, Row

_PAGE_RECORDS = 256
_PAGE_BYTES = 1 << 20
_AT_ONCE = 16  # rows that the driver holds: a record may be some MiB

Reading = Callable[[], AbstractContextManager[Reader]]
"""Opens a snapshot."""


def pages(reading: Reading, size: int, start: int = 0) -> Iterator[list[Row]]:
    """The records from ``start`` on and below ``size`` in order, a snapshot for each page.

    Raises:
        MissingError: the log ends before, or cannot be read.
    """
    index = start
    while index < size:
        with reading() as reader:
            rows = _page(reader, index, size)
        if not rows:
            raise MissingError("the ledger lacks records")
        yield rows
        index = rows[-1].index + 1


def _page(reader: Reader, first: int, size: int) -> list[Row]:
    """Some records from ``first`` on: so many, or so many bytes and one more."""
    rows: list[Row] = []
    held = 0
    with closing(reader.rows(first, _AT_ONCE)) as found:
        for row in found:
            if row.index >= size:
                break
            rows.append(row)
            held += len(row.body)
            if len(rows) >= _PAGE_RECORDS or held >= _PAGE_BYTES:
                break
    return rows


class Paged:
    """The first ``size`` records of a log, read as ``audit.store.Reader`` reads a snapshot.

    ``size`` MUST be that of a checkpoint: it is the newest one here.
    """

    def __init__(self, reading: Reading, size: int) -> None:
        self._reading, self._size = reading, size

    def fact(self, name: str) -> bytes:
        with self._reading() as reader:
            return reader.fact(name)

    def last(self) -> tuple[int, bytes]:
        """The number of records and the last leaf hash."""
        with self._reading() as reader:
            return self._size, reader.row(self._size - 1).leaf

    def rows(self, start: int = 0) -> Iterator[Row]:
        for rows in pages(self._reading, self._size, start):
            yield from rows

    def node(self, level: int, index: int) -> bytes:
        with self._reading() as reader:
            return reader.node(level, index)

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        with self._reading() as reader:
            found = [(size, note) for size, note in reader.checkpoints() if size <= self._size]
        yield from found

    def newest_checkpoint(self) -> tuple[int, str] | None:
        with self._reading() as reader:
            note = reader.checkpoint_at(self._size)
        return None if note is None else (self._size, note)
