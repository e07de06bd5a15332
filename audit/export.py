"""Bundles: a log written out for an auditor, and read again; ledgers read as evidence.

audit-format.md §10. A bundle is a directory or a zip file with

    manifest.json         format, origin, the log's public key, number of records
    records.log           one record a line: its index, a space, its bytes as stored
    checkpoints.json      every checkpoint as signed, oldest first
    checkpoint.txt        the newest of them: the one to keep elsewhere
    verify_standalone.py  verifies all of this with Python's standard library alone
    verify.html           verifies all of this in a browser without a network

No key of the key store is ever in it. Reading streams: memory does not grow with the log.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, ClassVar

import rfc8785

from audit.checkpoint import VerifyingKey
from audit.errors import FormatError, LedgerError, MissingError
from audit.formats.lines import WRITERS
from audit.formats.outfile import private_file, whole_file, whole_folder
from audit.formats.view import Selection, View
from audit.record import Record, parse
from audit.seal import Opened
from audit.storage.place import Place, holds_ledger, place_in
from audit.store import LedgerStore, Reader
from audit.verify import Item

FORMAT = "cloister-bundle/1"
MANIFEST, RECORDS, CHECKPOINTS = "manifest.json", "records.log", "checkpoints.json"
NEWEST, STANDALONE, PAGE = "checkpoint.txt", "verify_standalone.py", "verify.html"
_MAX_LINE = 64 << 20
_MAX_SMALL = 64 << 20
_LINE = re.compile(rb"(0|[1-9][0-9]{0,18}) (.*)\n", re.DOTALL)

# What reading a hostile or damaged file raises, the decompressors of zipfile included.
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, struct.error, zlib.error,
               lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile)  # fmt: skip

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]
Opening = Callable[[Record], Opened]


# --- evidence: a ledger, a bundle -------------------------------------------------------------


class LedgerEvidence:
    """A ledger's database, seen in one snapshot."""

    live: ClassVar[bool] = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

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
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise FormatError("the manifest is not one of a bundle")
        vkey, count = manifest.get("vkey"), manifest.get("records")
        if not isinstance(vkey, str) or not isinstance(count, int):
            raise FormatError("the manifest is not one of a bundle")
        self._vkey, self._count = vkey, count

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

    def items(self) -> Iterator[Item]:
        found = 0
        with _reading(), self._open(RECORDS) as file:
            while line := file.readline(_MAX_LINE):
                match = _LINE.fullmatch(line)
                if match is None and not line.endswith(b"\n"):
                    raise MissingError(f"record {found} is cut off")
                if match is None:
                    raise FormatError(f"line {found + 1} of {RECORDS} is not a record")
                yield Item(int(match[1]), match[2])
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


# --- writing a bundle -------------------------------------------------------------------------


def export_bundle(ledger: Place, out: Path) -> int:
    """Write all records under the newest checkpoint to ``out``; return their number.

    ``out`` becomes a zip file where it ends in ``.zip``, else a directory. Bytes are copied, not
    judged: verify judges.

    Raises:
        MissingError: no ledger, or no checkpoint yet.
        LedgerError: ``out`` exists or cannot be written.
    """
    store = LedgerStore(ledger, readonly=True)
    try:
        with store.reading() as reader, _target(out) as target:
            notes = [note for _, note in reader.checkpoints()]
            newest = reader.newest_checkpoint()
            if newest is None:
                raise MissingError("the ledger has no checkpoint yet")
            vkey = reader.fact("vkey").decode()
            with target(RECORDS) as file:
                count = _copy_records(reader, newest[0], file)
            origin = VerifyingKey.parse(vkey).name
            manifest = rfc8785.dumps(
                {"format": FORMAT, "origin": origin, "records": count, "vkey": vkey}
            )
            for name, data in (
                (MANIFEST, manifest),
                (CHECKPOINTS, json.dumps(notes, ensure_ascii=False).encode()),
                (NEWEST, newest[1].encode()),
                (STANDALONE, Path(__file__).with_name(STANDALONE).read_bytes()),
                (PAGE, Path(__file__).with_name(PAGE).read_bytes()),
            ):
                with target(name) as file:
                    file.write(data)
            return count
    except OSError:
        raise LedgerError("the bundle cannot be written") from None
    finally:
        store.close()


def _copy_records(reader: Reader, size: int, file: IO[bytes]) -> int:
    count = 0
    for row in reader.rows():
        if row.index >= size:
            break
        file.write(b"%d %b\n" % (row.index, row.body))
        count += 1
    return count


@contextmanager
def _target(out: Path) -> Iterator[Opener]:
    if out.suffix != ".zip":
        with whole_folder(out) as folder:
            yield lambda name: private_file(folder / name)
        return
    with whole_file(out) as file, zipfile.ZipFile(file, "w") as archive:
        yield lambda name: _member(archive, name)


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    info = zipfile.ZipInfo(name)  # dated 1980: the same log gives the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        yield file


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
