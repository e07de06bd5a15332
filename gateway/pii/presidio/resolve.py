"""From candidates that overlap to findings that do not."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from gateway.domain import Finding
from gateway.pii.port import DENIED, MODEL
from gateway.pii.recognizers.folding import Folded
from gateway.pii.recognizers.load import Candidate
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK, WEAK

UNKNOWN_NUMBER = "ID_NUMBER"
NUMBERS = frozenset(
    {"PHONE_NUMBER", "US_SSN", "MEDICAL_RECORD", "HEALTH_PLAN", "ACCOUNT_NUMBER", "CREDIT_CARD"}
    | {"IBAN_CODE", "LICENSE", "VEHICLE_ID", "DEVICE_ID", "BIOMETRIC", "NATIONAL_ID", "TAX_ID"}
    | {"PASSPORT", "CASE_NUMBER", "ZIP_CODE"}
)
"""The kinds that a number may turn out to be of which the model sees only that it identifies."""

SMALL_WORDS = frozenset(
    [
        *("a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to"),
        *("de", "del", "du", "des", "el", "en", "et", "la", "las", "le", "les", "los", "y"),
        *("der", "die", "im", "und", "von"),
    ]
)
"""What is left between findings of a value in several parts and says nothing by itself."""

_MOST_KINDS = 8  # that are looked at for one number

_WORD = re.compile(r"[^\W_]+")
_EDGE = b" \t\r\n,;:\"'[]{}<>"


class _Piece(NamedTuple):
    """A candidate, its edges trimmed; in bytes of the folded text."""

    start: int
    end: int
    entity_type: str
    score: float
    source: str


def resolve(candidates: Iterable[Candidate], folded: Folded, data: bytes) -> tuple[Finding, ...]:
    """Return findings in characters of the original text, sorted, without overlaps.

    Candidates of one type that overlap are one; a number that only the model saw takes the type
    that a rule gives to a part of it. Then the longest wins, then the higher score, then the type,
    then the source (all ties are broken, so the order of recognizers does not matter). What a loser
    covers beyond the winners stays a finding of the loser's type: no letter of a value that
    anything found is left, small words in lower case apart ("de", "of"). Weak types take only what
    no strong type covers; what a deny list of the site names comes before all others.
    """
    trimmed = sorted({_trimmed(c, data) for c in candidates})
    ordered = sorted(
        _typed(_joined([piece for piece in trimmed if piece.start < piece.end])),
        key=lambda p: (
            not p.source.startswith(DENIED),
            p.entity_type in WEAK,
            p.start - p.end,
            -p.score,
            p.entity_type,
            p.source,
        ),
    )
    taken = bytearray(len(data))
    pieces: list[_Piece] = []
    for piece in ordered:
        for low, high in _free(taken, piece.start, piece.end):
            low_, high_ = _strip(data, low, high)
            if (low, high) != (piece.start, piece.end) and not _has_word(data, low_, high_):
                continue
            if low_ < high_:
                taken[low_:high_] = b"\x01" * (high_ - low_)
                pieces.append(piece._replace(start=low_, end=high_))
    return _findings(sorted(pieces), folded, data)


def _joined(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Make one of what overlaps within a type; ``pieces`` are sorted.

    Recognizers err apart: the chance that both are wrong is the product of the chances.
    """
    open_: dict[str, _Piece] = {}
    done = []
    for piece in pieces:
        last = open_.get(piece.entity_type)
        if last is not None and piece.start < last.end:
            open_[piece.entity_type] = _union(last, piece)
        else:
            if last is not None:
                done.append(last)
            open_[piece.entity_type] = piece
    return done + list(open_.values())


def _union(one: _Piece, other: _Piece) -> _Piece:
    # A rule says why; the model is named only where nothing but the model found it. Numbers of no
    # known kind apart: ``_typed`` has yet to ask whether the model saw them.
    explained = one.entity_type != UNKNOWN_NUMBER
    source = max((explained and p.source != MODEL, p.score, p.source) for p in (one, other))[2]
    marked = next((p.source for p in (one, other) if p.source.endswith(CHECKSUM_MARK)), source)
    marked = next((p.source for p in (one, other) if p.source.startswith(DENIED)), marked)
    return _Piece(
        min(one.start, other.start),
        max(one.end, other.end),
        one.entity_type,
        1 - (1 - one.score) * (1 - other.score) if one.source != other.source else one.score,
        marked,
    )


def _typed(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Give a number of no known kind the kind that rules give to it, or to its one part."""
    kinds: list[_Piece] = []
    unknown: list[_Piece] = []
    result: list[_Piece] = []
    for piece in sorted(pieces):
        if piece.entity_type in NUMBERS:
            kinds.append(piece)
        elif piece.entity_type == UNKNOWN_NUMBER and piece.source == MODEL:
            unknown.append(piece)
        else:
            result.append(piece)
    starts = [kind.start for kind in kinds]
    reach = list(accumulate((kind.end for kind in kinds), max))  # how far the kinds so far go
    for piece in unknown:
        stop = bisect_left(starts, piece.end)
        within = list(islice(_within(piece, kinds, stop, reach), _MOST_KINDS))
        # Of several kinds that say so of all of it, the surest; of several parts, none.
        whole = [i for i in within if (kinds[i].start, kinds[i].end) == (piece.start, piece.end)]
        if len(within) == 1 or whole:
            chosen = max(whole or within, key=lambda i: (kinds[i].score, kinds[i].entity_type))
            kinds[chosen] = _union(kinds[chosen], piece)
        else:
            result.append(piece)
    return result + kinds


def _within(
    piece: _Piece, kinds: Sequence[_Piece], stop: int, reach: Sequence[int]
) -> Iterator[int]:
    """Indices below ``stop`` of the kinds that overlap ``piece``, the last one first."""
    while stop and reach[stop - 1] > piece.start:
        stop -= 1
        if kinds[stop].end > piece.start:
            yield stop


def _trimmed(candidate: Candidate, data: bytes) -> _Piece:
    start, end = _strip(data, candidate.start, candidate.end)
    if candidate.entity_type != "PERSON":  # a name may end with an initial
        end -= len(data[start:end]) - len(data[start:end].rstrip(b"."))
    return _Piece(start, end, candidate.entity_type, candidate.score, candidate.source)


def _strip(data: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and data[start] in _EDGE:
        start += 1
    while end > start and data[end - 1] in _EDGE:
        end -= 1
    return start, end


def _free(taken: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """Split ``start:end`` into the runs that nothing has taken."""
    runs = []
    while start < end:
        wall = taken.find(1, start, end)
        if wall != start:
            runs.append((start, end if wall < 0 else wall))
        if wall < 0:
            break
        start = taken.find(0, wall, end)
        if start < 0:
            break
    return runs


def _has_word(data: bytes, start: int, end: int) -> bool:
    """Whether anything there says something: a letter or digit outside small words."""
    rest = data[start:end].decode()
    return any(word not in SMALL_WORDS for word in _WORD.findall(rest))


def _findings(pieces: Sequence[_Piece], folded: Folded, data: bytes) -> tuple[Finding, ...]:
    """Turn byte offsets of the folded text into character offsets of the original."""
    findings = []
    byte = character = 0
    ascii_only = len(data) == len(folded.text)

    def at(offset: int) -> int:
        nonlocal byte, character
        if ascii_only:
            return offset
        character += len(data[byte:offset].decode())
        byte = offset
        return character

    for start, end, entity_type, score, source in pieces:
        low = at(start)
        low, high = folded.original(low, at(end))
        findings.append(Finding(entity_type, low, high, score, source))
    return tuple(findings)
