"""Read the hand-written measuring sets: texts with their identifiers marked in place.

A file ``KIND.LANG.txt`` beside this module holds records. A line ``=== ID`` opens a record; what
follows, up to the next such line, is the text as a person would type it, without the line breaks
at either end. An identifier stands in it as ``[[TYPE|text]]`` and may run over several lines. What
counts as an identifier is said in README.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from gateway.pii.recognizers.vocabulary import ENTITY_TYPES, WEAK

HERE = Path(__file__).parent

STRONG = frozenset(ENTITY_TYPES) - WEAK
"""The types that are marked; the weak ones are neither gold nor counted against a detector."""

_OPENING = re.compile(r"=== (?P<id>[a-z][a-z0-9-]*[0-9])")
_TOKEN = re.compile(r"\[\[|\]\]")
_TYPED = re.compile(r"(?P<type>[A-Z_]+)\|")


class GoldError(ValueError):
    """A gold file is malformed; the message starts with ``file:line``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text and its identifiers: ``(start, end, type)`` in characters of ``text``, in order."""

    id: str
    lang: str
    kind: str
    text: str = field(repr=False)
    spans: tuple[tuple[int, int, str], ...]

    @property
    def half(self) -> str:
        """``dev`` (errors may be read) or ``held`` (only figures may be read)."""
        return "dev" if int(self.id[-1]) % 2 else "held"


def rows(name: str) -> list[Row]:
    """The records of ``queries.en`` or another file of this folder, by its name without ``.txt``.

    Raises:
        GoldError: the file holds no record or breaks the format.
    """
    path = HERE / f"{name}.txt"
    return parse(path.read_text("utf-8"), path.name)


def parse(content: str, filename: str) -> list[Row]:
    """The records of one file, whose name ``KIND.LANG.txt`` gives their kind and language.

    Raises:
        GoldError: no record, text before the first, a bad or repeated id, an empty text, an
            unknown or weak type, a nested, unopened or unclosed mark, or space at an end of a span.
    """
    kind, lang, _ = filename.split(".")
    found: dict[str, Row] = {}
    for identifier, line, body in _records(content, filename):
        if identifier in found:
            raise GoldError(f"{filename}:{line - 1}: repeated id")
        text, spans = _unmark(body, filename, line)
        found[identifier] = Row(identifier, lang, kind, text, spans)
    return list(found.values())


def _records(content: str, filename: str) -> list[tuple[str, int, str]]:
    """``(id, number of the first line of the body, body)`` of each record."""
    heads: list[tuple[str, int]] = []
    lines = content.split("\n")
    for number, line in enumerate(lines, 1):
        if line.startswith("==="):
            opening = _OPENING.fullmatch(line)
            if opening is None:
                raise GoldError(f"{filename}:{number}: bad id")
            heads.append((opening["id"], number))
        elif not heads and line.strip():
            raise GoldError(f"{filename}:{number}: text before the first record")
    if not heads:
        raise GoldError(f"{filename}:1: no record")
    ends = [number - 1 for _, number in heads[1:]] + [len(lines)]
    return [
        (identifier, number + 1, "\n".join(lines[number:end]))
        for (identifier, number), end in zip(heads, ends, strict=True)
    ]


def _unmark(
    body: str, filename: str, first_line: int
) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """The text without its marks, and the spans they stood for."""
    lead = len(body) - len(body.lstrip("\n"))
    stop = len(body.rstrip("\n"))

    def fail(at: int, why: str) -> GoldError:
        return GoldError(f"{filename}:{first_line + body.count(chr(10), 0, at)}: {why}")

    if lead >= stop or not body.strip():
        raise fail(0, "empty text")
    pieces: list[str] = []
    spans: list[tuple[int, int, str]] = []
    length, position = 0, lead
    opened: tuple[str, int] | None = None
    for token in _TOKEN.finditer(body, lead, stop):
        pieces.append(body[position : token.start()])
        length += len(pieces[-1])
        position = token.end()
        if token[0] == "[[":
            typed = _TYPED.match(body, position)
            if opened is not None:
                raise fail(token.start(), "nested mark")
            if typed is None or typed["type"] not in STRONG:
                raise fail(token.start(), "unknown type")
            opened, position = (typed["type"], length), typed.end()
        elif opened is None:
            raise fail(token.start(), "mark closed before it was opened")
        else:
            if not pieces[-1] or pieces[-1] != pieces[-1].strip():
                raise fail(token.start(), "empty span or space at its end")
            spans.append((opened[1], length, opened[0]))
            opened = None
    if opened is not None:
        raise fail(stop - 1, "mark never closed")
    pieces.append(body[position:stop])
    return "".join(pieces), tuple(spans)
