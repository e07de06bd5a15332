"""Values that are split over strings: half a number here, the rest in the next message or field.

A string is searched by itself. ``123-45-`` at the end of one and ``6789`` at the start of the next
say nothing alone, and neither does ``4471902`` after somebody has asked for the MRN. So where a
number begins a string, the end of what came before is searched together with it. Numbers stand
side by side everywhere, so not all that is found there counts:

- a value over several strings, where a checksum holds or a sign joins the pieces (``123-45-``);
- a value in the later of two messages that is nearly all that this message says: an answer.

Pieces of one turn are all found. Of an earlier turn the piece is left: its text went out before,
and what a turn reveals must not renumber the turns before it (DESIGN §4, promise 4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from gateway.domain import Finding
from gateway.pii.port import MODEL
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK, WEAK
from gateway.pii.segment import SETUP_TURN, Kind, Segment

REACH = 64
"""Characters of a string that are searched with those of another."""

MOST = 8
"""Strings that are searched as one."""

ANSWER = 0.75
"""The share of a message's letters and digits that a value has to be for an answer."""

SURE, LEAST_DIGITS = 0.6, 3
"""What the model alone finds counts from this probability and this many digits on."""

UNKNOWN_NUMBER = "ID_NUMBER"

_VALUES = frozenset({Kind.TEXT, Kind.JSON_STRING})
_UNSEEN = "\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff"
# What may stand before the number of an answer: blanks, signs, a few short words ("It's").
_BEGINS = re.compile(
    rf"""[\s{_UNSEEN}"'*_\[#`>]{{0,12}}(?:[A-Za-z']{{1,8}},? ){{0,3}}["'*`]{{0,3}}"""
    rf"""(?P<number>[-(+]?[A-Za-z]{{0,3}}[-.#/ ]?\d)"""
)
_SOMETHING = re.compile(rf"[^\s{_UNSEEN}]")
_ESCAPE = re.compile(r"[\\&%]")
_REST = re.compile(r"[^\s\"'<>()\[\]{},;]*")
_AMOUNT = re.compile(r"[$€£]?\d{1,3}(?:,\d{3})*\.\d\d")
_GLUE = "-./_@"
_ASKED = str.maketrans("?", ":")  # "MRN?" is answered as "MRN:" is
_LONGEST_REST = 512


@dataclass(frozen=True, slots=True)
class _Part:
    """``text[start:end]`` of a joint stands in segment ``index`` from ``offset`` on."""

    index: int
    start: int
    end: int
    offset: int
    glued: bool  # no blank was put before it


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
        if s.kind in _VALUES
        and s.turn != SETUP_TURN
        and s.forced is None
        and _SOMETHING.search(s.text)
    ]
    found, chain = [], values[:1]
    for index, following in zip(values[1:], [*values[2:], None], strict=False):
        chain = [*chain, index] if _BEGINS.match(segments[index].text) else [index]
        ends = (
            following is None
            or segments[following].turn != segments[index].turn
            or not _BEGINS.match(segments[following].text)
        )
        if len(chain) > 1 and (ends or len(chain) == MOST):
            found.append(_joint(segments, chain))
            chain = chain[-MOST // 2 :]
    return found


def _joint(segments: Sequence[Segment], indices: Sequence[int]) -> Joint:
    text, parts = "", []
    for number, index in enumerate(indices):
        whole = segments[index].text
        if number == 0:
            offset = max(0, len(whole) - REACH)
            escapes = [m.end() for m in _ESCAPE.finditer(whole, offset)]
            offset = escapes[-1] if escapes else offset
            piece = whole[offset:].translate(_ASKED)
        else:
            begins = _BEGINS.match(whole)
            offset = begins.start("number") if begins else 0
            escape = _ESCAPE.search(whole, offset, offset + REACH)
            piece = whole[offset : escape.start() if escape else offset + REACH]
        glued = bool(text) and (text[-1] in _GLUE or piece[:1] in _GLUE)
        if text and not glued:
            text += " "
        parts.append(_Part(index, len(text), len(text) + len(piece), offset, glued))
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
            if not any(_says_more(own, piece) for own in findings[index]):
                more.setdefault(index, []).append(piece)
    return tuple(_with(own, more.get(i, ())) for i, own in enumerate(findings))


def _with(own: Sequence[Finding], more: Sequence[Finding]) -> tuple[Finding, ...]:
    """All of them; but a number of no known kind gives way to what a question made of it."""
    left = [
        f
        for f in own
        if f.entity_type != UNKNOWN_NUMBER
        or not any(p.start <= f.start and f.end <= p.end for p in more)
    ]
    return tuple(sorted((*left, *more), key=lambda f: (f.start, -f.end, f.entity_type)))


def _says_more(own: Finding, piece: Finding) -> bool:
    """Whether the string by itself says the same: then the joint adds nothing."""
    covers = own.start <= piece.start and piece.end <= own.end
    return covers and own.entity_type == piece.entity_type


def _pieces(
    segments: Sequence[Segment], joint: Joint, found: Sequence[Finding]
) -> Iterator[tuple[int, Finding]]:
    turn = segments[joint.parts[-1].index].turn
    for finding in found:
        touched = [p for p in joint.parts if p.start < finding.end and finding.start < p.end]
        if finding.entity_type in WEAK or touched == [joint.parts[0]]:
            continue  # it was there to be found by itself
        accepted = _split(finding, touched)
        if not accepted and _answers(segments, finding, touched, joint):
            accepted = touched
        for part in accepted:
            text = segments[part.index].text
            start = max(finding.start, part.start) - part.start + part.offset
            end = min(finding.end, part.end) - part.start + part.offset
            if part.start + len(text) - part.offset > part.end and finding.end >= part.end:
                end += len(_REST.match(text, end, end + _LONGEST_REST)[0])  # type: ignore[index]
            if segments[part.index].turn == turn and any(c.isalnum() for c in text[start:end]):
                yield part.index, replace(finding, start=start, end=end)


def _split(finding: Finding, touched: Sequence[_Part]) -> Sequence[_Part]:
    """The parts that are pieces of one value, and not numbers that stand side by side."""
    if len(touched) == 1 or finding.source == MODEL:
        return ()
    if finding.source.endswith(CHECKSUM_MARK):
        return touched
    return [
        part
        for part, following in zip(touched, [*touched[1:], None], strict=True)
        if (part.glued and part is not touched[0]) or (following is not None and following.glued)
    ]


def _answers(
    segments: Sequence[Segment], finding: Finding, touched: Sequence[_Part], joint: Joint
) -> bool:
    """Whether it is what a message says to the one before."""
    part = touched[0]
    segment = segments[part.index]
    if len(touched) > 1 or segment.kind is not Kind.TEXT:
        return False
    before = segments[joint.parts[joint.parts.index(part) - 1].index]
    if before.turn == segment.turn:
        return False
    said = joint.text[finding.start : finding.end]
    digits = sum(c.isdigit() for c in said)
    if _AMOUNT.fullmatch(said) or (
        finding.source == MODEL and (finding.score < SURE or digits < LEAST_DIGITS)
    ):
        return False
    letters = sum(c.isalnum() for c in segment.text[part.offset :])
    return sum(c.isalnum() for c in said) >= ANSWER * min(letters, REACH)
