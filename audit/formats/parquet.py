"""Apache Parquet: a typed table, written in row groups so that memory stays flat.

The only home of pyarrow, which is an extra: ``make extras``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import LedgerError
from audit.formats.outfile import whole_file
from audit.formats.view import View

_FEATURES = ("role", "purpose", "decision", "error", "finish")
_GROUP_ROWS, _GROUP_BYTES = 4096, 8 << 20

_MINUTE = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("boot", pa.string(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("rid", pa.string()),
        pa.field("minute", _MINUTE, nullable=False),
        pa.field("expires", pa.string(), nullable=False),
        pa.field("deadline", _MINUTE),
        *(pa.field(name, pa.string()) for name in _FEATURES),
        pa.field("status", pa.int32()),
        pa.field("features", pa.string(), nullable=False, metadata={"content": "json"}),
        pa.field("at", pa.string()),
        pa.field("principal", pa.string()),
        pa.field("subject", pa.string()),
        *(
            pa.field(name, pa.string(), metadata={"content": "json"})
            for name in ("sealed", "text", "values")
        ),
        pa.field("erased_parts", pa.int32()),
        pa.field("unreadable", pa.string()),
    ],
    metadata={"format": "cloister-records/1"},
)
"""Columns are added at the end. What was not opened is null."""


def write_parquet(out: Path, found: Iterable[View]) -> int:
    """Write one row a record; return their number.

    Raises:
        LedgerError: ``out`` exists or cannot be written. Nothing of its name is left then.
    """
    try:
        with whole_file(out) as file:
            return write_rows(file, found)
    except OSError:
        raise LedgerError("the export cannot be written") from None


def write_rows(file: IO[bytes], found: Iterable[View]) -> int:
    """As ``write_parquet``, into a file that need not be one that can be rewound."""
    count = 0
    try:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for group in _groups(found):
                writer.write_batch(pa.RecordBatch.from_pylist(group, schema=SCHEMA))
                count += len(group)
    except pa.ArrowInvalid:
        raise LedgerError("the export cannot be written") from None
    return count


def _groups(found: Iterable[View]) -> Iterator[list[dict[str, Any]]]:
    """Rows of a row group each: by number, and by size where texts are long."""
    group: list[dict[str, Any]] = []
    size = 0
    for view in found:
        group.append(row(view))
        size += sum(len(value) for value in group[-1].values() if isinstance(value, str))
        if len(group) >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def row(view: View) -> dict[str, Any]:
    """The values of one record; pyarrow gives each its column's type."""
    header, opened = view.header, view.opened
    found: dict[str, Any] = {
        "index": view.index,
        "origin": header.origin,
        "boot": header.boot,
        "seq": header.seq,
        "event": header.event,
        "rid": header.rid,
        "minute": _moment(header.minute),
        "expires": header.expires,
        "deadline": None if header.deadline is None else _moment(header.deadline),
        **{name: view.feature(name) or None for name in _FEATURES},
        "status": header.features.get("status"),
        "features": _json(header.features),
        "unreadable": view.unreadable,
    }
    if opened is not None:
        found |= {
            "at": opened.at,
            "principal": view.principal() or None,
            "subject": view.subject() or None,
            "sealed": _json(opened.sealed),
            "text": _json(opened.text),
            "values": _json([dict(group) for group in opened.values]),
            "erased_parts": opened.erased,
        }
    return {
        name: _text(value) if isinstance(value, str) else value for name, value in found.items()
    }


def _moment(minute: str) -> datetime:
    return datetime.strptime(minute, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)


def _json(value: Mapping[str, object] | list[dict[str, object]]) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, sort_keys=True)


def _text(value: str) -> str:
    """Arrow's strings are UTF-8: half a surrogate pair stands as its escape."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
