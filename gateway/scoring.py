"""How well masking covers what people marked: leaks, recall, precision, over-redaction.

Pure. The measure is the one of docs/spec/entities.md: what counts is letters and digits.
A marked span is *found* when none of its letters and digits stays uncovered; one that stays is a
leak, whatever type the detector gave. Precision is the share of covered letters and digits that
somebody marked. Offsets are code points, end exclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Z95 = 1.959964  # the normal quantile of a 95 % interval


@dataclass(frozen=True, slots=True)
class Mark:
    """``text[start:end]`` and what it is."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One text, what people marked in it, and what was covered.

    ``ignored`` are marks that count neither way: covering them is no fault, leaving them no leak.
    """

    id: str
    text: str = field(repr=False)
    gold: tuple[Mark, ...]
    covered: tuple[Mark, ...]
    ignored: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``total``; ``value`` is 1.0 where nothing was counted (and ``total`` says so)."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval (E. B. Wilson 1927) at 95 %."""
        if not self.total:
            return 0.0, 1.0
        n, p, z2 = self.total, self.value, Z95 * Z95
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Report:
    """What ``report`` counts.

    ``by_label`` holds recall by the label that people gave. ``leak_free`` is over the rows with
    marks, ``touched`` over those without: rows of which a letter or digit was covered. The words
    of ``words_touched`` are those outside marks.
    """

    rows: int
    recall: Share
    by_label: dict[str, Share]
    characters_found: Share
    precision: Share
    leak_free: Share
    touched: Share
    words_touched: Share
    merged_precision: Share
    merged_recall: Share

    @property
    def merged_f1(self) -> float:
        """F1 over exact spans after joining spans with nothing but punctuation between them."""
        total = self.merged_precision.total + self.merged_recall.total
        return (self.merged_precision.hits + self.merged_recall.hits) / total if total else 1.0


def report(rows: Iterable[Scored]) -> Report:
    """Count over ``rows``.

    Raises:
        ValueError: there is no row: nothing measured is no result.
    """
    tally = _Tally()
    for row in rows:
        tally.add(row)
    if not tally.rows:
        raise ValueError("nothing to score")
    return tally.report()


def leaks(row: Scored) -> list[Mark]:
    """The marks of which a letter or digit stays uncovered."""
    covered = _bitmap(row.text, row.covered)
    return [mark for mark in row.gold if not _found(row.text, covered, mark)]


def excess(row: Scored) -> list[Mark]:
    """The covered spans of which no letter or digit is marked or ignored."""
    wanted = _bitmap(row.text, (*row.gold, *row.ignored))
    return [
        mark
        for mark in row.covered
        if not any(wanted[i] and row.text[i].isalnum() for i in range(mark.start, mark.end))
    ]


class _Tally:
    def __init__(self) -> None:
        self.rows = 0
        self.by_label: dict[str, Share] = {}
        self.found = self.precision = self.leak_free = Share(0, 0)
        self.touched = self.words = Share(0, 0)
        self.merged_precision = self.merged_recall = Share(0, 0)

    def add(self, row: Scored) -> None:
        self.rows += 1
        text = row.text
        covered = _bitmap(text, row.covered)
        gold = _bitmap(text, row.gold)
        spared = _bitmap(text, row.ignored)
        clean = True
        for mark in row.gold:
            hit = _found(text, covered, mark)
            clean = clean and hit
            old = self.by_label.get(mark.label, Share(0, 0))
            self.by_label[mark.label] = old + Share(int(hit), 1)
        if row.gold:
            self.leak_free += Share(int(clean), 1)
        marked = both = over = 0
        for index, character in enumerate(text):
            if not character.isalnum():
                continue
            marked += gold[index]
            both += gold[index] & covered[index]
            over += covered[index] & ~gold[index] & ~spared[index] & 1
        self.found += Share(both, marked)
        self.precision += Share(both, both + over)
        if not row.gold:
            self.touched += Share(int(over > 0), 1)
        self.words += _words_touched(text, covered, gold, spared)
        wanted, got = _merged(text, gold), _merged(text, covered)
        self.merged_recall += Share(len(wanted & got), len(wanted))
        self.merged_precision += Share(len(wanted & got), len(got))

    def report(self) -> Report:
        recall = sum(self.by_label.values(), Share(0, 0))
        return Report(
            self.rows,
            recall,
            dict(sorted(self.by_label.items())),
            self.found,
            self.precision,
            self.leak_free,
            self.touched,
            self.words,
            self.merged_precision,
            self.merged_recall,
        )


def _bitmap(text: str, marks: Iterable[Mark]) -> bytearray:
    bits = bytearray(len(text))
    for mark in marks:
        if not 0 <= mark.start < mark.end <= len(text):
            raise ValueError("a span lies outside its text")
        bits[mark.start : mark.end] = b"\x01" * (mark.end - mark.start)
    return bits


def _found(text: str, covered: bytearray, mark: Mark) -> bool:
    return all(covered[i] or not text[i].isalnum() for i in range(mark.start, mark.end))


def _words(text: str) -> Iterator[tuple[int, int]]:
    edges = [0, *(i for i, c in enumerate(text) if c.isspace()), len(text)]
    for low, high in pairwise(edges):
        if text[low:high].strip():
            yield low, high


def _words_touched(text: str, covered: bytearray, gold: bytearray, spared: bytearray) -> Share:
    total = touched = 0
    for low, high in _words(text):
        places = [i for i in range(low, high) if text[i].isalnum()]
        if not places or any(gold[i] or spared[i] for i in places):
            continue
        total += 1
        touched += any(covered[i] for i in places)
    return Share(touched, total)


def _merged(text: str, bits: Sequence[int]) -> set[tuple[int, int]]:
    """Covered runs of letters and digits; what has neither between two of them joins them."""
    runs: set[tuple[int, int]] = set()
    start = end = -1
    for index, character in enumerate(text):
        if not character.isalnum():
            continue
        if bits[index]:
            start = index if start < 0 else start
            end = index + 1
        elif start >= 0:
            runs.add((start, end))
            start = -1
    if start >= 0:
        runs.add((start, end))
    return runs
