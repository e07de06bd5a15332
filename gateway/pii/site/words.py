"""Lists of words: thousands of names, wards or projects, found in one pass over the text.

A hash leads from the first word of an entry to what may follow it, so a text costs the same with
ten entries as with ten thousand. Words are compared folded, whole, near each other, and with or
without a final s or 's (which is not part of what is found): "ANN-QUORVEX'S" is "Ann Quorvex".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from gateway.pii.forms import Word, near, words
from gateway.pii.known import common_words
from gateway.pii.recognizers.load import Candidate, in_context

MAX_WORDS = 16
MIN_LETTERS, MIN_DIGITS = 2, 3
_GENITIVE = 4  # letters, from which on a final s is read as an ending
_TELLING = 5  # letters, from which on one word that is not an ordinary one needs no capital
_TURNED = range(2, 5)  # words of a name that is also looked for as "Last, First"
_BREATH = 1024  # first words between two looks at the clock
_ASCII_WORDS = re.compile(r"[a-z]+|[0-9]+")


class Case(StrEnum):
    """When the case of letters counts: for ordinary and short single words, never, always."""

    NAMES = "names"
    ANY = "any"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class WordList:
    """One list. ``source`` names it in findings; ``context``: words of which one must be near."""

    source: str
    entity_type: str
    score: float
    entries: tuple[str, ...] = field(repr=False)
    case: Case = Case.NAMES
    context: Any = None


class _Entry(NamedTuple):
    owner: WordList
    capital: bool
    exact: tuple[str, ...] | None
    turned: bool  # "Last, First": a comma must follow the first word


class Words:
    """Implements ``presidio.detector.Recognizer`` for any number of lists, in one pass.

    Candidates have the type of the list they come from; ``entity_type`` is that of the first.
    """

    id = "site:words"
    cue = r"[A-Za-z0-9]|[^\x00-\x7f]"

    def __init__(self, lists: Sequence[WordList]) -> None:
        self.entity_type = lists[0].entity_type if lists else ""
        self._by_head: dict[str, dict[int, dict[tuple[str, ...], list[_Entry]]]] = {}
        for owner in lists:
            for text in dict.fromkeys(owner.entries):
                self._add(owner, text)

    def _add(self, owner: WordList, text: str) -> None:
        found = words(text)
        folds = tuple(word.fold for word in found)
        exact = tuple(text[w.start : w.end] for w in found) if owner.case is Case.EXACT else None
        capital = owner.case is Case.NAMES and len(folds) == 1 and is_ordinary(folds[0])
        self._put(folds, _Entry(owner, capital, exact, turned=False))
        if owner.entity_type == "PERSON" and len(folds) in _TURNED and exact is None:
            self._put((folds[-1], *folds[:-1]), _Entry(owner, capital, None, turned=True))

    def _put(self, folds: tuple[str, ...], entry: _Entry) -> None:
        by_length = self._by_head.setdefault(folds[0], {})
        by_length.setdefault(len(folds), {}).setdefault(folds, []).append(entry)

    def find(self, data: bytes) -> Iterator[Candidate | None]:
        """Yield every place of every entry in UTF-8 ``data``, in bytes; None now and then."""
        text = data.decode()
        offset = _Offsets(text, plain=len(text) == len(data))
        for place in self.places(text):
            if place is None:
                yield None
                continue
            start, end, owner = place
            low, high = offset(start), offset(end)
            if owner.context is None or in_context(owner.context, data, low, high):
                yield Candidate(owner.entity_type, low, high, owner.score, owner.source)

    def places(self, text: str) -> Iterator[tuple[int, int, WordList] | None]:
        """As ``find``, in characters of ``text``, whatever the context, by where they begin."""
        if text.isascii():  # as ``forms.words``, but most words are never looked at twice
            low = text.lower()
            folds = _ASCII_WORDS.findall(low)
        else:
            every = words(text)
            folds = [word.fold for word in every]
        heads = self._by_head
        hits = [i for i, f in enumerate(folds) if f in heads or (f[-1] == "s" and f[:-1] in heads)]
        if not hits:
            return
        if text.isascii():
            every = [
                Word(*match.span(), fold)
                for match, fold in zip(_ASCII_WORDS.finditer(low), folds, strict=True)
            ]
        for count, index in enumerate(hits, start=1):
            if count % _BREATH == 0:
                yield None
            for by_length in self._heads(folds[index]):
                for length, by_words in by_length.items():
                    yield from _matches(text, every[index : index + length], length, by_words)

    def _heads(self, fold: str) -> Iterable[dict[int, dict[tuple[str, ...], list[_Entry]]]]:
        head = self._by_head.get(fold)
        if head is not None:
            yield head
        if fold[-1] == "s" and len(fold) > _GENITIVE:
            bare = self._by_head.get(fold[:-1])
            if bare is not None and 1 in bare:
                yield {1: bare[1]}


def is_ordinary(fold: str) -> bool:
    """Whether one word without a capital can be any word: "may", "will", "hope"."""
    return fold.isalpha() and (len(fold) < _TELLING or fold in common_words())


def _matches(
    text: str,
    found: Sequence[Word],
    length: int,
    by_words: dict[tuple[str, ...], list[_Entry]],
) -> Iterator[tuple[int, int, WordList]]:
    if len(found) < length or not all(near(text, *pair) for pair in pairwise(found)):
        return
    folds = tuple(word.fold for word in found)
    last = folds[-1]
    spellings = [(folds, found[-1].end)]
    if last[-1] == "s" and len(last) > _GENITIVE:
        spellings.append(((*folds[:-1], last[:-1]), found[-1].end - 1))
    for sought, end in spellings:
        for entry in by_words.get(sought, ()):
            if _whole(text, found[0].start, found[-1].end) and _written(text, found, entry):
                yield found[0].start, end, entry.owner


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit touches: scripts without case have no such boundaries."""
    return not (
        (start > 0 and _joins(text[start - 1], text[start]))
        or (end < len(text) and _joins(text[end - 1], text[end]))
    )


def _joins(one: str, other: str) -> bool:
    return one.isalnum() and other.isalnum() and not (_caseless(one) or _caseless(other))


def _caseless(character: str) -> bool:
    return character.isalpha() and character.lower() == character.upper()


def _written(text: str, found: Sequence[Word], entry: _Entry) -> bool:
    """Whether the words stand there in a way in which the list counts them."""
    if entry.capital and text[found[0].start].islower():
        return False
    if entry.turned and text[found[0].end : found[1].start].strip() != ",":
        return False
    if entry.exact is None:
        return True
    return all(
        text[w.start : w.end] in {sought, sought + "s"}
        for w, sought in zip(found, entry.exact, strict=True)
    )


class _Offsets:
    """From characters to bytes, for offsets that mostly grow."""

    def __init__(self, text: str, *, plain: bool) -> None:
        self._text = text
        self._plain = plain
        self._character = self._byte = 0

    def __call__(self, character: int) -> int:
        if self._plain:
            return character
        if character < self._character:
            self._byte -= len(self._text[character : self._character].encode())
        else:
            self._byte += len(self._text[self._character : character].encode())
        self._character = character
        return self._byte
