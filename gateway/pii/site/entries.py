"""The entries of a list, and the files that hold them: read whole, and closed to others' writing.

Faults name file and line and never repeat an entry.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import DataFileError
from gateway.pii.forms import words
from gateway.pii.site.words import MAX_WORDS, MIN_DIGITS, MIN_LETTERS
from gateway.yamlfile.node import Node

MAX_LIST_BYTES = 16 << 20
MAX_ENTRY = 200  # characters

_LIST_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(?:txt|csv)")
_OTHERS_WRITE = 0o022


def beside(home: Path, file: Node, column: Node | None) -> tuple[list[str], bytes]:
    """The entries of the list that ``file`` names, beside ``home``, and the bytes they stand in.

    Raises:
        DataFileError: the list cannot be read, is empty, or has an entry that cannot be one.
    """
    name = file.match("list beside this file (.txt or .csv)", _LIST_FILE)
    path = home.with_name(name)
    data = read_closed(path, MAX_LIST_BYTES, f"{file.file}:{file.line}:{file.column}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataFileError(
            "this is not UTF-8; save the file as UTF-8", where=f"{path}:{line}:1"
        ) from None
    if name.endswith(".txt"):
        if column is not None:
            column.fail("a .txt file has no columns; remove 'column'")
        rows = _plain_rows(text)
    else:
        rows = _csv_rows(text, None if column is None else column.text(), path)
    found = []
    for line, entry in rows:
        fault = entry_fault(entry)
        if fault:
            raise DataFileError(fault, where=f"{path}:{line}:1")
        found.append(entry)
    if not found:
        raise DataFileError("this list is empty; add entries", where=f"{path}:1:1")
    return found, data


def _plain_rows(text: str) -> Iterator[tuple[int, str]]:
    """One entry a line; blank lines and those that begin with # say nothing."""
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield number, entry


def _csv_rows(text: str, column: str | None, path: Path) -> Iterator[tuple[int, str]]:
    """The values of one column, named in the first row; without a name the first one's."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [cell.strip() for cell in next(reader, [])]
        if column is not None and column not in head:
            raise DataFileError(
                "the first row has no column of this name; correct 'column'", where=f"{path}:1:1"
            )
        index = head.index(column) if column is not None else 0
        for row in reader:
            entry = row[index].strip() if index < len(row) else ""
            if entry:
                yield reader.line_num, entry
    except csv.Error:
        raise DataFileError(
            "this is not CSV; check the quotes", where=f"{path}:{reader.line_num}:1"
        ) from None


def entry_fault(text: str) -> str | None:
    """Why an entry cannot stand in a list, without repeating it."""
    found = words(text)
    joined = "".join(word.fold for word in found)
    digits = sum(c.isdigit() for c in joined)
    if len(text) > MAX_ENTRY or len(found) > MAX_WORDS:
        return f"an entry of more than {MAX_ENTRY} characters or {MAX_WORDS} words; shorten it"
    if len(joined) - digits < MIN_LETTERS and digits < MIN_DIGITS:
        return f"an entry of less than {MIN_LETTERS} letters or {MIN_DIGITS} digits; remove it"
    return None


def read_closed(path: Path, limit: int, where: str) -> bytes:
    """The bytes of a file that nobody else may write.

    Raises:
        DataFileError: at ``where``.
    """
    try:
        with path.open("rb") as stream:
            check_mode(os.fstat(stream.fileno()), where)
            data = stream.read(limit + 1)
    except OSError as error:
        raise DataFileError(f"{path.name} cannot be read ({error.strerror})", where=where) from None
    if len(data) > limit:
        raise DataFileError(f"{path.name} is larger than {limit >> 10} KiB; split it", where=where)
    return data


def check_mode(status: os.stat_result, where: str) -> None:
    """Raise DataFileError at ``where`` unless nobody but this user and root may write there."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise DataFileError("this is no regular file", where=where)
    if status.st_mode & _OTHERS_WRITE or status.st_uid not in (0, os.geteuid()):
        raise DataFileError(
            "others may write this file; let the gateway's user own it and run chmod go-w",
            where=where,
        )
