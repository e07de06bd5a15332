"""What the tagger sees of a text: tokens, and for each token the rows of hashed tables.

Training and run time read texts through this file alone, so they cannot differ. Nothing here
knows a word: a token is its letter n-grams, its lower-cased form, its shape and its place in the
line, each hashed to the row of a table. All of it is integer arithmetic on whole arrays, so a
token's rows do not depend on what else is read with it, and time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gateway.pii.ner.tokens import (
    BREAK,
    DIGIT,
    LETTER,
    LONGEST,
    SIGN,
    Classes,
    Ints,
    Points,
    lowered,
    points_of,
    tokens_of,
)

GRAM_ROWS = 1 << 16
WORD_ROWS = 1 << 16
GRAMS = (2, 3, 4, 5)
"""Lengths of the n-grams, counted with one mark before and one after the token."""

_OPENING, _CLOSING = 2, 3  # marks around a token, code points no token holds
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64
_BASE_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_PIECE = 1 << 12  # tokens hashed at once

# The rows of the small table: four features, side by side.
_CASES, _LENGTHS, _LAYOUTS, _LETTERINGS = 8, 12, 6, 4
_AT_LAYOUT = 6 * _CASES * _LENGTHS
_AT_LETTERING = _AT_LAYOUT + _LAYOUTS * _LAYOUTS
_AT_ELSEWHERE = _AT_LETTERING + _LETTERINGS * _LETTERINGS
SMALL_ROWS = _AT_ELSEWHERE + 8

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Features:
    """Tokens of some texts, in order, and their rows.

    ``starts``, ``ends``: offsets of each token in its text; ``texts``: the number of its text.
    ``forms``: the number of its distinct form, an index of ``words`` (a row of the table of words)
    and of ``gram_starts``, which divides ``grams`` (rows of the table of n-grams). ``small``: four
    rows of the small table for each token. ``classes``: its class (``tokens.py``).
    """

    starts: Ints
    ends: Ints
    texts: Ints
    forms: Ints
    words: Ints
    grams: Ints
    gram_starts: Ints
    small: Ints
    classes: Classes


def read(texts: Sequence[str]) -> Features:
    """Read folded texts (``recognizers/folding.py``); any string is read, also an empty one."""
    joined = "\n".join(texts) if len(texts) > 1 else "".join(texts)
    points = points_of(joined)
    lengths = np.fromiter((len(t) + 1 for t in texts), np.int64, len(texts))
    ends_of_texts = np.cumsum(lengths)
    separators = ends_of_texts[:-1] - 1
    starts, ends, classes = tokens_of(points, separators)
    owners = np.searchsorted(ends_of_texts, starts, side="right")
    lower = points_of(lowered(joined))
    forms, words, grams, gram_starts, same = _hashed(points, lower, starts, ends, classes)
    small = _small(points, lower, starts, ends, classes, owners, same)
    first = ends_of_texts - lengths
    shift = first[owners] if len(starts) else np.zeros(0, np.int64)
    return Features(
        starts - shift, ends - shift, owners, forms, words, grams, gram_starts, small, classes
    )  # fmt: skip


@lru_cache(maxsize=1)
def _powers() -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse, enough for the characters hashed at once."""
    count = _PIECE * (LONGEST + 2) + 1
    powers = np.full(count, _BASE, np.uint64)
    inverses = np.full(count, _BASE_INVERSE, np.uint64)
    powers[0] = inverses[0] = 1
    return np.cumprod(powers), np.cumprod(inverses)


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(31))) * _MIX
    return values ^ (values >> np.uint64(29))


