"""Disguises: what a text says to a reader who looks through them, with the way back.

``J o h n``, ``five five five``, ``doe (at) example (dot) com``, a Cyrillic letter in a Latin word,
``l23-4S-6789``, a number broken over two lines, a name cut by markup, base64: a model reads them
all. ``expand`` adds, per text, the *views* in which they are undone, cut to windows around what
changed; the detector (all of it) reads texts and views alike, and ``merge`` brings back what it
found there: only what touches an undone disguise, with offsets of the text as it was written.

Everything is bounded: windows are linear in the text, decoding has a depth, a size and a count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.domain import Finding
from gateway.pii.recognizers.decode import encoded_runs
from gateway.pii.recognizers.edits import Edit, find_edits
from gateway.pii.recognizers.folding import Folded, fold
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK, WEAK

WINDOW = 96  # characters beside a change that the detector sees
DEPTH = 2  # encodings within encodings
_DIRECT_SCORE = 0.6


@dataclass(frozen=True, slots=True)
class _View:
    """``text`` is what a window of text ``index`` says.

    ``spans[i]`` is where its i-th character comes from, ``changed[i]`` whether a disguise was
    undone there (2: only a checksum counts).
    """

    index: int
    text: str = field(repr=False)
    spans: tuple[tuple[int, int], ...] = field(repr=False)
    changed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expanded:
    """``texts`` to detect in: those given, then their views."""

    texts: tuple[str, ...] = field(repr=False)
    count: int
    views: tuple[_View, ...] = field(repr=False)
    direct: tuple[tuple[int, Finding], ...]

    def merge(self, found: Sequence[Sequence[Finding]]) -> list[tuple[Finding, ...]]:
        """Findings per given text from ``found``, the detector's answers to ``texts``."""
        merged = [tuple(findings) for findings in found[: self.count]]
        extra: dict[int, list[Finding]] = {}
        for view, findings in zip(self.views, found[self.count :], strict=True):
            for finding in findings:
                mapped = _map(view, finding)
                if mapped is not None:
                    extra.setdefault(view.index, []).append(mapped)
        for index, finding in self.direct:
            extra.setdefault(index, []).append(finding)
        for index, findings in extra.items():
            merged[index] = _combine(merged[index], findings, self.texts[index])
        return merged


def expand(texts: Sequence[str]) -> Expanded:
    """The texts and their views. Nothing is added for a text without disguises: nearly always."""
    views: list[_View] = []
    direct: list[tuple[int, Finding]] = []
    for index, text in enumerate(texts):
        _look(index, text, views, direct)
    return Expanded(
        (*texts, *(view.text for view in views)), len(texts), tuple(views), tuple(direct)
    )


def _look(index: int, text: str, views: list[_View], direct: list[tuple[int, Finding]]) -> None:
    folded = fold(text)
    edits = find_edits(folded.text)
    views += _windows(index, folded, edits)
    for edit in edits:
        if edit.entity_type:
            start, end = folded.original(edit.start, edit.end)
            found = Finding(edit.entity_type, start, end, _DIRECT_SCORE, f"disguise:{edit.kind}")
            direct.append((index, found))
    for start, end, plain in encoded_runs(folded.text):
        span = folded.original(start, end)
        for said in _decoded(plain, DEPTH):
            views.append(_View(index, said, (span,) * len(said), b"\1" * len(said)))


def _decoded(plain: str, depth: int) -> list[str]:
    """A decoded text, what it says without its own disguises, and what is encoded in it."""
    folded = fold(plain)
    said = [plain]
    if depth > 1:
        said += [view.text for view in _windows(0, folded, find_edits(folded.text))]
        for _, _, inner in encoded_runs(folded.text):
            said += _decoded(inner, depth - 1)
    return said


def _windows(index: int, folded: Folded, edits: Sequence[Edit]) -> list[_View]:
    """One view for each group of edits that stand close together."""
    views = []
    first = 0
    for number, edit in enumerate(edits):
        last = number + 1 == len(edits)
        if last or edits[number + 1].start - edit.end > 2 * WINDOW:
            views.append(_window(index, folded, edits[first : number + 1]))
            first = number + 1
    return views


def _window(index: int, folded: Folded, edits: Sequence[Edit]) -> _View:
    text = folded.text
    low, high = max(0, edits[0].start - WINDOW), min(len(text), edits[-1].end + WINDOW)
    out: list[str] = []
    spans: list[tuple[int, int]] = []
    changed = bytearray()

    def copy(start: int, end: int) -> None:
        out.append(text[start:end])
        spans.extend(folded.original(i, i + 1) for i in range(start, end))
        changed.extend(bytes(end - start))

    position = low
    for edit in edits:
        copy(position, edit.start)
        mark = 2 if edit.checksum_only else 1
        if edit.text:
            origin = folded.original(edit.start, edit.end)
            out.append(edit.text)
            if len(edit.text) == edit.end - edit.start:
                spans.extend(folded.original(i, i + 1) for i in range(edit.start, edit.end))
            else:
                spans.extend([origin] * len(edit.text))
            changed.extend([mark] * len(edit.text))
        elif changed:  # what was taken out stood between its neighbours
            changed[-1] = max(changed[-1], mark)
        position = edit.end
    copy(position, high)
    return _View(index, "".join(out), tuple(spans), bytes(changed))


def _map(view: _View, finding: Finding) -> Finding | None:
    marks = view.changed[finding.start : finding.end]
    if finding.entity_type in WEAK or not any(marks):
        return None
    if 1 not in marks and not finding.source.endswith(CHECKSUM_MARK):
        return None
    covered = view.spans[finding.start : finding.end]
    start, end = min(s for s, _ in covered), max(e for _, e in covered)
    return Finding(finding.entity_type, start, end, finding.score, finding.source)


def _combine(found: Sequence[Finding], extra: Sequence[Finding], text: str) -> tuple[Finding, ...]:
    """One finding for each group that overlaps, as its strongest says; nothing is uncovered."""
    combined: list[Finding] = []
    group: list[Finding] = []
    end = 0
    for one in sorted((*found, *extra), key=lambda f: (f.start, -f.end, f.entity_type, f.source)):
        if not re.search(r"\w", text[one.start : one.end]):
            continue
        if group and one.start >= end:
            combined.append(_strongest(group, end))
            group = []
        end = max(end, one.end) if group else one.end
        group.append(one)
    if group:
        combined.append(_strongest(group, end))
    return tuple(combined)


def _strongest(group: Sequence[Finding], end: int) -> Finding:
    best = max(
        group,
        key=lambda f: (
            f.entity_type not in WEAK,
            f.end - f.start,
            f.score,
            f.entity_type,
            f.source,
        ),
    )
    return replace(best, start=group[0].start, end=end)
