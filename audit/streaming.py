"""Exports made piece by piece, for those who hand them out while they are made.

Memory holds a page of records and some pieces; no snapshot outlives a page (``audit/paging.py``).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import rfc8785

from audit.checkpoint import VerifyingKey
from audit.errors import MissingError, RecordError
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
from audit.paging import Paged, Reading, pages
from audit.piping import pulled
from audit.verify import Item

BUNDLE = "bundle"


def pieces(reading: Reading, kind: str, size: int, selection: Selection) -> Iterator[bytes]:
    """An export of the records below ``size``, which is that of a checkpoint.

    Pieces may be empty: where nothing was taken of a page, whoever waits can think again.

    Raises:
        MissingError, FormatError: the log cannot be read, or a record is none.
    """
    if kind in WRITERS:
        return _lines(reading, kind, size, selection)
    return pulled(partial(FILES[kind], Paged(reading, size), selection))


def _lines(reading: Reading, kind: str, size: int, selection: Selection) -> Iterator[bytes]:
    head, line = WRITERS[kind]
    yield head().encode()
    for rows in pages(reading, size):
        items = (Item(row.index, row.body, row.leaf, row.receipt) for row in rows)
        taken = views(items, selection)
        yield b"".join(line(view).encode("utf-8", "backslashreplace") for view in taken)


# --- bundles (audit-format.md §10) ------------------------------------------------------------


def _write_bundle(log: Paged, selection: Selection, out: IO[bytes]) -> None:
    """A zip file with all records, and the checkpoints over them."""
    if selection != Selection():
        raise RecordError("a bundle holds the whole log")
    newest = log.newest_checkpoint()
    if newest is None:
        raise MissingError("no checkpoint has this size")
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open(_member(RECORDS), "w", force_zip64=True) as file:
            for row in log.rows():
                file.write(b"%d %b\n" % (row.index, row.body))
        for name, data in _others(log, *newest):
            archive.writestr(_member(name), data)


def _others(log: Paged, size: int, newest: str) -> Iterator[tuple[str, bytes]]:
    """What stands in a bundle beside the records."""
    vkey = log.fact("vkey").decode()
    origin = VerifyingKey.parse(vkey).name
    manifest = rfc8785.dumps({"format": FORMAT, "origin": origin, "records": size, "vkey": vkey})
    yield MANIFEST, manifest
    notes = [note for _, note in log.checkpoints()]
    yield CHECKPOINTS, json.dumps(notes, ensure_ascii=False).encode()
    yield NEWEST, newest.encode()
    for name in (STANDALONE, PAGE):
        yield name, Path(__file__).with_name(name).read_bytes()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # dated 1980: the same log gives the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


FILES: Mapping[str, Callable[[Paged, Selection, IO[bytes]], object]] = {BUNDLE: _write_bundle}
"""Formats that are more than a line for each record: what writes their file."""


def kinds() -> tuple[str, ...]:
    """The formats there are."""
    return (*FILES, *WRITERS)
