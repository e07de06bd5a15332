"""Every place where a value that is already known stands in a text.

The detector reads one text at a time; a value that it recognised once is looked for in all of the
request, and so are the parts that people go on with: of "Ms Anna Schmidt" also "Schmidt", "Anna"
and "A.S.", of "Lowell Freight Inc." also "Lowell Freight". Matching compares words (``forms``), so
it is linear in the text whatever the number of values, and "ANNA-SCHMIDT" is "Anna Schmidt".
What keeps ordinary text ordinary:

- one cased word that is short or that people also write in lower case (``tables``) matches only
  where the text writes it with a capital ("Mark" is not "mark"), a name that is such a word only
  inside a sentence ("Will the patient" is not Mr Will Young), and any other value nowhere else;
- numbers under ``MIN_DIGITS`` digits and single letters match nowhere;
- words must be whole, but for a final s ("Schmidts", the genitive).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from gateway.pii.forms import (
    COMPANY_FORMS,
    JOINED_DIGITS,
    JOINED_LETTERS,
    MAX_GAP,
    MIN_DIGITS,
    PARTICLES,
    TITLES,
    Word,
    fold,
    near,
    words,
)
from gateway.pii.tables.load import words as words_of
from gateway.pii.views import View

_MAX_DIGIT_GAP = 2
_GENITIVE = 4  # letters, from which on a final s is read as an ending
_SOLID = 6  # letters of a name of several words, from which on its case says nothing
_MIN_PART = 3  # letters of a part of a name that is looked for by itself
_TELLING = 5  # letters, from which on a word nobody writes in lower case needs no capital
_SIGHT = 8  # characters before a word in which the end of a sentence is looked for
_DOTTED = re.compile(r"(?:[^\W\d_]\. ?)+[^\W\d_]\.?.?", re.DOTALL)
_MAX_WORDS = 32  # a value of more words is looked for as it was written, and only so


class Place(NamedTuple):
    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A text as the matcher reads it: words with offsets into ``text``, escapes undone.

    ``said`` is the text without its escapes and ``said_words`` are the words with offsets into
    it: what is near what is asked there. ``at`` leads from a word to its places in ``words`` (a
    word in s also without it); ``digits`` are the places of words of digits.
    """

    text: str = field(repr=False)
    words: Sequence[Word] = field(repr=False)
    said: str = field(repr=False)
    said_words: Sequence[Word] = field(repr=False)
    at: Mapping[str, Sequence[int]] = field(repr=False)
    digits: Sequence[int]

    @classmethod
    def of(cls, text: str, escaped: View | None) -> Scanned:
        said = text if escaped is None else escaped.text
        said_words = found = words(said)
        if escaped is not None:
            found = [Word(*escaped.source_span(w.start, w.end), w.fold) for w in said_words]
        at: dict[str, list[int]] = {}
        for index, word in enumerate(found):
            at.setdefault(word.fold, []).append(index)
        digits = sorted(i for word, places in at.items() if word[0].isdigit() for i in places)
        for plural in [f for f in at if f[-1] == "s" and len(f) > _GENITIVE]:
            at[plural[:-1]] = at.get(plural[:-1], []) + at[plural]
        return cls(text, found, said, said_words, at, digits)

    def near(self, index: int, gap: int = MAX_GAP) -> bool:
        """Whether this word can belong to one value with the word before it."""
        return near(self.said, self.said_words[index - 1], self.said_words[index], gap)


class _Pattern(NamedTuple):
    value: str
    folds: tuple[str, ...]
    lead: int  # characters of the value before its first word, and after its last
    trail: int
    capital: bool  # every word must be written with a capital
    inside: bool = False  # not where a sentence begins
    dotted: bool = False  # letters with full stops: "A.S."


