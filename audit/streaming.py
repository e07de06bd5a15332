"""Exports made piece by piece, for those who hand them out while they are made.

Memory holds a page of records and some pieces; no snapshot outlives a page (``audit/paging.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import IO

from audit.bundle import write_bundle
from audit.export import views
from audit.formats.lines import WRITERS
from audit.formats.view import Selection, View
from audit.paging import Paged, Reading, pages
from audit.piping import pulled
from audit.verify import Item

BUNDLE, PARQUET = "bundle", "parquet"


def pieces(
    reading: Reading,
    kind: str,
    size: int,
    selection: Selection,
    policies: Iterable[bytes] = (),
) -> Iterator[bytes]:
    """An export of the records below ``size``, which is that of a checkpoint.

    Pieces may be empty: where nothing was taken of a page, whoever waits can think again.

    Raises:
        MissingError, FormatError: the log cannot be read, or a record is none.
    """
    if kind in WRITERS:
        return _lines(reading, kind, size, selection)
    return pulled(partial(FILES[kind], Asked(Paged(reading, size), selection, policies)))


def _lines(reading: Reading, kind: str, size: int, selection: Selection) -> Iterator[bytes]:
    head, line = WRITERS[kind]
    yield head().encode()
    for rows in pages(reading, size):
        items = (Item(row.index, row.body, row.leaf, row.receipt) for row in rows)
        taken = views(items, selection)
        yield b"".join(line(view).encode("utf-8", "backslashreplace") for view in taken)


def _views(log: Paged, selection: Selection) -> Iterator[View]:
    items = (Item(row.index, row.body, row.leaf, row.receipt) for row in log.rows())
    return views(items, selection)


# --- formats that are more than a line for each record -----------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a log is wanted. ``policies``: texts that a bundle may hold."""

    log: Paged
    selection: Selection
    policies: Iterable[bytes] = field(repr=False, default=())


def _bundle(asked: Asked, out: IO[bytes]) -> None:
    chosen = None if asked.selection == Selection() else asked.selection
    write_bundle(asked.log, out, selection=chosen, policies=asked.policies)


def _parquet(asked: Asked, out: IO[bytes]) -> None:
    from audit.formats.parquet import write_rows  # noqa: PLC0415 - an extra

    write_rows(out, _views(asked.log, asked.selection))


FILES: Mapping[str, Callable[[Asked, IO[bytes]], object]] = {BUNDLE: _bundle, PARQUET: _parquet}
"""What writes their file."""


def kinds() -> tuple[str, ...]:
    """The formats there are here: Parquet where what writes it is installed."""
    files = tuple(kind for kind in FILES if kind != PARQUET or find_spec("pyarrow"))
    return (*files, *WRITERS)
