"""Tokens: where they start and end, and of what class each is.

Runs of letters, runs of digits, runs of one punctuation character, and one token for each run of
white space that holds a line break. Characters of scripts without spaces stand alone. Whole arrays
of code points at once, so time is linear and short.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SPACE, LETTER, DIGIT, SIGN, ALONE, BREAK = range(6)
LONGEST = 40
"""Characters of a token of letters or digits; longer runs are cut."""

Ints = NDArray[np.int64]
Points = NDArray[np.uint32]
Classes = NDArray[np.uint8]


@lru_cache(maxsize=1)
def _classes() -> Classes:
    """The class of each code point of the basic plane."""
    points = np.arange(1 << 16, dtype=np.uint32)
    points[0xD800:0xE000] = 0xFFFD
    characters = points.view("<U1")
    classes = np.full(1 << 16, SIGN, np.uint8)
    classes[np.strings.isalpha(characters)] = LETTER
    classes[np.strings.isspace(characters)] = SPACE
    marks = [c for c in range(0x300, 0x1200) if unicodedata.category(chr(c)).startswith("M")]
    classes[marks] = LETTER
    classes[ord("0") : ord("9") + 1] = DIGIT
    for first, last in ((0xE00, 0xEFF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF)):
        part = classes[first : last + 1]
        part[part == LETTER] = ALONE
    classes[[0, *range(0x1C, 0x20)]] = SIGN
    classes.setflags(write=False)
    return classes


def points_of(text: str) -> Points:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def lowered(text: str) -> str:
    """``text`` in lower case, as many characters as before, each by itself."""
    text = text.replace("\u03a3", "\u03c3")  # whose small letter depends on its place
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def tokens_of(points: Points, separators: Ints) -> tuple[Ints, Ints, Classes]:
    """Starts, ends and classes of the tokens; none crosses or holds a separator."""
    none = np.zeros(0, np.int64)
    if not len(points):
        return none, none, none.astype(np.uint8)
    classes = np.where(points < 1 << 16, _classes()[points & 0xFFFF], ALONE).astype(np.uint8)
    astral = np.flatnonzero(points >= 1 << 16)
    letters = np.strings.isalpha(points[astral].astype("<u4").view("<U1")) if len(astral) else none
    classes[astral] = np.where(letters, ALONE, SIGN)
    lines = (points == ord("\n")) | (points == ord("\r"))
    cut = np.ones(len(points), np.bool_)
    cut[1:] = (classes[1:] != classes[:-1]) | (classes[1:] == ALONE)
    cut[1:] |= (classes[1:] == SIGN) & (points[1:] != points[:-1])
    if len(separators):
        cut[separators] = True
        after = separators + 1
        cut[after[after < len(points)]] = True
    starts = np.flatnonzero(cut)
    ends = np.append(starts[1:], len(points))
    kinds = classes[starts]
    broken = np.add.reduceat(lines.astype(np.int64), starts) > 0
    kinds = np.where((kinds == SPACE) & broken, BREAK, kinds)
    kept = kinds != SPACE
    if len(separators):
        kept[np.searchsorted(starts, separators)] = False
    starts, ends, kinds = starts[kept], ends[kept], kinds[kept]
    return _cut_long(starts, ends, kinds)


def _cut_long(starts: Ints, ends: Ints, kinds: Classes) -> tuple[Ints, Ints, Classes]:
    """Cut tokens of letters and digits that are longer than ``LONGEST`` characters."""
    pieces = np.where((kinds == LETTER) | (kinds == DIGIT), -(-(ends - starts) // LONGEST), 1)
    if not len(starts) or pieces.max() == 1:
        return starts, ends, kinds
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    whole_ends = np.repeat(ends, pieces)
    last = number + 1 == np.repeat(pieces, pieces)
    starts = np.repeat(starts, pieces) + number * LONGEST
    ends = np.where(last, whole_ends, starts + LONGEST)
    return starts, ends, np.repeat(kinds, pieces)
