"""Folding: the text as recognizers read it, and the way back to the text as it was written.

Undoes the cheapest evasions and accidents before anything matches: characters that nobody sees
(zero-width, bidirectional controls, soft hyphen) are dropped; full-width forms, exotic spaces,
dashes, quotes and digits of other scripts become their plain ASCII form; lone surrogates become
U+FFFD, so that every folded text has a UTF-8 form. Every other character stays what it is.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

_DROPPED = frozenset(
    chain(
        (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x180E, 0x20E3, 0x3164, 0xFEFF, 0xFFA0),
        range(0x0334, 0x0339),  # struck through
        range(0x200B, 0x2010),
        range(0x202A, 0x202F),
        range(0x2060, 0x2070),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_QUOTES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4"
_DOUBLE = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_PLAIN = (
    dict.fromkeys(map(ord, _DASHES), "-")
    | dict.fromkeys(map(ord, _QUOTES), "'")
    | dict.fromkeys(map(ord, _DOUBLE), '"')
)
_NO_BREAK_SPACE = 0xA0
_LATIN_1_END = 0x100
_KEPT_BELOW = 0x250  # Latin characters that stay what they are are remembered, the others are many
_LONE_SURROGATES = range(0xD800, 0xE000)
_TAGS = range(0xE0020, 0xE007F)  # ASCII that nobody sees and a model reads


class _Table(dict[int, str | None]):
    """What each character folds to; filled as characters are met."""

    def __missing__(self, code: int) -> str | None:
        if code in _DROPPED:
            self[code] = None
        elif code in _LONE_SURROGATES:
            self[code] = "\ufffd"
        else:
            character = chr(code)
            folded = _plain(character)
            if folded == character and code >= _KEPT_BELOW:
                return character
            self[code] = folded
        return self[code]


def _plain(character: str) -> str:
    code = ord(character)
    if code in _PLAIN:
        return _PLAIN[code]
    if code < _LATIN_1_END:  # its superscripts and ordinals are the writer's: "n\u00ba" is no "no"
        return " " if code == _NO_BREAK_SPACE else character
    if code in _TAGS:
        return chr(code - 0xE0000)
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    if unicodedata.category(character) == "Zs":
        return " "
    compatible = unicodedata.normalize("NFKC", character)
    # Only forms of one ASCII character: an accent or a ligature is the writer's, not an evasion.
    return compatible if len(compatible) == 1 and compatible.isascii() else character


_TABLE = _Table()


@dataclass(frozen=True, slots=True)
class Folded:
    """``text`` is what recognizers read; ``origins`` is None where no character was dropped."""

    text: str = field(repr=False)
    origins: array[int] | None = field(repr=False, default=None)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Translate a non-empty span of ``text`` to the same span of the original text."""
        if self.origins is None:
            return start, end
        return self.origins[start], self.origins[end - 1] + 1

    def places(self, spans: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Spans of the original text as spans of ``text``; empty where all of one was dropped."""
        if self.origins is None:
            return spans
        return [(bisect_left(self.origins, a), bisect_left(self.origins, b)) for a, b in spans]


def fold(text: str) -> Folded:
    """Fold ``text``; any string, also one that has no UTF-8 form."""
    if text.isascii():
        return Folded(text)
    folded = text.translate(_TABLE)
    if len(folded) == len(text):
        return Folded(folded)
    kept = array("L", (i for i, c in enumerate(text) if ord(c) not in _DROPPED))
    return Folded(folded, kept)
