"""Ledgers and bundles read as evidence, and records written out for other programs.

``audit.bundle`` writes bundles (audit-format.md §10). Reading streams: memory does not grow with
the log.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, ClassVar

from audit.errors import FormatError, LedgerError, MissingError
from audit.formats.lines import WRITERS
from audit.formats.outfile import whole_file
from audit.formats.view import Selection, View
from audit.record import Record, parse
from audit.seal import Opened
from audit.storage.place import holds_ledger, place_in
from audit.store import LedgerStore, Reader
from audit.verify import Item

FORMAT, PARTIAL = "cloister-bundle/1", "cloister-bundle/2"
MANIFEST, RECORDS, CHECKPOINTS = "manifest.json", "records.log", "checkpoints.json"
GROWTH, POLICY = "consistency.json", re.compile(r"policies/[a-z0-9][a-z0-9._-]{0,127}\.yaml")
NEWEST, STANDALONE, PAGE = "checkpoint.txt", "verify_standalone.py", "verify.html"
_MAX_LINE = 64 << 20
_MAX_SMALL = 64 << 20
_LINE = re.compile(rb"(0|[1-9][0-9]{0,18}) ()(.*)\n", re.DOTALL)
_PROVEN = re.compile(rb"(0|[1-9][0-9]{0,18}) ([A-Za-z0-9+/=]*) (.*)\n", re.DOTALL)

# What reading a hostile or damaged file raises, the decompressors of zipfile included.
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, struct.error, zlib.error,
               lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile)  # fmt: skip

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]
Opening = Callable[[Record], Opened]


# --- evidence: a ledger, a bundle -------------------------------------------------------------


class LedgerEvidence:
    """A ledger's database, seen in one snapshot."""

    live: ClassVar[bool] = True
    partial: ClassVar[bool] = False

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def total(self) -> int:
        """How many records there are to read."""
        return self._reader.last()[0]

    def growth(self) -> Sequence[str]:
        return ()

    def policies(self) -> Iterator[tuple[str, bytes]]:
        yield from ()

    def vkey(self) -> str:
        return self._reader.fact("vkey").decode("utf-8", "replace")

    def checkpoints(self) -> Iterator[str]:
        for _, note in self._reader.checkpoints():
            yield str(note)

    def items(self) -> Iterator[Item]:
        for row in self._reader.rows():
            yield Item(row.index, row.body, row.leaf, row.receipt)


class BundleEvidence:
    """A bundle, streamed."""

    live: ClassVar[bool] = False

    def __init__(self, opener: Opener) -> None:
        self._open = opener
        manifest = self._small(MANIFEST)
        kind = manifest.get("format") if isinstance(manifest, dict) else None
        if not isinstance(manifest, dict) or kind not in (FORMAT, PARTIAL):
            raise FormatError("the manifest is not one of a bundle")
        vkey, count, files = (
            manifest.get("vkey"),
            manifest.get("records"),
            manifest.get("files", {}),
        )
        if not isinstance(vkey, str) or not isinstance(count, int) or not isinstance(files, dict):
            raise FormatError("the manifest is not one of a bundle")
        self._vkey, self._count, self.partial = vkey, count, kind == PARTIAL
        self._policies = sorted(filter(POLICY.fullmatch, files))

    def _small(self, name: str) -> object:
        with _reading(), self._open(name) as file:
            data = file.read(_MAX_SMALL + 1)
        try:
            value: object = json.loads(data.decode("utf-8"))
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # no escaped half of a pair
        except (ValueError, RecursionError):
            raise FormatError(f"{name} is not JSON") from None
        return value

    def vkey(self) -> str:
        return self._vkey

    def checkpoints(self) -> Iterator[str]:
        notes = self._small(CHECKPOINTS)
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise FormatError(f"{CHECKPOINTS} is not a list of notes")
        yield from notes

    def growth(self) -> Sequence[str]:
        proofs = self._small(GROWTH)
        if not isinstance(proofs, list) or not all(isinstance(proof, str) for proof in proofs):
            raise FormatError(f"{GROWTH} is not a list of proofs")
        return proofs

    def policies(self) -> Iterator[tuple[str, bytes]]:
        for name in self._policies:
            with _reading(), self._open(name) as file:
                yield name, file.read(_MAX_SMALL + 1)

    def total(self) -> int:
        """How many records the manifest says there are to read."""
        return self._count

    def items(self) -> Iterator[Item]:
        found, shape = 0, _PROVEN if self.partial else _LINE
        with _reading(), self._open(RECORDS) as file:
            while line := file.readline(_MAX_LINE):
                match = shape.fullmatch(line)
                if match is None and not line.endswith(b"\n"):
                    raise MissingError(f"record {found} is cut off")
                if match is None:
                    raise FormatError(f"line {found + 1} of {RECORDS} is not a record")
                yield Item(int(match[1]), match[3], proof=match[2].decode())
                found += 1
        if found < self._count:
            raise MissingError(f"{found} of {self._count} records are here")


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except KeyError:
        raise MissingError("the bundle lacks a file") from None
    except FileNotFoundError:
        raise MissingError("the bundle lacks a file") from None
    except _UNREADABLE:
        raise MissingError("the bundle is unreadable") from None


