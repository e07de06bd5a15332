"""Texts with what is known of them: for each span, and for the rest, the set of labels it may have.

Corpora differ in what they label. Where one is silent, the set of allowed labels says so and the
loss asks only that the model stay inside the set; nothing has to be guessed or thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.pii.ner.features import Features
from gateway.pii.ner.network import LABELS
from gateway.pii.recognizers.folding import fold

OUTSIDE = 1
BIT = {label: 2 << n for n, label in enumerate(LABELS)} | {"O": OUTSIDE}
ANYTHING = (2 << len(LABELS)) - 1


def allow(names: str) -> int:
    """The set of the labels in ``names``, separated by spaces; O is outside."""
    bits = 0
    for name in names.split():
        bits |= BIT[name]
    return bits


@dataclass(frozen=True, slots=True)
class Piece:
    """``spans``: (start, end, set of labels), sorted, disjoint; ``rest``: the set elsewhere."""

    text: str = field(repr=False)
    spans: tuple[tuple[int, int, int], ...]
    rest: int
    lang: str = "en"


def folded(piece: Piece) -> Piece:
    """``piece`` as recognizers read it."""
    result = fold(piece.text)
    if result.origins is None:
        return Piece(result.text, piece.spans, piece.rest, piece.lang)
    origins = np.asarray(result.origins)
    spans = []
    for start, end, bits in piece.spans:
        first, last = np.searchsorted(origins, [start, end])
        if first < last:
            spans.append((int(first), int(last), bits))
    return Piece(result.text, tuple(spans), piece.rest, piece.lang)


def disjoint(spans: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """``spans`` sorted; of two that overlap the earlier, longer one."""
    kept: list[tuple[int, int, int]] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if span[0] < span[1] and (not kept or span[0] >= kept[-1][1]):
            kept.append(span)
    return tuple(kept)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Sets of tags for sets of labels: of a span's first token, and of its later ones."""
    sets = np.arange(ANYTHING + 1, dtype=np.int64)
    begin, inside = sets & 1, sets & 1
    for n in range(len(LABELS)):
        has = (sets >> (n + 1)) & 1
        begin = begin | (has << (1 + 2 * n))
        inside = inside | (has << (2 + 2 * n))
    return begin, inside


BEGIN, INSIDE = _tables()


def targets(pieces: Sequence[Piece], features: Features) -> np.ndarray:
    """For each token the set of tags it may have, as bits."""
    rest = np.array([BEGIN[p.rest] | INSIDE[p.rest] for p in pieces], np.int64)
    allowed = rest[features.texts]
    bounds = np.searchsorted(features.texts, np.arange(len(pieces) + 1))
    for number, piece in enumerate(pieces):
        if not piece.spans:
            continue
        low, high = bounds[number], bounds[number + 1]
        spans = np.array(piece.spans, np.int64)
        first = low + np.searchsorted(features.ends[low:high], spans[:, 0], side="right")
        stop = low + np.searchsorted(features.starts[low:high], spans[:, 1], side="left")
        for a, b, bits in zip(first, stop, spans[:, 2], strict=True):
            if a < b:
                loose = BEGIN[bits] if bits & OUTSIDE else 0
                allowed[a:b] = INSIDE[bits] | loose
                allowed[a] = BEGIN[bits]
    return allowed
