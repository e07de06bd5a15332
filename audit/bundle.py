"""Bundles: a log, or chosen records of it, written out for an auditor.

audit-format.md §10. A bundle is a directory or a zip file with

    manifest.json         format, origin, the log's public key, number of records, other files
    records.log           one record a line: its index, a space, its bytes as stored
    checkpoints.json      every checkpoint as signed, oldest first
    checkpoint.txt        the newest of them: the one to keep elsewhere
    policies/             the texts of policies that records name by their digest
    verify_standalone.py  verifies all of this with Python's standard library alone
    verify.html           verifies all of this in a browser without a network

A partial bundle holds chosen records only, each with its inclusion proof between index and bytes,
and ``consistency.json``, which proves that each checkpoint extends the one before it. Of the key
store nothing is ever in a bundle. Writing streams: memory does not grow with the log.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import IO, Any

import rfc8785

from audit.certification import Certification, certify
from audit.checkpoint import VerifyingKey
from audit.errors import LedgerError, MissingError, NothingChosenError, RecordError
from audit.export import (
    CHECKPOINTS,
    FORMAT,
    GROWTH,
    MANIFEST,
    NEWEST,
    PAGE,
    PARTIAL,
    RECORDS,
    STANDALONE,
    Opener,
)
from audit.formats.outfile import private_file, whole_file, whole_folder
from audit.formats.summed import Summing, Sums
from audit.formats.view import Selection
from audit.merkle import NodeReader, consistency_proof, inclusion_proof
from audit.paging import Paged
from audit.policytexts import PolicyTexts
from audit.record import parse
from audit.storage.place import Place
from audit.store import LedgerStore, Reader, Row
from audit.vkey import to_base64

# Siblings high in the tree are those of thousands of neighbours.
_NODES_REMEMBERED = 4096

Shown = Callable[[Iterator[Row], int], Iterator[Row]]
"""The same rows; of so many there are. For who watches."""


@dataclass(slots=True)
class Written:
    """What became of the records: how many, and the first and last of them."""

    count: int = 0
    first: Row | None = field(repr=False, default=None)
    last: Row | None = field(repr=False, default=None)

    def add(self, row: Row) -> None:
        self.count += 1
        self.first = self.first or row
        self.last = row

    def span(self) -> dict[str, object]:
        """Indexes and minutes from the first record to the last."""
        if self.first is None or self.last is None:
            return {"records": 0}
        return {
            "records": self.count,
            "first_index": self.first.index,
            "last_index": self.last.index,
            "first_minute": parse(self.first.body).header.minute,
            "last_minute": parse(self.last.body).header.minute,
        }


def export_bundle(  # noqa: PLR0913 - what an export may be asked for
    ledger: Place,
    out: Path,
    *,
    selection: Selection | None = None,
    policies: Iterable[bytes] = (),
    certification: Certification | None = None,
    shown: Shown = lambda rows, _: rows,
) -> int:
    """Write records under the newest checkpoint to ``out``; return their number.

    ``out`` becomes a zip file where it ends in ``.zip``, else a directory. All records, or those
    that ``selection`` takes by what is readable: then it is a partial bundle. Of ``policies``
    those texts are taken that a record names. Bytes are copied, not judged: verify judges.

    Raises:
        RecordError: the choice is by what is sealed.
        MissingError: no ledger, no checkpoint yet, or no record is chosen.
        FormatError: a record that has to be read for the choice is none.
        LedgerError: ``out`` exists or cannot be written.
    """
    if selection is not None and selection.needs_key:
        raise RecordError("a bundle is chosen by what is readable")
    store = LedgerStore(ledger, readonly=True)
    try:
        with store.reading() as reader, _target(out) as target:
            sums, texts = Sums(target), PolicyTexts(policies)
            return _write(reader, sums, texts, selection, certification, shown)
    except OSError:
        raise LedgerError("the bundle cannot be written") from None
    finally:
        store.close()


def write_bundle(
    log: Paged,
    out: IO[bytes],
    *,
    selection: Selection | None = None,
    policies: Iterable[bytes] = (),
) -> int:
    """As ``export_bundle``, as a zip file into ``out``, which need not be one that can be rewound.

    Raises:
        RecordError, MissingError, FormatError: as ``export_bundle``.
    """
    if selection is not None and selection.needs_key:
        raise RecordError("a bundle is chosen by what is readable")
    with zipfile.ZipFile(out, "w") as archive:
        sums = Sums(lambda name: _member(archive, name))
        return _write(log, sums, PolicyTexts(policies), selection, None, lambda rows, _: rows)


def _write(  # noqa: PLR0913, PLR0917 - what a bundle is made of
    reader: Reader | Paged,
    sums: Sums,
    texts: PolicyTexts,
    selection: Selection | None,
    certification: Certification | None,
    shown: Shown,
) -> int:
    newest = reader.newest_checkpoint()
    if newest is None:
        raise MissingError("the ledger has no checkpoint yet")
    heads = list(reader.checkpoints())
    node = lru_cache(_NODES_REMEMBERED)(reader.node)
    rows = shown(takewhile(lambda row: row.index < newest[0], reader.rows()), newest[0])
    with sums.open(RECORDS) as file:
        written = _copy(rows, file, texts, _chosen(selection, newest[0], node))
    if not written.count and selection is not None:
        raise NothingChosenError("no record under the newest checkpoint is chosen")
    notes = [note for _, note in heads]
    sums.write(CHECKPOINTS, json.dumps(notes, ensure_ascii=False).encode())
    sums.write(NEWEST, newest[1].encode())
    if selection is not None:
        sums.write(GROWTH, _growth([size for size, _ in heads], node))
    for name in (STANDALONE, PAGE):
        sums.write(name, Path(__file__).with_name(name).read_bytes())
    for name, text in texts.found.items():
        sums.write(name, text)
    sums.write(MANIFEST, _manifest(reader, sums, written.count, selection))
    if certification is not None:
        certify(certification, sums, {**written.span(), "checkpoint": newest[1]})
    return written.count


def _manifest(reader: Reader | Paged, sums: Sums, count: int, selection: Selection | None) -> bytes:
    vkey = reader.fact("vkey").decode()
    manifest: dict[str, Any] = {
        "format": FORMAT if selection is None else PARTIAL,
        "origin": VerifyingKey.parse(vkey).name,
        "records": count,
        "vkey": vkey,
        "files": {name: known.sha256 for name, known in sums.known.items()},
    }
    if selection is not None:
        manifest["chosen"] = selection.readable()
    return rfc8785.dumps(manifest)


# --- the records ------------------------------------------------------------------------------

Line = Callable[[Row], bytes | None]
"""A record's line, or None where it was not chosen."""


