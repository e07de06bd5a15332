"""What keyboards, scanners and mail programs do to a text, with the spans kept exact.

Every change is a list of edits (start, end, replacement); ``apply`` moves the spans along.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from deploy.models.ner.generate.grammar import CASES, Span

Edit = tuple[int, int, str]

OCR: Final = {
    "0": "O",
    "O": "0",
    "1": "l",
    "l": "1",
    "5": "S",
    "S": "5",
    "m": "rn",
    "rn": "m",
    "e": "c",
    "B": "8",
    "i": "l",
    "I": "l",
    "a": "o",
}
NEAR: Final = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "sqvnfwrtghujjknbioteaybexcz"[:26], strict=False)
)


def apply(text: str, spans: Sequence[Span], edits: Sequence[Edit]) -> tuple[str, tuple[Span, ...]]:
    """``text`` after the edits, which do not overlap, in any order.

    An edit inside a span belongs to it, and so does a replacement that begins it; what is inserted at its
    very start or end does not.
    """
    ordered = sorted(edits)
    parts, last = [], 0
    ends, shifts, total = [], [], 0
    for start, end, new in ordered:
        parts += [text[last:start], new]
        last = end
        total += len(new) - (end - start)
        ends.append(end)
        shifts.append(total)
    parts.append(text[last:])
    starts = [e[0] for e in ordered]

    def start_of(at: int) -> int:
        done = bisect_right(ends, at)  # edits wholly before, or inserted right here
        return at + (shifts[done - 1] if done else 0)

    def end_of(at: int) -> int:
        done = bisect_left(starts, at)  # edits that begin before the end
        return at + (shifts[done - 1] if done else 0)

    moved = []
    for s in spans:
        start, end = start_of(s.start), end_of(s.end)
        if end > start:
            moved.append(Span(start, end, s.label))
    return "".join(parts), tuple(moved)


def words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"[^\W\d_]{4,}", text))


def typos(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Slips in about one word of twenty-five, fewer in values than in prose."""
    edits = []
    for m in words(text):
        if rng.random() > 0.04:
            continue
        at = rng.randrange(m.start() + 1, m.end() - 1)
        kind = rng.randrange(4)
        a, b = text[at], text[at + 1]
        edits.append(
            (at, at + 2, b + a)
            if kind == 0
            else (at, at + 1, "")
            if kind == 1
            else (at, at + 1, a + a)
            if kind == 2
            else (at, at + 1, NEAR.get(a, a))
        )
    return edits


def ocr(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    return [(i, i + 1, OCR[c]) for i, c in enumerate(text) if c in OCR and rng.random() < 0.025]


def spaces(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Spaces doubled, or lost after punctuation."""
    edits: list[Edit] = []
    lose, double = rng.random() < 0.5, rng.random() < 0.5
    for m in re.finditer(r"(?<=[,.:;]) | ", text):
        if lose and text[m.start() - 1] in ",.:;" and rng.random() < 0.35:
            edits.append((m.start(), m.end(), ""))
        elif double and rng.random() < 0.08:
            edits.append((m.start(), m.end(), "  "))
    return edits


def wraps(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Lines broken at a width, wherever that falls; sometimes quoted or indented."""
    width, joint = rng.randrange(38, 82), rng.choice(("\n", "\n", "\n", "\n> ", "\n  "))
    edits: list[Edit] = []
    line = 0
    last = -1
    for i, c in enumerate(text):
        if c == "\n":
            line, last = i + 1, -1
        elif c == " ":
            if i - line > width and last > line:
                edits.append((last, last + 1, joint))
                line = last + 1
            last = i
    return edits


def no_full_stops(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Dictation: commas and full stops left out, outside values."""
    inside = [False] * len(text)
    for s in spans:
        inside[s.start : s.end] = [True] * (s.end - s.start)
    return [
        (m.start(), m.end(), " ") for m in re.finditer(r"[.,;] ", text) if not inside[m.start()]
    ]


def dashes(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    new = rng.choice(("\u2013", "\u2011", "\u2010", " - "))
    return [
        (m.start(), m.end(), new)
        for m in re.finditer(r"(?<=\w)-(?=\w)", text)
        if rng.random() < 0.6
    ]


def curly(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    return [(m.start(), m.end(), "\u2019") for m in re.finditer(r"(?<=\w)'(?=\w)", text)]


def tags(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Markup glued around some values and words."""
    left, right = rng.choice(
        (
            ("**", "**"),
            ("<b>", "</b>"),
            ("_", "_"),
            ("`", "`"),
            ('"', '"'),
            ("<td>", "</td>"),
            ("[", "]"),
            ("(", ")"),
            ("\u00ab", "\u00bb"),
            ("*", "*"),
        )
    )
    edits: list[Edit] = []
    for s in spans:
        if rng.random() < 0.5 and s.end - s.start > 1:
            edits += [(s.start, s.start, left), (s.end, s.end, right)]
    for m in words(text):
        if rng.random() < 0.03 and not any(s.start < m.end() and m.start() < s.end for s in spans):
            edits += [(m.start(), m.start(), left), (m.end(), m.end(), right)]
    return edits


def bullets(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    mark = rng.choice(("- ", "* ", "\u2022 ", "> ", "\t", "    ", "1. ", "[ ] ", "-", "# "))
    return [(m.start(), m.start(), mark) for m in re.finditer(r"(?m)^(?=.)", text)]


def blanks(rng: Random, text: str, spans: Sequence[Span]) -> list[Edit]:
    """Odd blanks: no-break spaces, tabs, line ends of Windows."""
    old, new = rng.choice(
        ((" ", "\u00a0"), (" ", "\t"), ("\n", "\r\n"), ("\n", " "), ("\n", " | "))
    )
    share = 1.0 if old == "\n" else 0.15
    return [(m.start(), m.end(), new) for m in re.finditer(old, text) if rng.random() < share]


CHANGES: Final[tuple[tuple[float, Callable[[Random, str, Sequence[Span]], list[Edit]]], ...]] = (
    (0.06, typos), (0.015, ocr), (0.05, spaces), (0.06, wraps), (0.03, no_full_stops), (0.02, dashes), (0.08, curly), (0.03, tags), (0.03, bullets), (0.03, blanks),
)  # fmt: skip
LOWER: Final = 0.13
UPPER: Final = 0.05
TITLE: Final = 0.01


def roughen(rng: Random, text: str, spans: Sequence[Span]) -> tuple[str, tuple[Span, ...]]:
    """A text as it might reach us; two thirds stay as they are."""
    kept = tuple(spans)
    kind = rng.random()
    if kind < LOWER:
        text = CASES["lower"](text)
    elif kind < LOWER + UPPER:
        text = CASES["upper"](text)
    elif kind < LOWER + UPPER + TITLE:
        text = CASES["title"](text)
    for chance, change in CHANGES:
        if rng.random() < chance:
            text, kept = apply(text, kept, change(rng, text, kept))
    return tidy(text, kept)


def tidy(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Span, ...]]:
    """Blanks at the ends of spans cut off; spans without a letter or digit dropped."""
    kept = []
    for s in spans:
        start, end = s.start, s.end
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if any(c.isalnum() for c in text[start:end]):
            kept.append(Span(start, end, s.label))
    return text, tuple(sorted(kept))
