"""The formats whose texts are masked field by field, so that what comes out is still of the format.

Each reader takes a text file, opened without newline translation, and gives its blocks. A file
that is not what its name says is refused rather than read in another way: what the reader does not
understand it could not mask.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import TextIO
from xml.parsers import expat

from gateway.errors import RequestError
from gateway.masking.blocks import BLOCK_CHARS, Block, Field, as_is, gathered
from gateway.masking.columns import type_of
from gateway.pii import jsontext
from gateway.pii.jsontext import MAX_LABEL, TokenKind
from gateway.pii.segments import Kind, Segment

WHOLE_LIMIT = 16_000_000  # characters of a format that is read as a whole
LINE_LIMIT = 4_000_000  # characters of one line of the others
_HEADER_CHARS = 64
_DELIMITERS = ",;\t|"

Reader = Callable[[TextIO], Iterator[Block]]


def text(source: TextIO) -> Iterator[Block]:
    """Paragraphs together until there are enough of them; a short text is one block."""
    lines: list[str] = []
    length = 0
    for line in _lines(source):
        lines.append(line)
        length += len(line)
        if length >= 2 * BLOCK_CHARS or (length >= BLOCK_CHARS and not line.strip()):
            yield _one("".join(lines))
            lines, length = [], 0
    if lines:
        yield _one("".join(lines))


def markup(source: TextIO) -> Iterator[Block]:
    """HTML: one text; what is written into it is escaped."""
    yield _one(_whole(source), markup=True)


_ENCODED = re.compile(
    r"^content-transfer-encoding:\s*(?:base64|quoted-printable)|=\?[\w-]+\?[bq]\?",
    re.IGNORECASE | re.MULTILINE,
)


def mail(source: TextIO) -> Iterator[Block]:
    """A mail that can be read as it stands; an encoded part could hold anything."""
    whole = _whole(source)
    if _ENCODED.search(whole):
        raise RequestError("A mail with encoded parts; save it as text.")
    yield _one(whole)


# --- JSON ------------------------------------------------------------------------------------

_KINDS = {
    TokenKind.STRING: Kind.JSON_STRING,
    TokenKind.KEY: Kind.JSON_KEY,
    TokenKind.NUMBER: Kind.JSON_NUMBER,
}


def json_document(source: TextIO) -> Iterator[Block]:
    whole = _whole(source)
    fields = _json_fields(whole)
    position = 0
    for first in range(0, len(fields), 2000):
        part = fields[first : first + 2000]
        end = part[-1].end if first + 2000 < len(fields) else len(whole)
        yield Block(whole[position:end], tuple(_back(each, position) for each in part))
        position = end
    if not fields:
        yield Block(whole, ())


def json_lines(source: TextIO) -> Iterator[Block]:
    return gathered((line, _json_fields(line) if line.strip() else ()) for line in _lines(source))


def _json_fields(source: str) -> list[Field]:
    """The strings, keys and numbers of one JSON value.

    Raises:
        RequestError: it is none, or is nested too deeply.
    """
    found, shift = jsontext.tokens(source), 0
    if found is None:  # a value that is neither an object nor an array
        found, shift = jsontext.tokens(f"[{source}]"), 1
        if found is None or len(found) > 1:
            raise RequestError("It is not valid JSON.")
    return [
        Field(
            token.start - shift,
            token.end - shift,
            _segment(token.text, token.label, _KINDS[token.kind]),
            jsontext.quote,
        )
        for token in found
    ]


# --- tables ----------------------------------------------------------------------------------


def table(source: TextIO) -> Iterator[Block]:
    """CSV and its kin. The first row labels the others where it looks like names of columns."""
    lines = _lines(source)
    head = next(lines, "")
    delimiter = max(_DELIMITERS, key=head.count)
    return gathered(_rows(chain((head,), lines), delimiter))


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[str, Sequence[Field]]]:
    taken: list[str] = []

    def note() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    labels: Sequence[str | None] | None = None
    try:
        for values in csv.reader(note(), delimiter=delimiter, strict=True):
            row = "".join(taken)
            taken.clear()
            cells = list(_cells(row, delimiter)) if values else []
            if [value for _, _, value in cells] != values:
                raise RequestError("A row of the table cannot be read.")
            yield row, _row_fields(cells, labels, delimiter)
            if labels is None:
                labels = _labels(values)
    except csv.Error:
        raise RequestError("A row of the table cannot be read.") from None
    if taken:
        yield "".join(taken), ()


def _cells(row: str, delimiter: str) -> Iterator[tuple[int, int, str]]:
    """The cells of one row: where each stands, and what it says."""
    plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    position, end = 0, len(row.rstrip("\r\n"))
    while True:
        quoted = _QUOTED.match(row, position)
        match = quoted or plain.match(row, position)
        stop = match.end() if match else position
        said = row[position:stop]
        yield position, stop, said[1:-1].replace('""', '"') if quoted else said
        if stop >= end:
            return
        position = stop + 1


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _row_fields(
    cells: Iterable[tuple[int, int, str]], labels: Sequence[str | None] | None, delimiter: str
) -> list[Field]:
    def quote(value: str) -> str:
        if any(mark in value for mark in (delimiter, '"', "\n", "\r")):
            return '"' + value.replace('"', '""') + '"'
        return value

    fields = []
    for index, (start, end, value) in enumerate(cells):
        label = labels[index] if labels and index < len(labels) else None
        if value.strip():
            fields.append(Field(start, end, _segment(value, label, Kind.TEXT), quote))
    return fields


def _labels(first: Sequence[str]) -> Sequence[str | None]:
    """The names of the columns; none of them where the first row looks like data."""
    named = [value.strip() for value in first]
    filled = [name for name in named if name]
    likely = len(set(filled)) == len(filled) and all(
        len(name) <= _HEADER_CHARS and not re.search(r"\d{3}|@|://", name) for name in filled
    )
    return [name[:MAX_LABEL] or None for name in named] if likely else [None] * len(named)


# --- XML ---------------------------------------------------------------------------------------

_XML = re.compile(
    r"<!--(?P<comment>.*?)-->|<!\[CDATA\[(?P<cdata>.*?)\]\]>|<\?.*?\?>"
    r"|<(?P<close>/)?(?P<name>[^\s/>]+)(?P<rest>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>|(?P<text>[^<]+)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(?P<name>[^\s=\"'/]+)\s*=\s*(?:\"(?P<a>[^\"]*)\"|'(?P<b>[^']*)')")


def xml(source: TextIO) -> Iterator[Block]:
    """Texts, values of attributes, comments; names of elements stay.

    Raises:
        RequestError: it is not well-formed, or declares a document type or instructions.
    """
    whole = _whole(source)
    _check_well_formed(whole)
    return gathered([(whole, list(_xml_fields(whole)))])


def _check_well_formed(whole: str) -> None:
    parser = expat.ParserCreate(encoding="utf-8")

    def refuse(*_: object) -> None:
        raise RequestError("XML with a document type or instructions is not read.")

    parser.StartDoctypeDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    try:
        parser.Parse(whole.removeprefix("\ufeff").encode(), True)
    except (expat.ExpatError, ValueError):
        raise RequestError("It is not well-formed XML.") from None


def _xml_fields(whole: str) -> Iterator[Field]:
    open_names: list[str] = []
    for match in _XML.finditer(whole):
        if match["name"]:
            name = match["name"].rpartition(":")[2]
            if match["close"]:
                open_names = open_names[:-1]
                continue
            for found in _ATTRIBUTE.finditer(match["rest"]):
                group = "a" if found["a"] is not None else "b"
                own = found["name"].rpartition(":")[2]
                if found["name"].startswith("xmlns"):
                    continue
                label = name if own == "value" else own
                start = match.start("rest") + found.start(group)
                yield from _node(start, found[group], label, markup=True)
            if not match["rest"].endswith("/"):
                open_names.append(name)
            continue
        label = open_names[-1] if open_names else None
        for group in ("text", "cdata", "comment"):
            if match[group]:
                yield from _node(match.start(group), match[group], label, markup=group == "text")


def _node(start: int, said: str, label: str | None, *, markup: bool) -> Iterator[Field]:
    if said.strip():
        label = label[:MAX_LABEL] if label else None
        forced = type_of(label, html.unescape(said))
        segment = Segment("text", 1, said, Kind.TEXT, label, forced)
        yield Field(start, start + len(said), segment, as_is, markup)


# --- shared ------------------------------------------------------------------------------------


def _segment(value: str, label: str | None, kind: Kind) -> Segment:
    forced = None if kind is Kind.JSON_KEY else type_of(label, value)
    return Segment("text", 1, value, kind, label, forced)


def _one(whole: str, *, markup: bool = False) -> Block:
    return Block(
        whole, (Field(0, len(whole), Segment("text", 1, whole), markup=markup),) if whole else ()
    )


def _back(each: Field, by: int) -> Field:
    return replace(each, start=each.start - by, end=each.end - by)


def _whole(source: TextIO) -> str:
    whole = source.read(WHOLE_LIMIT + 1)
    if len(whole) > WHOLE_LIMIT:
        raise RequestError(f"A file of this format is read up to {WHOLE_LIMIT:,} characters.")
    return whole


def _lines(source: TextIO) -> Iterator[str]:
    while line := source.readline(LINE_LIMIT + 1):
        if len(line) > LINE_LIMIT:
            raise RequestError(f"A line is longer than {LINE_LIMIT:,} characters.")
        yield line


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "text": text,
        "json": json_document,
        "jsonl": json_lines,
        "csv": table,
        "xml": xml,
        "html": markup,
        "eml": mail,
    }
)

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("", ".txt", ".text", ".md", ".log", ".rst", ".yaml", ".yml"), "text"),
        **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
        **dict.fromkeys((".csv", ".tsv"), "csv"),
        **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
        ".json": "json",
        ".xml": "xml",
        ".eml": "eml",
    }
)
"""Formats by the suffix of a file's name. What is not here is refused."""
