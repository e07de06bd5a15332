"""`gateway mask --jsonl`: rows in, rows out, in order, streaming; one record for the whole run.

A row is ``{"id", "text", "language"?}``. What comes back is ``{"id", "text", "entities"}``, and
which languages were searched where one was named; or ``{"id", "error", "line"}`` for a row that is
bad or that may not be masked: nothing else is lost, and the exit status is 1 at the end. A row is
not written before it is masked; none is held back while the input has nothing more to say. Rows
are masked in batches, in as many processes as asked for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from io import UnsupportedOperation
from typing import Annotated, BinaryIO

import msgspec

from gateway.domain import Purpose, Role
from gateway.errors import DetectorError, GatewayError, PolicyDeniedError
from gateway.masking.pool import in_order
from gateway.masking.run import Run, Tally, start
from gateway.pii.languages import LANGUAGE, searched
from gateway.pii.locate import Findings

BAD_ROW = "bad_row"
LINE_LIMIT = 16 * 1024 * 1024
BATCH_BYTES = 32 * 1024
_CHUNK = 64 * 1024
_TOO_LONG = b"!"  # a bad row in the place of one
_encode = msgspec.json.Encoder().encode


Line = tuple[int, bytes]
"""A line of the input and its number, counted from 1."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str | int
    text: str
    language: Annotated[str, msgspec.Meta(pattern=LANGUAGE)] | None = None


class _Id(msgspec.Struct, frozen=True):
    """As much of a bad row as can be named in its error."""

    id: str | int | None = None


_ROW = msgspec.json.Decoder(Row)
_ID = msgspec.json.Decoder(_Id)


def mask_rows(run: Run, batch: Sequence[Line]) -> list[bytes]:
    """The row for each line, an error row where it cannot be masked; that names the line.

    Their texts are searched together: the model reads many short ones in the time of a few.
    """
    rows = [_read(line) for _, line in batch]
    good = [row for row in rows if row is not None]
    searched = iter(run.search([(row.text, row.language) for row in good]))
    done = []
    for (number, line), row in zip(batch, rows, strict=True):
        if row is None:
            done.append(_error(run, _id_of(line), BAD_ROW, number))
        else:
            done.append(_mask_row(run, row, number, next(searched)))
    return done


def _read(line: bytes) -> Row | None:
    try:
        row = _ROW.decode(line)
        row.text.encode()  # lone surrogates cannot be written back
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        return None
    return row


def _mask_row(run: Run, row: Row, number: int, found: Findings | None) -> bytes:
    try:
        return _masked(run, row, number, found)
    except GatewayError as error:
        return _error(run, row.id, error.code, number)
    except Exception:  # noqa: BLE001 - whatever it is, the other rows are not lost for it
        return _error(run, row.id, GatewayError.code, number)


def mask_jsonl(  # noqa: PLR0913, PLR0917 - what a command line says
    source: BinaryIO,
    target: BinaryIO,
    role: Role,
    purpose: Purpose,
    added: Sequence[str] = (),
    workers: int = 1,
) -> int:
    """Mask every row of ``source`` into ``target``; return the exit status.

    Raises:
        GatewayError: the run cannot start, or cannot be put on record.
    """
    run = start(role, purpose, added)
    try:
        for rows, tally in masked_rows(run, batches(source), workers):
            run.tally.add(tally)
            target.write(rows)
            target.flush()
    finally:
        run.record({"rows": dict(run.tally.done)})
    return 1 if run.tally.done["error"] else 0


def masked_rows(
    run: Run, lines: Iterator[Sequence[Line] | None], workers: int
) -> Iterator[tuple[bytes, Tally]]:
    """Batches of rows, masked, in their order, each with what was counted in it."""

    def work(batch: Sequence[Line]) -> tuple[bytes, Tally]:
        before = run.take_tally()
        rows = b"".join(row + b"\n" for row in mask_rows(run, batch))
        tally, run.tally = run.tally, before
        return rows, tally

    def lost(batch: Sequence[Line]) -> tuple[bytes, Tally]:
        """The process ended on this batch: each of its rows by itself is an error row."""
        rows = [_encode(_failed(_id_of(line), DetectorError.code, n)) for n, line in batch]
        tally = Tally()
        tally.done["error"] = len(rows)
        return b"".join(row + b"\n" for row in rows), tally

    return in_order(work, lines, workers, lost)


def batches(source: BinaryIO) -> Iterator[list[Line] | None]:
    """The lines that are not blank, some at a time; None where the next ones are waited for."""
    batch: list[Line] = []
    size = number = 0
    for line in _lines(source):
        number += line is not None
        if line is not None and line.strip():
            batch.append((number, line))
            size += len(line)
        if batch and (line is None or size >= BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if line is None:
            yield None
    if batch:
        yield batch


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Lines as they come; None before waiting. Of one that is too long only that it is bad."""
    rest, skipping = b"", False
    for chunk in _chunks(source):
        if chunk is None:
            yield None
            continue
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _TOO_LONG if skipping else line
            skipping = False
        if len(rest) > LINE_LIMIT:
            rest, skipping = b"", True
    if rest or skipping:
        yield _TOO_LONG if skipping else rest


def _chunks(source: BinaryIO) -> Iterator[bytes | None]:
    try:
        descriptor = source.fileno()
    except UnsupportedOperation:  # bytes in memory
        yield from iter(lambda: source.read(_CHUNK), b"")
        return
    while True:
        if not select.select([descriptor], [], [], 0)[0]:
            yield None
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return
        yield chunk


def _masked(run: Run, row: Row, number: int, found: Findings | None) -> bytes:
    text, protected = run.protect(row.text, row.language, found)
    if protected.masked is None:
        return _error(run, row.id, PolicyDeniedError.code, number)
    run.tally.done["masked"] += 1
    run.tally.count(protected.told)
    entities = [
        {
            "entity_type": r.entity_type,
            "start": r.start,
            "end": r.end,
            "score": round(r.score, 4),
            "operator": r.operator.name.lower(),
            "replacement": r.text,
        }
        for r in protected.replacements[0]
    ]
    done: dict[str, object] = {"id": row.id, "text": text, "entities": entities}
    if row.language is not None:
        done["language"] = searched(row.language, run.languages)
    return _encode(done)


def _error(run: Run, row_id: str | int | None, code: str, number: int) -> bytes:
    run.tally.done["error"] += 1
    return _encode(_failed(row_id, code, number))


def _failed(row_id: str | int | None, code: str, number: int) -> dict[str, object]:
    """An error row; ``number`` counts the lines of the input from 1, blank ones too."""
    return {"id": row_id, "error": code, "line": number}


def _id_of(line: bytes) -> str | int | None:
    try:
        return _ID.decode(line).id
    except (ValueError, RecursionError):
        return None