def _hashed(
    points: Points,
    lower: Points,
    starts: Ints,
    ends: Ints,
    classes: Classes,
) -> tuple[Ints, Ints, Ints, Ints, Hashes]:
    """``forms``, ``words``, ``grams``, ``gram_starts`` as in ``Features``; a hash per token."""
    wholes, counts, parts = [], [], []
    for at in range(0, len(starts), _PIECE):
        piece = slice(at, at + _PIECE)
        marked, offsets = _marked(points, lower, starts[piece], ends[piece], classes[piece])
        powers, inverses = _powers()
        sums = np.zeros(len(marked) + 1, np.uint64)
        np.cumsum(_mixed(marked.astype(np.uint64) * _MIX) * powers[: len(marked)], out=sums[1:])
        whole = _mixed((sums[offsets[1:]] - sums[offsets[:-1]]) * inverses[offsets[:-1]])
        wholes.append(whole)
        counts.append(offsets)
        parts.append(sums)
    if not wholes:
        none = np.zeros(0, np.int64)
        return none, none, none, none, none.astype(np.uint64)
    same = np.concatenate(wholes)
    distinct, first, forms = np.unique(same, return_index=True, return_inverse=True)
    words = (distinct >> np.uint64(40)).astype(np.int64) & (WORD_ROWS - 1)
    grams, gram_starts = _grams(first, counts, parts)
    return forms, words, grams, gram_starts, same


def _marked(
    points: Points,
    lower: Points,
    starts: Ints,
    ends: Ints,
    classes: Classes,
) -> tuple[Points, Ints]:
    """The lower-cased characters of the tokens with their marks, and where each token begins."""
    del points
    lengths = np.minimum(ends - starts, LONGEST)
    lengths = np.where(classes == SIGN, np.minimum(lengths, 4), lengths)
    lengths = np.where(classes == BREAK, 1, lengths)
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths + 2, out=offsets[1:])
    inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths + 2) - 1
    source = np.repeat(starts, lengths + 2) + inside
    marked = lower[np.clip(source, 0, len(lower) - 1)].copy()
    # A number is known by its length; one or two digits and the decade of a year by its value.
    digits = np.where(classes == DIGIT, ends - starts, 0)
    centuries = (digits == 4) & ((lower[starts] == ord("1")) | (lower[starts] == ord("2")))  # noqa: PLR2004
    shown = np.where(digits <= 2, LONGEST, np.where(centuries, 3, 0))  # noqa: PLR2004
    hidden = (np.repeat(digits, lengths + 2) > 0) & (inside >= np.repeat(shown, lengths + 2))
    marked[hidden] = ord("0")
    marked[np.repeat(classes == BREAK, lengths + 2)] = ord("\n")
    marked[offsets[:-1]] = _OPENING
    marked[offsets[1:] - 1] = _CLOSING
    return marked, offsets


def _grams(first: Ints, counts: list[Ints], parts: list[Hashes]) -> tuple[Ints, Ints]:
    """Rows of the n-grams of the tokens ``first``, and where those of each begin."""
    powers, inverses = _powers()
    del powers
    rows, sizes = [], np.zeros(len(first), np.int64)
    order = np.argsort(first, kind="stable")
    by_piece = first[order] // _PIECE
    for piece in np.unique(by_piece):
        chosen = order[by_piece == piece]
        offsets, sums = counts[piece], parts[piece]
        begin = offsets[first[chosen] % _PIECE]
        end = offsets[first[chosen] % _PIECE + 1]
        lengths = end - begin
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = np.repeat(begin, lengths) + within
        left = np.repeat(end, lengths) - place
        found = np.empty((len(place), len(GRAMS)), np.int64)
        fits = np.empty((len(place), len(GRAMS)), np.bool_)
        for column, n in enumerate(GRAMS):
            fits[:, column] = left >= n
            stop = np.minimum(place + n, len(sums) - 1)
            hashes = _mixed((sums[stop] - sums[place]) * inverses[place] + np.uint64(n))
            found[:, column] = (hashes >> np.uint64(20)).astype(np.int64) & (GRAM_ROWS - 1)
        sizes[chosen] = np.add.reduceat(fits.sum(1), np.cumsum(lengths) - lengths)
        rows.append(found[fits])
    # ``rows`` is in the order of first appearance; bring it to the order of the forms.
    flat = np.concatenate(rows)
    ordered_sizes = sizes[order]
    begin_of = np.empty(len(first), np.int64)
    begin_of[order] = np.cumsum(ordered_sizes) - ordered_sizes
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(flat)) - np.repeat(starts, sizes)
    return flat[np.repeat(begin_of, sizes) + within], starts


