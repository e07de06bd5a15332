"""Values that are split over strings: half a number here, the rest in the next message or field.

A string is searched by itself. ``123-45-`` at the end of one and ``6789`` at the start of the next
say nothing alone, and neither does ``4471902`` after somebody has asked for the MRN. So where a
number begins a string, the end of what came before is searched together with it. What a rule finds
there counts, and what the model is sure of.

Pieces of one turn are all found. Of an earlier turn the piece is left: its text went out before,
and what a turn reveals must not renumber the turns before it (DESIGN §4, promise 4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from gateway.domain import Finding
from gateway.pii.port import MODEL
from gateway.pii.recognizers.vocabulary import WEAK
from gateway.pii.segment import SETUP_TURN, Kind, Segment
from gateway.pii.views import view

REACH = 64
"""Characters of a string that are searched with those of another."""

MOST = 8
"""Strings that are searched as one."""

SURE = 0.6
"""The probability from which on what the model alone finds counts."""

_VALUES = frozenset({Kind.TEXT, Kind.JSON_STRING})
_BEGINS = re.compile(r"[\s(+#]{0,3}[A-Za-z]{0,3}[-.#/ ]?\d")
_GLUE = "-./_@"
_ASKED = str.maketrans("?", ":")  # "MRN?" is answered as "MRN:" is


@dataclass(frozen=True, slots=True)
class _Part:
    """``text[start:end]`` of a joint stands in segment ``index`` from ``offset`` on."""

    index: int
    start: int
    end: int
    offset: int


@dataclass(frozen=True, slots=True)
class Joint:
    text: str = field(repr=False)
    parts: tuple[_Part, ...]


def joints(segments: Sequence[Segment]) -> list[Joint]:
    """The texts to search besides those of the segments; linear in them, mostly none.

    One for each turn in which a value may go on: what is found in a turn MUST NOT depend on what
    is said after it.
    """
    values = [
        i
        for i, s in enumerate(segments)
        if s.kind in _VALUES and s.turn != SETUP_TURN and s.text.strip()
    ]
    found, chain = [], values[:1]
    for index, following in zip(values[1:], [*values[2:], None], strict=False):
        chain = [*chain, index] if _continues(segments, index) else [index]
        ends = (
            following is None
            or segments[following].turn != segments[index].turn
            or not _continues(segments, following)
        )
        if len(chain) > 1 and (ends or len(chain) == MOST):
            found.append(_joint(segments, chain))
            chain = chain[-MOST // 2 :]
    return found


def _continues(segments: Sequence[Segment], index: int) -> bool:
    """Whether a number begins the string; where escapes stand in it, it is left alone."""
    text = segments[index].text
    return bool(_BEGINS.match(text)) and view(text[:REACH]) is None


def _joint(segments: Sequence[Segment], indices: Sequence[int]) -> Joint:
    text, parts = "", []
    for number, index in enumerate(indices):
        whole = segments[index].text
        piece, offset = whole[:REACH], 0
        if number == 0:
            offset = max(0, len(whole) - REACH)
            piece = whole[offset:].translate(_ASKED)
        if text and text[-1] not in _GLUE and piece[:1] not in _GLUE:
            text += " "
        parts.append(_Part(index, len(text), len(text) + len(piece), offset))
        text += piece
    return Joint(text, tuple(parts))


def add(
    segments: Sequence[Segment],
    findings: Sequence[Sequence[Finding]],
    joined: Sequence[Joint],
    answers: Sequence[Sequence[Finding]],
) -> tuple[tuple[Finding, ...], ...]:
    """``findings`` of the segments, and what the detector's ``answers`` to the joints add."""
    more: dict[int, list[Finding]] = {}
    for joint, found in zip(joined, answers, strict=True):
        for index, piece in _pieces(segments, joint, found):
            own = findings[index]
            if not any(f.start <= piece.start and piece.end <= f.end for f in own):
                more.setdefault(index, []).append(piece)
    return tuple(
        tuple(sorted((*own, *more.get(i, ())), key=lambda f: (f.start, -f.end, f.entity_type)))
        for i, own in enumerate(findings)
    )


def _pieces(
    segments: Sequence[Segment], joint: Joint, found: Sequence[Finding]
) -> Iterator[tuple[int, Finding]]:
    for finding in found:
        if finding.entity_type in WEAK or (finding.source == MODEL and finding.score < SURE):
            continue
        touched = [p for p in joint.parts if p.start < finding.end and finding.start < p.end]
        if touched == [joint.parts[0]]:
            continue  # it was there to be found by itself
        for part in touched:
            if segments[part.index].turn != segments[joint.parts[-1].index].turn:
                continue
            start = max(finding.start, part.start) - part.start + part.offset
            end = min(finding.end, part.end) - part.start + part.offset
            if any(c.isalnum() for c in segments[part.index].text[start:end]):
                yield part.index, replace(finding, start=start, end=end)
