"""What a site never masks: its own name, a drug that is called like a person.

A finding is taken back where it stands inside an entry of an allow list that the text has there,
whole ("Quorvex Hospital" takes back a person "Quorvex" in it, and nothing elsewhere). Of a longer
place or organisation an entry of two words or more is cut off at either end; a longer person stays
whole, because a name beside a name is a person's. MUST NOT touch what passed a checksum, a secret,
or what a deny list names.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from gateway.domain import Finding
from gateway.pii.forms import words
from gateway.pii.port import DENIED
from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.recognizers.folding import fold
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK
from gateway.pii.site.words import Words

CUT = frozenset({"ORGANIZATION", "LOCATION"})
NEVER = frozenset({"SECRET", "CREDIT_CARD", "IBAN_CODE", "CRYPTO", "US_SSN"})
_CARD_DIGITS = 12
_NOTHING = re.compile(r"\W*(?:['\u2019]s\b)?\W*", re.IGNORECASE)
_EDGE = " \t\r\n,;:.-()'\"\u2019"


def spare(text: str, findings: Sequence[Finding], allowed: Words) -> tuple[Finding, ...]:
    """``findings`` of ``text`` but for what ``allowed`` takes back; offsets are those of it."""
    if not findings:
        return ()
    folded = fold(text)
    places = sorted(folded.original(p[0], p[1]) for p in allowed.places(folded.text) if p)
    if not places:
        return tuple(findings)
    covered = _Places(text, places)
    return tuple(left for finding in findings for left in _spared(text, finding, covered))


class _Places:
    """Where entries stand: what covers a span, and what could be cut off its ends."""

    def __init__(self, text: str, places: Sequence[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in places]
        self._reach = list(accumulate((end for _, end in places), max))
        long = [place for place in places if len(words(text[slice(*place)])) > 1]
        self.from_start = dict(long)  # sorted: the longest of a start comes last
        self.to_end = {end: start for start, end in reversed(long)}

    def cover(self, start: int, end: int) -> bool:
        index = bisect_right(self._starts, start)
        return index > 0 and self._reach[index - 1] >= end


def _spared(text: str, finding: Finding, places: _Places) -> Iterator[Finding]:
    if (
        finding.entity_type in NEVER
        or finding.source.endswith(CHECKSUM_MARK)
        or finding.source.startswith(DENIED)
        or _sound(text[finding.start : finding.end])
    ):
        yield finding
        return
    start, end = _bare(text, finding.start, finding.end)
    if places.cover(start, end):
        return
    if finding.entity_type not in CUT:
        yield finding
        return
    low = places.from_start.get(start, start)
    high = places.to_end.get(end, end)
    if (low, high) == (start, end):
        yield finding
    elif low < high and not _NOTHING.fullmatch(text[low:high]):
        low, high = _bare(text, low, high)
        yield replace(finding, start=low, end=high)


def _sound(value: str) -> bool:
    """Whether a value passes a checksum under whatever type it was found: a card, an IBAN."""
    digits = sum(character.isdigit() for character in value)
    return digits >= _CARD_DIGITS and (CHECKS["luhn"](value) or CHECKS["iban"](value))


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the punctuation and the possessive at its edges."""
    if text[start:end].lower().endswith(("'s", "\u2019s")):
        end -= 2
    while start < end and text[start] in _EDGE:
        start += 1
    while end > start and text[end - 1] in _EDGE:
        end -= 1
    return start, end
