"""Every place where a value that is already known stands in a text.

The detector reads one text at a time; a value that it recognised once is looked for in all of the
request. Matching compares words (``forms``), so it is linear in the text whatever the number of
values, and "ANNA-SCHMIDT" is a place of "Anna Schmidt". What keeps ordinary text ordinary:

- one cased word matches only where the text writes it with a capital ("Mark" is not "mark");
- numbers under ``MIN_DIGITS`` digits and single letters match nowhere;
- words must be whole, but for a final s ("Schmidts", the genitive).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from gateway.pii.forms import JOINED_DIGITS, JOINED_LETTERS, MIN_DIGITS, Word, words
from gateway.pii.views import View

_MAX_GAP = 3
_MAX_DIGIT_GAP = 2
_GENITIVE = 4  # letters, from which on a final s is read as an ending
_SOLID = 6  # letters of a name of several words, from which on its case says nothing


class Place(NamedTuple):
    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A text as the matcher reads it: words with offsets into ``text``, escapes undone."""

    text: str = field(repr=False)
    words: tuple[Word, ...] = field(repr=False)
    folds: frozenset[str] = field(repr=False)
    has_digits: bool

    @classmethod
    def of(cls, text: str, escaped: View | None) -> Scanned:
        if escaped is None:
            found = words(text)
        else:
            found = [
                Word(*escaped.source_span(word.start, word.end), word.fold)
                for word in words(escaped.text)
            ]
        folds = {word.fold for word in found}
        folds |= {fold[:-1] for fold in folds if fold.endswith("s")}
        return cls(text, tuple(found), frozenset(folds), any(f[:1].isdigit() for f in folds))


class _Pattern(NamedTuple):
    value: str
    folds: tuple[str, ...]
    lead: int  # characters of the value before its first word, and after its last
    trail: int
    capital: bool  # every word must be written with a capital


class Known:
    """The values known so far. Only ever grows."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._by_head: dict[str, list[_Pattern]] = {}
        self._by_digits: dict[str, list[str]] = {}
        self._longest_digits = 0

    def add(self, value: str, scanned: Scanned) -> None:
        """Look for ``value`` from now on; ``scanned`` is the value as the matcher reads it."""
        if value in self._values:
            return
        self._values.add(value)
        found = scanned.words
        if not found:
            return
        folds = tuple(word.fold for word in found)
        joined = "".join(folds)
        digits = sum(c.isdigit() for c in joined)
        letters = len(joined) - digits
        if (digits < MIN_DIGITS and letters < 2) or len(joined) < 2:  # noqa: PLR2004
            return
        capital = digits == 0 and (len(found) == 1 or letters < _SOLID)
        lead, trail = found[0].start, len(value) - found[-1].end
        pattern = _Pattern(value, folds, lead, trail, capital)
        self._by_head.setdefault(folds[0], []).append(pattern)
        if letters == 0 and digits >= JOINED_DIGITS:
            self._by_digits.setdefault(joined, []).append(value)
            self._longest_digits = max(self._longest_digits, digits)
        elif digits == 0 and len(found) > 1 and letters >= JOINED_LETTERS:
            whole = _Pattern(value, (joined,), 0, 0, capital=False)
            self._by_head.setdefault(joined, []).append(whole)

    def may_stand_in(self, scanned: Scanned) -> bool:
        """False where none of the values can stand. Cheap; True promises nothing."""
        if self._by_digits and scanned.has_digits:
            return True
        return not scanned.folds.isdisjoint(self._by_head)

    def places(self, scanned: Scanned) -> list[Place]:
        """Every place of every value, overlapping ones too."""
        if not self.may_stand_in(scanned):
            return []
        found: list[Place] = []
        for index, word in enumerate(scanned.words):
            fold = word.fold
            if self._by_digits and fold[0].isdigit():
                found += self._digit_places(scanned, index)
            for head in (fold, fold[:-1]) if fold.endswith("s") else (fold,):
                for pattern in self._by_head.get(head, ()):
                    place = _place(scanned, index, pattern)
                    if place is not None:
                        found.append(place)
        return found

    def _digit_places(self, scanned: Scanned, index: int) -> Iterable[Place]:
        """Numbers whose digits are grouped in another way: 123-45-6789, 123 456 789."""
        joined = ""
        start = end = scanned.words[index].start
        for word in scanned.words[index:]:
            glued = end == word.start
            if not word.fold[0].isdigit() or word.start - end > _MAX_DIGIT_GAP:
                return
            if joined and not glued and "\n" in scanned.text[end : word.start]:
                return
            joined += word.fold
            end = word.end
            if len(joined) > self._longest_digits:
                return
            for value in self._by_digits.get(joined, ()):
                yield Place(start, end, value)


def _place(scanned: Scanned, index: int, pattern: _Pattern) -> Place | None:
    """The place of ``pattern`` whose first word is word ``index``, if it stands there."""
    found = scanned.words[index : index + len(pattern.folds)]
    if not _same_words(scanned.text, found, pattern.folds):
        return None
    text, start, end = scanned.text, found[0].start, found[-1].end
    if found[-1].fold != pattern.folds[-1] and text[end - 1] in "sS":
        end -= 1  # the ending stays; not where the s is part of another letter or an escape
    exact = slice(start - pattern.lead, end + pattern.trail)
    if start >= pattern.lead and text[exact] == pattern.value:
        return Place(exact.start, exact.stop, pattern.value)
    if pattern.capital and any(text[word.start].islower() for word in found):
        return None
    return Place(start, end, pattern.value)


def _same_words(text: str, found: Sequence[Word], folds: Sequence[str]) -> bool:
    """Whether these are the words of the value, near each other; the last may end in s."""
    if len(found) < len(folds):
        return False
    last, expected = found[-1].fold, folds[-1]
    if last != expected and not (
        last == expected + "s" and len(expected) >= _GENITIVE and expected.isalpha()
    ):
        return False
    if any(word.fold != fold for word, fold in zip(found[:-1], folds[:-1], strict=True)):
        return False
    return all(
        after.start - word.end <= _MAX_GAP and "\n\n" not in text[word.end : after.start]
        for word, after in pairwise(found)
    )
