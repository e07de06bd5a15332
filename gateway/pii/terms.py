"""What a model takes for an identifier and is none: terms of medicine and law, and published law.

Only what the model alone found is dropped here, never what a rule found. Two kinds of knowledge:

- tables of terms that name nobody ("Dupixent", "BRCA2", "Stark Law") and of eponyms, which name
  nobody beside a head ("Bell palsy", "Wells score", "Morbus Crohn");
- patterns of what only looks like a number or a party (``recognizers/spared.toml``): sections,
  reported cases, codes of vocabularies, measurements.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import re2

from gateway.errors import SettingsError
from gateway.pii.forms import TITLES
from gateway.pii.idle import without_idle
from gateway.pii.ner.tagger import Span
from gateway.pii.tables.load import words

NAMING = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "ID_NUMBER", "ZIP_CODE", "USERNAME"})
"""Labels that a term can be mistaken for; a date is looked at by pattern only."""

FILE = "spared.toml"
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d{1,4}")
_SHORT = 4  # letters up to which a term in capitals is one only in capitals ("ACE", not "ace")
_FAR = 4  # words on either side of a span in which a longer term can begin or end
_BESIDE = 2  # words before an eponym that may be its head
_APOSTROPHES = frozenset({"'", "\u2019"})
_JOINTS = frozenset({"-", "/", " ", "\u2013", " and ", " & "})
_PAUSE = re.compile(r"[.,;:?!()\n]")
# What shows that a name follows, whatever else it is.
_INTRODUCES = TITLES | frozenset(
    [
        *("patient", "pt", "client", "named", "called", "son", "daughter", "mother", "wife"),
        *("husband", "partner", "neighbor", "plaintiff", "defendant", "witness", "patiente"),
        *("patientin", "paciente", "patientenname", "klient", "mandant", "mandantin", "name"),
    ]
)
# What a person does, so that no head is looked for behind it.
_VERBS = frozenset(
    [
        *("is", "was", "has", "had", "does", "did", "will", "would", "can", "could", "should"),
        *("reports", "denies", "states", "said", "says", "wants", "needs", "asked", "called"),
        *("with", "for", "to", "in", "on", "at", "from", "by", "about", "hat", "ist", "war"),
        *("est", "a", "avait", "tiene", "es", "fue", "refiere", "the", "his", "her", "my", "mi"),
    ]
)
_LINKS = frozenset({"and", "or", "und", "et", "y", "e", "von", "van", "de", "s"})


@dataclass(frozen=True, slots=True)
class _Read:
    """A text as words, folded, with their starts."""

    text: str = field(repr=False)
    starts: Sequence[int]
    ends: Sequence[int]
    folds: Sequence[str] = field(repr=False)

    @classmethod
    def of(cls, text: str) -> _Read:
        found = list(_WORD.finditer(text))
        return cls(
            text,
            [m.start() for m in found],
            [m.end() for m in found],
            [m[0].casefold() for m in found],
        )

    def within(self, span: Span) -> tuple[int, int]:
        """The words that the span touches: first, and one past the last."""
        return bisect_left(self.ends, span.start + 1), bisect_left(self.starts, span.end)


class Terms:
    """Immutable; safe in threads.

    Raises:
        SettingsError: a table or the file of patterns is missing or not valid.
    """

    def __init__(self) -> None:
        terms = words("terms")
        self._terms = _by_first(terms)
        self._spelled = frozenset(t.casefold() for t in terms if t.isupper() and len(t) <= _SHORT)
        self._eponyms = _by_first(words("eponyms"))
        self._heads = frozenset(line.casefold() for line in words("heads"))
        self._patterns = [_compiled(row, macros) for row, macros in _rows()]

    def spare(self, text: str, spans: Sequence[Span]) -> list[Span]:
        """The spans but those that say nothing or lie in a term or in what a pattern spares."""
        if not spans:
            return []
        spans = without_idle(text, spans)
        spared = self._spared(text)
        left = [s for s in spans if not any(a <= s.start and s.end <= b for a, b in spared)]
        if not left:
            return []
        read = _Read.of(text)
        return [s for s in left if s.label not in NAMING or not self._is_term(read, s)]

    def _spared(self, text: str) -> list[tuple[int, int]]:
        return [m.span() for pattern in self._patterns for m in pattern.finditer(text)]

    def _is_term(self, read: _Read, span: Span) -> bool:
        first, last = read.within(span)
        if first == last or (first and read.folds[first - 1] in _INTRODUCES):
            return False
        return self._covered(read, first, last) or self._eponymous(read, first, last)

    def _covered(self, read: _Read, first: int, last: int) -> bool:
        """Whether terms, one after another, cover the words; small numbers may stand between."""
        at, begin = first, max(0, first - _FAR)
        for start in range(begin, first + 1):
            end = self._term(read, start)
            if end > first:
                at = max(at, end)
        if at == first:
            return False
        while at < last:
            end = self._term(read, at)
            if end > at:
                at = end
            elif _NUMBER.fullmatch(read.folds[at]):
                at += 1
            else:
                return False
        return True

    def _term(self, read: _Read, at: int) -> int:
        """Where the longest term from word ``at`` on ends; short ones are spelled in capitals."""
        end = _longest(self._terms, read.folds, at)
        small = not read.text[read.starts[at] : read.ends[at]].isupper()
        return at if end == at + 1 and small and read.folds[at] in self._spelled else end

    def _eponymous(self, read: _Read, first: int, last: int) -> bool:
        """Whether the words are eponyms, a head among them or beside them."""
        at, seen, head = first, False, False
        while at < last:
            end = _longest(self._eponyms, read.folds, at)
            if end > at:
                at, seen = end, True
            elif read.folds[at] in self._heads:
                at, head = at + 1, True
            elif read.folds[at] in _LINKS or _NUMBER.fullmatch(read.folds[at]):
                at += 1
            else:
                return False
        if not seen:
            return False
        before = read.folds[max(0, first - _BESIDE) : first]
        announced = any(f in self._heads for f in (*before, " ".join(before)))
        return head or announced or self._headed(read, max(at, last))

    def _headed(self, read: _Read, at: int) -> bool:
        """Whether a head follows: the next word, or the one after a word that can stand between.

        The rest of a compound and a genitive come before it ("Kellgren|-Lawrence grade", "Bell's
        palsy"); a genitive before nothing is one by itself ("she has Tourette's, and").
        """
        genitive, between = False, 0
        while at < len(read.folds):
            gap = read.text[read.ends[at - 1] : read.starts[at]]
            fold = read.folds[at]
            end = _longest(self._eponyms, read.folds, at)
            if fold == "s" and gap in _APOSTROPHES:
                genitive, at = True, at + 1
            elif _PAUSE.search(gap):
                return genitive
            elif fold in self._heads:
                return True
            elif end > at and gap in _JOINTS:
                at = end
            elif genitive and fold in _LINKS:
                return True
            elif between or fold in _VERBS:
                return False
            else:
                between, at = 1, at + 1
        return genitive and not between


def _by_first(lines: Iterable[str]) -> Mapping[str, frozenset[tuple[str, ...]]]:
    """Entries as folded words, by their first word."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for line in lines:
        entry = tuple(m[0].casefold() for m in _WORD.finditer(line))
        if entry:
            found.setdefault(entry[0], set()).add(entry)
    return {first: frozenset(entries) for first, entries in found.items()}


def _longest(
    entries: Mapping[str, frozenset[tuple[str, ...]]], folds: Sequence[str], at: int
) -> int:
    """Where the longest entry that begins with word ``at`` ends; ``at`` if none does."""
    best = at
    for entry in entries.get(folds[at], ()):
        end = at + len(entry)
        if end > best and tuple(folds[at:end]) == entry:
            best = end
    return best


def _rows() -> Iterator[tuple[Mapping[str, str], Mapping[str, str]]]:
    try:
        raw = (resources.files("gateway.pii.recognizers") / FILE).read_text(encoding="utf-8")
        document = tomllib.loads(raw)
        macros, rows = document["macros"], document["spare"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        raise SettingsError(f"{FILE} of the recognizers is missing or not valid.") from None
    for row in rows:
        yield row, macros


def _compiled(row: Mapping[str, str], macros: Mapping[str, str]) -> Any:
    pattern = row["pattern"]
    while "<<" in pattern:
        name = pattern[pattern.index("<<") + 2 : pattern.index(">>")]
        pattern = pattern.replace(f"<<{name}>>", macros[name])
    try:
        return re2.compile(pattern)
    except re2.error:
        raise SettingsError(f"The pattern {row['id']} of {FILE} is not valid RE2.") from None
