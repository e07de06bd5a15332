"""What a review shows: the texts of a file in order, what is found in them, and why it is masked.

Each text is cut into runs. A run says what becomes of it and by which rule; the runs of a text
together are the text, so nothing can be left out of the view.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.domain import Citation, Finding, Operator, Ruling
from gateway.masking.blocks import Block
from gateway.protect import Protected

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A span that is masked, or that policy kept. ``number`` leads to its line in the list.

    ``source`` is empty where the value was found elsewhere and stands here again.
    """

    number: int
    entity_type: str
    operator: Operator
    score: float
    replacement: str = field(repr=False)
    source: str
    rules: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Run:
    text: str = field(repr=False)
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One text of the file, with the key, column or element that it stands under."""

    label: str | None = field(repr=False)
    runs: tuple[Run, ...]


def passages(block: Block, protected: Protected, first: int) -> Iterator[Passage]:
    """The texts of a block as runs; spans are numbered from ``first`` on."""
    if protected.masked is None:
        return
    ruled = list(zip(protected.findings, protected.decision.rulings, strict=True))
    position, number = 0, first
    for index, each in enumerate(block.fields):
        count = protected.counts[index]
        own = ruled[position : position + count]
        position += count
        runs = tuple(_runs(each.segment.text, index, protected, own, number))
        number += sum(run.found is not None for run in runs)
        yield Passage(each.segment.label, runs)


def visible(text: str) -> str:
    """The text with what would act on a terminal, or hide in a page, spelled out."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text.replace("\r\n", "\n"))


def _runs(
    text: str,
    index: int,
    protected: Protected,
    ruled: list[tuple[Finding, Ruling]],
    number: int,
) -> Iterator[Run]:
    spans = [
        (r.start, r.end, r.entity_type, r.operator, r.score, r.text)
        for r in protected.replacements[index]
    ]
    for finding, ruling in ruled:
        if ruling.operator is Operator.KEEP and not _overlaps(finding, spans):
            kept = (finding.entity_type, Operator.KEEP, finding.score, "")
            spans.append((finding.start, finding.end, *kept))
    position = 0
    for start, end, entity_type, operator, score, replacement in sorted(spans, key=lambda s: s[:2]):
        if start < position:  # a kept finding beside another one
            continue
        if start > position:
            yield Run(text[position:start])
        here = [(f, r) for f, r in ruled if f.start < end and start < f.end]
        rules = dict.fromkeys(c for _, ruling in here for c in ruling.citations)
        source = ", ".join(dict.fromkeys(f.source for f, _ in here))
        found = Found(number, entity_type, operator, score, replacement, source, tuple(rules))
        yield Run(text[start:end], found)
        number += 1
        position = end
    if position < len(text):
        yield Run(text[position:])


def _overlaps(finding: Finding, spans: list[tuple[int, int, str, Operator, float, str]]) -> bool:
    return any(start < finding.end and finding.start < end for start, end, *_ in spans)
