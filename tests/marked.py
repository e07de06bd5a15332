r"""Truth tables of texts in which what must be found is marked: ``seen on {{3/14/2021}}``.

They stand in ``tests/truth/*.txt``, one row a line; ``\n``, ``\t`` and ``\uXXXX`` are escapes. A
line ``@TYPE TYPE`` says which types count as finding the rows below it (none: any); the word
``weak`` on it says that weak findings outside the marks are wrong there, too. ``#``: a comment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.pii.port import Detector
from gateway.pii.recognizers.vocabulary import WEAK

_MARK = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ESCAPE = re.compile(r"\\(n|t|u[0-9a-f]{4}|U[0-9a-f]{8})")
TRUTH = Path(__file__).parent / "truth"


@dataclass(frozen=True, slots=True)
class Row:
    """``text`` with its marks; the rest is as ``wrong`` takes it."""

    text: str
    types: tuple[str, ...]
    ignored: frozenset[str]


def rows(name: str) -> Iterator[Row]:
    """Read one file of ``tests/truth``."""
    types: list[str] = []
    for line in (TRUTH / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("@"):
            types = line[1:].split()
        elif line and not line.startswith("#"):
            ignored = frozenset() if "weak" in types else WEAK
            yield Row(_unescape(line), tuple(t for t in types if t != "weak"), ignored)


def _unescape(line: str) -> str:
    return _ESCAPE.sub(lambda m: {"n": "\n", "t": "\t"}.get(m[1]) or chr(int(m[1][1:], 16)), line)


def wrong(
    detector: Detector, row: str, types: Collection[str] = (), ignored: Collection[str] = WEAK
) -> tuple[list[str], list[str]]:
    """What is left of the marked spans, and what is found outside of them.

    A span is found when none of its letters and digits is left. ``types``, where given, are those
    that count as finding it; findings of ``ignored`` types do not count as found outside.
    """
    text, spans = unmark(row)
    (findings,) = detector.detect([text])
    covered = {
        i for f in findings if not types or f.entity_type in types for i in range(f.start, f.end)
    }
    gold = {i for start, end in spans for i in range(start, end)}
    left = [
        text[start:end]
        for start, end in spans
        if any(text[i].isalnum() and i not in covered for i in range(start, end))
    ]
    outside = [
        text[f.start : f.end]
        for f in findings
        if f.entity_type not in ignored
        and any(text[i].isalnum() and i not in gold for i in range(f.start, f.end))
    ]
    return left, outside


def unmark(row: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and where they were."""
    text, spans, position = "", [], 0
    for match in _MARK.finditer(row):
        text += row[position : match.start()]
        spans.append((len(text), len(text) + len(match[1])))
        text += match[1]
        position = match.end()
    return text + row[position:], spans
