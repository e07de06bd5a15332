"""Words, normal forms, and when two spellings are one value.

Everything that asks "is this the same value?" asks here: mask (numbers, and values found where
the detector missed them) and the tripwire. A text is a sequence of *words*: runs of letters, runs
of digits, and single letters of scripts that have no case (Han, Thai, Arabic, Hebrew: their
names take no spaces or carry prefixes, so no boundary may be asked for). A word is compared
folded: NFKD without combining diacritics (U+0300-036F) and format characters, casefolded, so that
"MULLER", "Mu\u0308ller" and "Mul\u00adler" are one. Offsets are code points of the given text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import regex

_ASCII_WORDS = re.compile(r"[a-z]+|[0-9]+")
_CASED = r"\p{Lu}\p{Ll}\p{Lt}\p{Lm}"
_WORDS = regex.compile(
    rf"[{_CASED}][{_CASED}\p{{M}}\p{{Cf}}]*|\p{{Lo}}[\p{{M}}\p{{Cf}}]*|\p{{N}}[\p{{N}}\p{{Cf}}]*"
)
_DROPPED = regex.compile(r"[\u0300-\u036f\p{Cf}]+")

MIN_DIGITS = 4
"""Shorter numbers (an age, a dose) are masked where they were detected and nowhere else."""

JOINED_DIGITS = 6
"""From this many digits on, separators anywhere between them make no other value."""

MAX_GAP = 3
"""At most so many characters stand between two words of a value."""

JOINED_LETTERS = 8
"""From this many letters on, a name written without its spaces is still that name."""

_VISIBLE_WORDS = 32

# Words that stand beside a name and are no part of it.
TITLES = frozenset(
    [
        *("mr", "mrs", "ms", "mx", "miss", "master", "mister", "missus", "madam", "maam", "sir"),
        *("dr", "prof", "professor", "doctor", "doc", "judge", "justice", "hon", "attorney"),
        *("atty", "nurse", "officer", "detective", "sergeant", "sgt", "captain", "capt", "rev"),
        *("pastor", "father", "sister", "brother", "aunt", "uncle", "grandma", "grandpa", "mom"),
        *("dad", "herr", "herrn", "frau", "fraulein", "monsieur", "madame", "mme", "mlle", "don"),
        *("maitre", "senor", "senora", "senorita", "sr", "sra", "srta", "dona", "dott", "dottssa"),
        *("rn", "md", "np", "pa", "do", "phd", "esq", "lpn", "dds", "jr", "ii", "iii", "iv"),
    ]
)

# Words inside a name that are never used alone for the person.
PARTICLES = frozenset(
    [
        *("van", "von", "der", "den", "de", "la", "las", "los", "le", "les", "du", "des", "del"),
        *("della", "di", "da", "das", "do", "dos", "zu", "zum", "zur", "ten", "ter", "vom", "el"),
        *("al", "bin", "bint", "ibn", "ben", "abu", "y", "e", "und", "and", "et", "o", "mc", "mac"),
        *("st", "san", "santa", "saint", "nee", "geb", "aka", "alias"),
    ]
)

# What stands behind the name of a company and is left out when the text goes on.
COMPANY_FORMS = frozenset(
    [
        *("inc", "incorporated", "llc", "llp", "lp", "ltd", "limited", "corp", "corporation"),
        *("co", "company", "plc", "pc", "pllc", "gmbh", "ag", "kg", "ohg", "ug", "ev", "mbh"),
        *("se", "sa", "sas", "sarl", "sl", "slu", "srl", "spa", "bv", "nv", "ab", "as", "oy"),
    ]
)


class Word(NamedTuple):
    start: int
    end: int
    fold: str


def fold(text: str) -> str:
    """The normal form of one word (see the module)."""
    if text.isascii():
        return text.lower()
    bare = _DROPPED.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFKC", bare)


def words(text: str) -> list[Word]:
    """The words of a text, in order. Linear in the length of the text."""
    if text.isascii():
        return [Word(m.start(), m.end(), m.group()) for m in _ASCII_WORDS.finditer(text.lower())]
    found = []
    for match in _WORDS.finditer(text):
        folded = fold(match.group())
        if folded:
            found.append(Word(match.start(), match.end(), folded))
    return found


def normalise(text: str) -> str:
    """The words of a text, folded, one space between them: "ANNA-SCHMIDT" is "anna schmidt"."""
    return " ".join(word.fold for word in words(text))


def searchable(text: str) -> str | None:
    """The normal form to look for in masked text, or None where a hit would say nothing.

    Two words with six letters or more, or six digits, or four digits beside letters: shorter
    things ("May", "45", "Li") stand in ordinary text by chance, and a tripwire that refuses those
    is switched off within a week.
    """
    parts = [word.fold for word in words(text)]
    joined = "".join(parts)
    digits = sum(c.isdigit() for c in joined)
    letters = len(joined) - digits
    if (
        digits >= JOINED_DIGITS
        or (digits >= MIN_DIGITS and letters)
        or (
            letters >= 6 and len(parts) > 1  # noqa: PLR2004 (the docstring says why six)
        )
    ):
        return " ".join(parts)
    return None


def near(text: str, before: Word, word: Word, gap: int = MAX_GAP) -> bool:
    """Whether two words of a text can belong to one value: close, and in one paragraph."""
    return word.start - before.end <= gap and "\n\n" not in text[before.end : word.start]


def visible(text: str, values: Iterable[str]) -> list[tuple[int, int]]:
    """Where any of ``values`` (normal forms, as ``searchable`` gives them) stands in ``text``.

    Whole words near each other; of a value of very many words its beginning is enough. Linear in
    the text whatever the values; unordered.
    """
    found = words(text)
    heads: dict[str, dict[int, set[tuple[str, ...]]]] = {}
    for value in values:
        parts = tuple(value.split(" ", _VISIBLE_WORDS)[:_VISIBLE_WORDS])
        heads.setdefault(parts[0], {}).setdefault(len(parts), set()).add(parts)
    hits = []
    for index, word in enumerate(found):
        for length, sought in heads.get(word.fold, {}).items():
            span = found[index : index + length]
            if tuple(w.fold for w in span) in sought and all(
                near(text, *w) for w in pairwise(span)
            ):
                hits.append((span[0].start, span[-1].end))
    return hits


# --- persons: forms of one name ------------------------------------------------------------------


def name_key(text: str) -> tuple[str, ...]:
    """The words of a name without titles, sorted: "Schmidt, Dr. Anna" is (anna, schmidt).

    Letters that touch are one word here also in scripts without case.
    """
    parts: list[str] = []
    end = -1
    for word in words(text):
        if word.start == end:
            parts[-1] += word.fold
        else:
            parts.append(word.fold)
        end = word.end
    bare = sorted(part for part in parts if part not in TITLES)
    return tuple(bare or sorted(parts))


def value_key(text: str) -> tuple[str, ...]:
    """The normal form of any other value: its words joined, so separators make no difference."""
    joined = "".join(word.fold for word in words(text))
    return (joined,) if joined else ("", text)


def same_person(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one name can be a shorter form of the other.

    Every word of the shorter one stands in the longer one, whole or as an initial, and at least
    one stands there whole.
    """
    short, long = sorted((list(one), list(other)), key=len)
    whole = False
    for word in sorted(short, key=len, reverse=True):
        match = next((w for w in long if w == word), None)
        if match is not None:
            whole = True
        else:
            match = next((w for w in long if _initial(word, w)), None)
        if match is None:
            return False
        long.remove(match)
    return whole


def _initial(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) == 1 and short.isalpha() and long.startswith(short)