def _copy(rows: Iterator[Row], file: Summing, texts: PolicyTexts, line: Line) -> Written:
    written = Written()
    for row in rows:
        data = line(row)
        if data is not None:
            file.write(data)
            written.add(row)
            texts.look(row.body)
    return written


def _chosen(selection: Selection | None, size: int, node: NodeReader) -> Line:
    def proven(row: Row) -> bytes | None:
        if selection is None or not selection.takes_header(parse(row.body).header):
            return None
        proof = to_base64(b"".join(inclusion_proof(row.index, size, node)))
        return b"%d %b %b\n" % (row.index, proof.encode(), row.body)

    if selection is None:
        return lambda row: b"%d %b\n" % (row.index, row.body)
    return proven


def _growth(sizes: list[int], node: NodeReader) -> bytes:
    """For each checkpoint but the first, the proof that it extends the one before it."""
    proofs = [
        to_base64(b"".join(consistency_proof(old, new, node))) for old, new in pairwise(sizes)
    ]
    return json.dumps(proofs).encode()


# --- the place --------------------------------------------------------------------------------


@contextmanager
def _target(out: Path) -> Iterator[Opener]:
    if out.suffix != ".zip":
        with whole_folder(out) as folder:
            yield lambda name: _in_folder(folder / name)
        return
    with whole_file(out) as file, zipfile.ZipFile(file, "w") as archive:
        yield lambda name: _member(archive, name)


def _in_folder(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return private_file(path)


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    info = zipfile.ZipInfo(name)  # dated 1980: the same log gives the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        yield file
