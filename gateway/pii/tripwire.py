"""The tripwire: what may still stand in a text that was masked (DESIGN §1).

Detection has run again on the masked texts. Text that mask wrote is excepted, and what policy kept:
for the same type, found no more surely than when it was kept, so that what is kept shields nothing
else that stands there. What remains is either a reason to stop or one more thing to mask:

- a value of the mapping in normal form, anywhere else in the texts: stop;
- an identifier that passed a checksum, or a secret: stop, because detection found it only by
  accident of what stands around it, and what else it missed is unknown;
- any other finding: masked in another pass. Bounding the passes is the caller's.

Pure: no clock, no state, nothing logged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Protocol

from gateway.domain import Band, Finding, band_of
from gateway.errors import TripwireError
from gateway.pii import forms
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK


class Spanned(Protocol):
    """A span of a masked text, end exclusive."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def kept(self) -> tuple[str, Band] | None:
        """What policy kept there, by type and band; None for what mask wrote."""
        ...


def inspect(
    texts: Sequence[str],
    findings: Sequence[Sequence[Finding]],
    excepted: Sequence[Sequence[Spanned]],
    values: Collection[str],
) -> tuple[tuple[Finding, ...], ...]:
    """Return per text the findings outside the excepted spans: what is left to mask.

    ``values`` are normal forms of the mapped values, as ``forms.searchable`` gives them; they are
    looked for in kept text too. A finding
    that reaches into an excepted span is cut to what lies outside; without a letter or a digit
    there it is dropped.

    Raises:
        TripwireError: a mapped value, a checksummed identifier or a secret is still visible.
        ValueError: the sequences are not aligned.
    """
    return tuple(
        _inspect(text, found, spans, values)
        for text, found, spans in zip(texts, findings, excepted, strict=True)
    )


def _inspect(
    text: str, findings: Sequence[Finding], excepted: Sequence[Spanned], values: Collection[str]
) -> tuple[Finding, ...]:
    written = _merged((span.start, span.end) for span in excepted if span.kept is None)
    if values:
        for start, end in forms.visible(text, values):
            if any(_word_in(text, low, high) for low, high in _outside(start, end, written)):
                raise TripwireError
    spans: dict[tuple[str, Band], list[tuple[int, int]]] = {}
    left = []
    for finding in findings:
        key = (finding.entity_type, band_of(finding.score))
        if key not in spans:
            spans[key] = _merged((s.start, s.end) for s in excepted if _excepts(s.kept, *key))
        pieces = [
            (low, high)
            for low, high in _outside(finding.start, finding.end, spans[key])
            if _word_in(text, low, high)
        ]
        if pieces and _stops(finding):
            raise TripwireError
        left += [replace(finding, start=low, end=high) for low, high in pieces]
    return tuple(left)


def _excepts(kept: tuple[str, Band] | None, entity_type: str, band: Band) -> bool:
    return kept is None or (kept[0] == entity_type and band <= kept[1])


def _stops(finding: Finding) -> bool:
    return finding.entity_type == "SECRET" or finding.source.endswith(CHECKSUM_MARK)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that overlap as one, sorted."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _outside(start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Split ``start:end`` into the parts that no span covers; their starts and ends ascend."""
    for index in range(bisect_right(spans, start, key=itemgetter(1)), len(spans)):
        low, high = spans[index]
        if low >= end:
            break
        if low > start:
            yield start, low
        start = max(start, high)
    if start < end:
        yield start, end


def _word_in(text: str, start: int, end: int) -> bool:
    return any(character.isalnum() for character in text[start:end])