def _bucket(lengths: Ints) -> Ints:
    """Lengths 1 to 8 as they are, then 9-10, 11-14, 15-20 and more."""
    return np.where(lengths <= 8, lengths - 1, 8 + np.searchsorted([10, 14, 20], lengths))  # noqa: PLR2004


def _small(  # noqa: PLR0913, PLR0917 - arrays of one pass
    points: Points,
    lower: Points,
    starts: Ints,
    ends: Ints,
    classes: Classes,
    owners: Ints,
    same: Hashes,
) -> Ints:
    """Four rows of the small table for each token: shape, layout, lettering, seen elsewhere."""
    count = len(starts)
    small = np.zeros((count, 4), np.int64)
    if not count:
        return small
    raised = np.zeros(len(points) + 1, np.int64)
    np.cumsum(points != lower, out=raised[1:])
    upper = raised[ends] - raised[starts]
    lengths = ends - starts
    letters = classes == LETTER
    initial = points[starts] != lower[starts]
    case = np.where(upper == 0, 0, np.where(upper == lengths, 1, np.where(upper == 1, 2, 3)))
    case = np.where((case == 2) & ~initial, 3, case)  # noqa: PLR2004
    case = case + 4 * (points[starts] > 0x7F)  # noqa: PLR2004
    small[:, 0] = (classes * _CASES + case) * _LENGTHS + _bucket(lengths)
    layout = _layout(points, starts, ends, classes, owners)
    after = np.append(layout[1:], 5)
    small[:, 1] = _AT_LAYOUT + layout * _LAYOUTS + after
    lowered = letters & (upper < lengths)
    line = np.cumsum((classes == BREAK) | (layout == 5)) - 1  # noqa: PLR2004
    small[:, 2] = (
        _AT_LETTERING
        + _lettering(line, letters & (upper > 0), lowered) * _LETTERINGS
        + _lettering(owners, letters & (upper > 0), lowered)
    )
    small[:, 3] = _AT_ELSEWHERE + _elsewhere(same, owners, letters, initial, layout)
    return small


def _layout(
    points: Points,
    starts: Ints,
    ends: Ints,
    classes: Classes,
    owners: Ints,
) -> Ints:
    """What stands before a token: 0 nothing, 1 a space, 2 a gap, 3 a line, 4 more, 5 the start."""
    gap = starts - np.append(0, ends[:-1])
    tab = points[np.maximum(starts - 1, 0)] == ord("\t")
    layout = np.where(gap == 0, 0, np.where((gap > 1) | tab, 2, 1))
    layout[1:][classes[:-1] == BREAK] = 3
    lines = np.zeros(len(points) + 1, np.int64)
    np.cumsum(points == ord("\n"), out=lines[1:])
    blank = (lines[ends] - lines[starts] > 1) & (classes == BREAK)
    layout[1:][blank[:-1]] = 4
    layout[0] = 5
    layout[1:][owners[1:] != owners[:-1]] = 5
    return layout


def _lettering(groups: Ints, raised: NDArray[np.bool_], lowered: NDArray[np.bool_]) -> Ints:
    """For each token whether its group has capitals (1) and small letters (2); groups ascend."""
    count = int(groups[-1]) + 1 if len(groups) else 0
    capitals = np.bincount(groups, raised, count) > 0
    smalls = np.bincount(groups, lowered, count) > 0
    return (capitals + 2 * smalls).astype(np.int64)[groups]


def _elsewhere(
    same: Hashes, owners: Ints, letters: NDArray[np.bool_], initial: NDArray[np.bool_], layout: Ints
) -> Ints:
    """Whether its text has the word again (1), in small letters (2), in capitals mid-line (4)."""
    keys = same ^ (owners.astype(np.uint64) * _MIX)
    _, group = np.unique(keys, return_inverse=True)
    size = group.max() + 1
    again = np.bincount(group, minlength=size)[group] > 1
    small = np.bincount(group, letters & ~initial, size)[group] > 0
    capital = np.bincount(group, letters & initial & (layout < 3), size)[group] > 0  # noqa: PLR2004
    return np.where(letters, again + 2 * small + 4 * capital, 0)
