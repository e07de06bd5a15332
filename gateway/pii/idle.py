"""Spans that the model found and that name nothing: what no reader would miss or cover.

The tagger judges token by token. Between two names it takes an "and" along, after a number a unit,
before a name the title alone. Such a span by itself identifies nobody, and covering it destroys the
sentence. Only what the model alone found is looked at, and only whole spans: "an" is dropped, "An
Nguyen" never.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from gateway.pii.forms import PARTICLES, TITLES
from gateway.pii.ner.tagger import Span
from gateway.pii.tables.load import words as words_of

_WORD = re.compile(r"[^\W_]+")
_FRACTION = re.compile(r"(\d{1,4})/(\d{1,5})")
_FEW_DIGITS, _GAP = 2, 2
_SURE_LETTER, _SURE_DIGITS = 0.9, 0.8
_MONTHS, _DAYS, _YEARS = 12, 31, range(1900, 2101)

# Titles of function, which stand outside the name (docs/spec/entities.md §2).
_OUTSIDE = frozenset(["dr", "drs", "prof", "rn", "phd", "esq"])
_NAMING = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "ID_NUMBER"})
_AND = frozenset({"and", "und", "et", "y", "or", "oder", "ou", "&"})
# In any case: nobody is called so.
_NEVER = frozenset(
    [
        *("and", "the", "of", "with", "for", "from"),
        *("und", "des", "der", "das", "et", "les", "los", "las"),
    ]
)
_ALSO_NAMES = frozenset(
    [
        *("do", "doc", "don", "dona", "hon", "judge", "justice", "master", "md", "pa", "pastor"),
        *("rev", "sir", "sr"),
    ]
)


@cache
def function_words() -> frozenset[str]:
    """Articles, prepositions and their like, in lower case: capitalised some of them are names."""
    return words_of("function_words")


@cache
def titles() -> frozenset[str]:
    """Titles, and letters behind a name, folded, but those that somebody may be called."""
    return (TITLES | words_of("titles")) - _ALSO_NAMES


def without_idle(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans (sorted) but those that say nothing; beside another one they are a part of it.

    "of" stays between "Bank" and "Dover"; between two persons stands no part of either.
    """
    kept = []
    for index, span in enumerate(spans):
        before = index and _beside(text, spans[index - 1], span)
        after = index + 1 < len(spans) and _beside(text, span, spans[index + 1])
        said = text[span.start : span.end]
        joins = span.label == "PERSON" and (said in _AND or said.casefold() in _OUTSIDE)
        edge = not (before and after) and span.label in _NAMING and _is_article(said, span.label)
        if joins or edge or (not before and not after and _says_nothing(text, span)):
            continue
        kept.append(span)
    return kept


def _is_article(said: str, label: str) -> bool:
    """Whether it is a small word that neither begins nor ends a name of this kind."""
    return said in function_words() and (label == "ORGANIZATION" or said not in PARTICLES)


def _beside(text: str, first: Span, second: Span) -> bool:
    gap = text[first.end : second.start]
    return len(gap) <= _GAP and "\n" not in gap and not _WORD.search(gap)


def _says_nothing(text: str, span: Span) -> bool:
    """Whether the span, whole as it is, names nobody and nothing."""
    said = text[span.start : span.end]
    words = _WORD.findall(said)
    joined = "".join(words)
    if len(joined) <= 1:
        return not joined or span.score < _SURE_LETTER
    if joined.isdigit() and len(joined) <= _FEW_DIGITS and "/" not in said:
        return span.score < _SURE_DIGITS
    if all(w in function_words() or w.casefold() in _NEVER for w in words):
        return True
    if all(w.casefold() in titles() or len(w) == 1 for w in words):
        return len(joined) > len(words)  # letters alone are initials
    return span.label == "DATE_TIME" and _no_date(said)


def _no_date(said: str) -> bool:
    """Whether it is two numbers of which no calendar makes a day: "17/80", "1/4300"."""
    match = _FRACTION.fullmatch(said.strip())
    if not match:
        return False
    first, second = int(match[1]), int(match[2])
    day = 0 < first <= _DAYS and 0 < second <= _DAYS and min(first, second) <= _MONTHS
    year = len(match[2]) in {2, 4} and (second in _YEARS or len(match[2]) == _FEW_DIGITS)
    return not (day or (0 < first <= _MONTHS and year))
