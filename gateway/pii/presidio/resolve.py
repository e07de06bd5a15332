"""From candidates that overlap to findings that do not."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import Finding
from gateway.pii.recognizers.folding import Folded
from gateway.pii.recognizers.load import Candidate

_EDGE = b" \t\r\n,;:\"'[]{}<>"


def resolve(candidates: Sequence[Candidate], folded: Folded, data: bytes) -> tuple[Finding, ...]:
    """Return findings in characters of the original text, sorted, without overlaps.

    The longest candidate wins, then the higher score, then the type, then the source (all ties
    are broken, so the order of recognizers does not matter). What a loser covers beyond the
    winners stays a finding of the loser's type: no letter of a value that anything found is left.
    """
    ordered = sorted(
        {_trimmed(c, data) for c in candidates},
        key=lambda c: (c[0] - c[1], -c[3], c[2], c[4], c[0]),
    )
    taken = bytearray(len(data))
    pieces: list[tuple[int, int, str, float, str]] = []
    for start, end, entity_type, score, source in ordered:
        for low, high in _free(taken, start, end):
            low_, high_ = _strip(data, low, high)
            if (low, high) != (start, end) and not _has_word(data, low_, high_):
                continue
            if low_ < high_:
                taken[low_:high_] = b"\x01" * (high_ - low_)
                pieces.append((low_, high_, entity_type, score, source))
    return _findings(sorted(pieces), folded, data)


def _trimmed(candidate: Candidate, data: bytes) -> tuple[int, int, str, float, str]:
    start, end = _strip(data, candidate.start, candidate.end)
    if candidate.entity_type != "PERSON":  # a name may end with an initial
        end -= len(data[start:end]) - len(data[start:end].rstrip(b"."))
    return start, end, candidate.entity_type, candidate.score, candidate.source


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
    return any(b >= 0x80 or chr(b).isalnum() for b in data[start:end])  # noqa: PLR2004


def _findings(
    pieces: Sequence[tuple[int, int, str, float, str]], folded: Folded, data: bytes
) -> tuple[Finding, ...]:
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
