"""Other ordinary words in ordinary words' stead, so that a word nobody has met is taken for one.

The model learns from names that it has not met because names are replaced (``augment.Names``). The
same is done here to the rest: words in lower case, and in German nouns, give way to others of the
same language, from the lists of ``generate/lexicon`` and from the texts, and to blends of two.
"""
# ruff: noqa: PLR2004 - chances and sizes, each used once

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from deploy.models.ner.generate.values.names import LEXICON
from deploy.models.ner.generate.values.places import lexicon
from deploy.models.ner.pieces import OUTSIDE, Piece

LISTS = ("x_medword", "x_legalword", "de_nomen_mehr", "fr_mot_plus")  # and every words_*.txt
FREQUENT = 700  # words of a language that stay: they tell what stands beside them
SEEN = 2  # times a word stands in the texts before it is handed on
_PLAIN = re.compile(r"(?<![\w@.'/-])[^\W\d_]{4,24}(?![\w@'/-])")
_NOUNS = frozenset({"de"})  # languages that write nouns with a capital


class Words:
    """``pieces``: texts whose words outside spans, where nothing else may be, are ordinary."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        counts: dict[str, Counter[str]] = {}
        named: dict[str, set[str]] = {}
        for piece in pieces:
            if piece.rest == OUTSIDE:
                counts.setdefault(piece.lang, Counter()).update(m[0] for m in _ordinary(piece))
                inside = (piece.text[a:b].lower() for a, b, _ in piece.spans)
                named.setdefault(piece.lang, set()).update(w for v in inside for w in v.split())
        self.kept = {
            lang: {w.lower() for w, _ in found.most_common(FREQUENT)}
            for lang, found in counts.items()
        }
        self.words: dict[str, list[str]] = {}
        for lang, found in counts.items():
            met = {w for w, n in found.items() if n >= SEEN}
            listed = {w for w in _listed(lang) if _PLAIN.fullmatch(w)}
            usual = {w for w in met | listed if w.islower() or lang in _NOUNS}
            self.words[lang] = sorted(usual - named[lang] - self.kept[lang])

    def other(self, word: str, lang: str, rng: Random) -> str:
        """Another ordinary word of the language, or a blend of two, in the case of ``word``."""
        words = self.words[lang]
        other = rng.choice(words)
        if rng.random() < 0.25:
            end = rng.choice(words)
            other = other[: max(2, len(other) // 2)] + end[len(end) // 2 :].lower()
        return other.lower() if word.islower() else other[0].upper() + other[1:]

    def edits(self, piece: Piece, rng: Random, share: float) -> list[tuple[int, int, str]]:
        """Replacements for a ``share`` of the ordinary words that are not frequent."""
        if piece.rest != OUTSIDE or len(self.words.get(piece.lang, ())) < 2:
            return []
        kept = self.kept[piece.lang]
        return [
            (m.start(), m.end(), self.other(m[0], piece.lang, rng))
            for m in _ordinary(piece)
            if rng.random() < share and m[0].lower() not in kept
        ]


def _listed(lang: str) -> Iterator[str]:
    names = [*LISTS, *(path.stem for path in sorted((LEXICON / lang).glob("words_*.txt")))]
    return (word for name in names for line in lexicon(name, lang) for word in line.split())


def _ordinary(piece: Piece) -> Iterator[re.Match[str]]:
    """Words outside spans: in lower case, in German also nouns within a sentence."""
    spans = iter(piece.spans)
    end, span = 0, next(spans, None)
    for match in _PLAIN.finditer(piece.text):
        while span and span[1] <= match.start():
            end, span = span[1], next(spans, None)
        if (span and span[0] < match.end()) or match.start() < end:
            continue
        if match[0].islower() or (piece.lang in _NOUNS and _noun(piece.text, match)):
            yield match


def _noun(text: str, match: re.Match[str]) -> bool:
    before = text[match.start() - 2 : match.start()]
    return match[0][1:].islower() and len(before) == 2 and before[1] == " " and before[0].isalnum()
