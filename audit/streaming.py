"""Exports made piece by piece, for those who hand them out while they are made.

Every page is read in a snapshot of its own, by index, up to a number of records that was fixed
before: a reader who takes hours holds no transaction open, so the database's write-ahead log is
emptied as ever, and what is appended meanwhile is not in the export. Memory holds a page.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import rfc8785

from audit.checkpoint import VerifyingKey
from audit.errors import MissingError
from audit.export import (
    CHECKPOINTS,
    FORMAT,
    MANIFEST,
    NEWEST,
    PAGE,
    RECORDS,
    STANDALONE,
    views,
)
from audit.formats.lines import WRITERS
from audit.formats.view import Selection
from audit.store import Reader, Row
from audit.verify import Item

BUNDLE = "bundle"
_PAGE_RECORDS = 256
_PAGE_BYTES = 1 << 20
_AT_ONCE = 16  # rows that the driver holds: a record may be some MiB

Reading = Callable[[], AbstractContextManager[Reader]]
"""Opens a snapshot."""


def kinds() -> tuple[str, ...]:
    """The formats there are."""
    return (BUNDLE, *WRITERS)


def pages(reading: Reading, size: int) -> Iterator[list[Row]]:
    """The records below ``size`` in order, a snapshot for each page.

    Raises:
        MissingError: the log ends before, or cannot be read.
    """
    index = 0
    while index < size:
        with reading() as reader:
            rows = page(reader, index, size)
        if not rows:
            raise MissingError("the ledger lacks records")
        yield rows
        index = rows[-1].index + 1


def page(reader: Reader, first: int, size: int) -> list[Row]:
    """Some records from ``first`` on and below ``size``: a page, or one that is larger."""
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


def pieces(reading: Reading, kind: str, size: int, selection: Selection) -> Iterator[bytes]:
    """An export of the records below ``size``, which is that of a checkpoint for a bundle.

    A piece for each page; empty where nothing of the page was taken, so that whoever waits for
    it can think again.

    Raises:
        MissingError, FormatError: the log cannot be read, or a record is none.
    """
    if kind == BUNDLE:
        return _bundle(reading, size)
    return _lines(reading, kind, size, selection)


def _lines(reading: Reading, kind: str, size: int, selection: Selection) -> Iterator[bytes]:
    head, line = WRITERS[kind]
    yield head().encode()
    for rows in pages(reading, size):
        taken = views(_items(rows), selection)
        yield b"".join(line(view).encode("utf-8", "backslashreplace") for view in taken)


def _items(rows: Iterable[Row]) -> Iterator[Item]:
    return (Item(row.index, row.body, row.leaf, row.receipt) for row in rows)


# --- bundles (audit-format.md §10) ------------------------------------------------------------


class _Tray:
    """A file that goes away as it is written: what zipfile needs of one, and no more."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        held, self._held = self._held, []
        return b"".join(held)


def _bundle(reading: Reading, size: int) -> Iterator[bytes]:
    """A zip file with all records below ``size``, and the checkpoints over them."""
    with reading() as reader:
        notes = [note for at, note in reader.checkpoints() if at <= size]
        newest = reader.checkpoint_at(size)
        vkey = reader.fact("vkey").decode()
    if newest is None:
        raise MissingError("no checkpoint has this size")
    tray = _Tray()
    with zipfile.ZipFile(tray, "w") as archive:  # type: ignore[call-overload]
        with archive.open(_member(RECORDS), "w", force_zip64=True) as file:
            for rows in pages(reading, size):
                for row in rows:
                    file.write(b"%d %b\n" % (row.index, row.body))
                yield tray.take()
        for name, data in _others(vkey, size, notes, newest):
            archive.writestr(_member(name), data)
    yield tray.take()


def _others(vkey: str, size: int, notes: list[str], newest: str) -> Iterator[tuple[str, bytes]]:
    """What stands in a bundle beside the records."""
    origin = VerifyingKey.parse(vkey).name
    manifest = rfc8785.dumps({"format": FORMAT, "origin": origin, "records": size, "vkey": vkey})
    yield MANIFEST, manifest
    yield CHECKPOINTS, json.dumps(notes, ensure_ascii=False).encode()
    yield NEWEST, newest.encode()
    for name in (STANDALONE, PAGE):
        yield name, Path(__file__).with_name(name).read_bytes()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # dated 1980: the same log gives the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