class Known:
    """The values known so far. Only ever grows.

    ``_by_head`` leads from the first word of a value to its patterns, by their words and first by
    how many they are: what a place costs does not depend on how many values begin alike.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._by_head: dict[str, dict[int, dict[tuple[str, ...], list[_Pattern]]]] = {}
        self._long: list[str] = []
        self._by_digits: dict[str, list[str]] = {}
        self._longest_digits = 0

    def add(self, value: str, scanned: Scanned, entity_type: str = "") -> None:
        """Look for ``value`` from now on; ``scanned`` is the value as the matcher reads it.

        ``entity_type`` says which parts of it people would go on with.
        """
        if value in self._values:
            return
        self._values.add(value)
        found = scanned.words
        if not found:
            return
        if len(found) > _MAX_WORDS:
            self._long.append(value)
            return
        folds = tuple(word.fold for word in found)
        joined = "".join(folds)
        digits = sum(c.isdigit() for c in joined)
        letters = len(joined) - digits
        if (digits < MIN_DIGITS and letters < 2) or len(joined) < 2:  # noqa: PLR2004
            return
        common = len(found) == 1 and folds[0] in common_words()
        if common and entity_type != "PERSON":
            return  # "the Court", "a son": what it says here it does not say everywhere
        capital = digits == 0 and (letters < _SOLID if len(found) > 1 else _ordinary(folds[0]))
        lead, trail = found[0].start, len(value) - found[-1].end
        self._add(_Pattern(value, folds, lead, trail, capital, inside=common))
        if letters == 0 and digits >= JOINED_DIGITS:
            self._by_digits.setdefault(joined, []).append(value)
            self._longest_digits = max(self._longest_digits, digits)
        elif digits == 0 and len(found) > 1 and letters >= JOINED_LETTERS:
            self._add(_Pattern(value, (joined,), 0, 0, capital=False))
        for part in _parts(value, folds, entity_type):
            self._add(part)

    def _add(self, pattern: _Pattern) -> None:
        by_length = self._by_head.setdefault(pattern.folds[0], {})
        by_words = by_length.setdefault(len(pattern.folds), {})
        by_words.setdefault(pattern.folds, []).append(pattern)

    def may_stand_in(self, scanned: Scanned) -> bool:
        """False where none of the values can stand. Cheap; True promises nothing."""
        if self._long or (self._by_digits and scanned.digits):
            return True
        return not self._by_head.keys().isdisjoint(scanned.at.keys())

    def places(self, scanned: Scanned) -> list[Place]:
        """Every place of every value, overlapping ones too; in no order."""
        found: list[Place] = []
        fewer, more = sorted((self._by_head, scanned.at), key=len)  # whatever is cheaper
        for head in fewer:
            if head not in more:
                continue
            for index in scanned.at[head]:
                for length, by_words in self._by_head[head].items():
                    for pattern in _fitting(scanned, index, length, by_words):
                        place = _place(scanned, index, pattern)
                        if place is not None:
                            found.append(place)
        for value in self._long:
            found += _as_written(scanned.text, value)
        if self._by_digits:
            for index in scanned.digits:
                found += self._digit_places(scanned, index)
        return found

    def _digit_places(self, scanned: Scanned, index: int) -> Iterable[Place]:
        """Numbers whose digits are grouped in another way: 123-45-6789, 123 456 789."""
        joined = ""
        for last in range(index, len(scanned.words)):
            fold = scanned.words[last].fold
            if not fold[0].isdigit() or (last > index and not scanned.near(last, _MAX_DIGIT_GAP)):
                return
            joined += fold
            if len(joined) > self._longest_digits:
                return
            for value in self._by_digits.get(joined, ()):
                yield Place(scanned.words[index].start, scanned.words[last].end, value)


def _parts(value: str, folds: tuple[str, ...], entity_type: str) -> Iterable[_Pattern]:
    """The shorter forms in which a text goes on about a person or an organisation."""
    if entity_type == "PERSON":
        yield from _parts_of_name(value, folds)
    elif entity_type == "ORGANIZATION":
        bare = folds
        while bare and bare[-1] in COMPANY_FORMS:
            bare = bare[:-1]
        if len(bare) > 1 and bare != folds:
            yield _Pattern(value, bare, 0, 0, capital=True)
        elif bare != folds and bare and len(bare[0]) >= _MIN_PART:
            yield _part(value, bare[0])


def _parts_of_name(value: str, folds: tuple[str, ...]) -> Iterable[_Pattern]:
    names = [fold for fold in folds if fold not in TITLES and fold.isalpha()]
    if len(names) > 1:
        for name in names:
            if len(name) >= _MIN_PART and name not in PARTICLES:
                yield _part(value, name)
        letters = tuple(name[0] for name in names if name not in PARTICLES)
        if len(letters) > 1:
            yield _Pattern(value, letters, 0, 0, capital=True, dotted=True)
    elif names and len(names) < len(folds) and len(names[0]) >= _MIN_PART:
        yield _part(value, names[0])  # "Ms Schmidt", then "Schmidt"


def _part(value: str, fold: str) -> _Pattern:
    ordinary = _ordinary(fold)
    common = fold in common_words()
    return _Pattern(value, (fold,), 0, 0, capital=ordinary, inside=common)


def _ordinary(fold: str) -> bool:
    """Whether a word without a capital can be any word."""
    return len(fold) < _TELLING or fold in common_words()


@cache
def common_words() -> frozenset[str]:
    """Words that people write in lower case, folded."""
    return frozenset(fold(word) for word in words_of("common_words"))


def _fitting(
    scanned: Scanned, index: int, length: int, by_words: Mapping[tuple[str, ...], list[_Pattern]]
) -> Iterable[_Pattern]:
    """The patterns whose words stand from word ``index`` on; the last one may end in s."""
    folds = tuple(word.fold for word in scanned.words[index : index + length])
    yield from by_words.get(folds, ())
    if folds[-1][-1] == "s":
        yield from by_words.get((*folds[:-1], folds[-1][:-1]), ())


def _as_written(text: str, value: str) -> Iterable[Place]:
    start = text.find(value)
    while start >= 0:
        yield Place(start, start + len(value), value)
        start = text.find(value, start + len(value))


def _place(scanned: Scanned, index: int, pattern: _Pattern) -> Place | None:
    """The place of ``pattern`` whose first word is word ``index``, if it stands there."""
    found = scanned.words[index : index + len(pattern.folds)]
    if not _same_words(found, pattern.folds):
        return None
    if not all(scanned.near(i) for i in range(index + 1, index + len(found))):
        return None
    text, start, end = scanned.text, found[0].start, found[-1].end
    if found[-1].fold != pattern.folds[-1] and text[end - 1] in "sS":
        end -= 1  # the ending stays; not where the s is part of another letter or an escape
    exact = slice(start - pattern.lead, end + pattern.trail)
    if start >= pattern.lead and text[exact] == pattern.value:
        return Place(exact.start, exact.stop, pattern.value)
    return Place(start, end, pattern.value) if _written(text, found, pattern) else None


def _written(text: str, found: Sequence[Word], pattern: _Pattern) -> bool:
    """Whether the words stand there in a way in which people write the value."""
    if pattern.capital and any(text[word.start].islower() for word in found):
        return False
    if pattern.dotted and not _DOTTED.fullmatch(text[found[0].start : found[-1].end + 1]):
        return False
    return not (pattern.inside and _begins(text, found[0].start))


def _begins(text: str, start: int) -> bool:
    """Whether a sentence, a line or a heading begins at ``start``."""
    before = text[max(0, start - _SIGHT) : start].rstrip(" \t\"'([*_-\u201c\u201e\u00ab\u2018")
    return not before or before[-1] in ".!?:;\n\r|>\u2022"


def _same_words(found: Sequence[Word], folds: Sequence[str]) -> bool:
    """Whether these are the words of the value; the last one may end in s."""
    if len(found) < len(folds):
        return False
    last, expected = found[-1].fold, folds[-1]
    ending = last == expected + "s" and len(expected) >= _GENITIVE and expected.isalpha()
    return (last == expected or ending) and all(
        word.fold == fold for word, fold in zip(found[:-1], folds[:-1], strict=True)
    )