@contextmanager
def open_whole(source: Path) -> Iterator[LedgerEvidence | BundleEvidence]:
    """As ``open_evidence``, for who has to know all of the log: what was erased (§11.4), say.

    Raises:
        MissingError: also where it is a partial bundle.
        FormatError: it is there and is not what it should be.
    """
    with open_evidence(source) as evidence:
        if evidence.partial:
            raise MissingError("a partial bundle lacks records that this needs: use the whole log")
        yield evidence


@contextmanager
def open_evidence(source: Path) -> Iterator[LedgerEvidence | BundleEvidence]:
    """What ``source`` holds: a ledger file, a gateway's home, a bundle's directory or zip.

    Raises:
        MissingError: nothing of the kind is there, or it is unreadable.
        FormatError: it is there and is not what it should be.
    """
    if (source / MANIFEST).exists() and holds_ledger(source):
        raise FormatError("a bundle and a ledger stand in one place; name the ledger's file")
    if (source / MANIFEST).exists():
        yield BundleEvidence(lambda name: (source / name).open("rb"))
    elif source.is_dir() and not holds_ledger(source):
        raise MissingError("neither a bundle nor a ledger is here")
    elif source.is_file() and _magic(source).startswith(b"PK"):
        with _reading():
            archive = zipfile.ZipFile(source)
        with archive:
            yield BundleEvidence(archive.open)
    else:
        store = LedgerStore(place_in(source), readonly=True)
        try:
            with store.reading() as reader:
                yield LedgerEvidence(reader)
        finally:
            store.close()


def _magic(path: Path) -> bytes:
    with _reading(), path.open("rb") as file:
        return file.read(2)


# --- writing records for other programs -------------------------------------------------------


def views(
    items: Iterable[Item], selection: Selection, opening: Opening | None = None
) -> Iterator[View]:
    """The records that ``selection`` takes, opened where ``opening`` is given. Streams.

    Raises:
        FormatError: a record is none.
        SealError: a part that should open does not.
    """
    for item in items:
        record = parse(item.body)
        if not selection.takes_header(record.header):
            continue
        view = View(item.index, record.header)
        if opening is not None:
            try:
                view = View(item.index, record.header, opening(record))
            except MissingError as failed:
                view = View(item.index, record.header, None, str(failed))
        if selection.takes(view):
            yield view


def write_records(out: Path, kind: str, found: Iterable[View]) -> int:
    """Write one line a record in a format of ``audit.formats.lines``; return their number.

    Raises:
        LedgerError: ``out`` exists or cannot be written. Nothing of its name is left then.
    """
    head, line = WRITERS[kind]
    count = 0
    try:
        with whole_file(out) as file:
            file.write(head().encode())
            for view in found:
                file.write(line(view).encode("utf-8", "backslashreplace"))  # half a pair
                count += 1
    except OSError:
        raise LedgerError("the export cannot be written") from None
    return count
