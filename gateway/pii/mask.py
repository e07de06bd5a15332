"""Text with placeholders, and the mapping that leads back.

Pure: segments, findings and rulings in, masked texts and a mapping out. It keeps, for any prompt:

- Numbers and types are fixed by the first turn whose own detection reveals a value. Turns are
  worked through in order and the registry only grows, by what the turns so far reveal; an earlier
  text in which a later turn's value stands is masked again when that turn is reached. So
  ``mapping(M)`` is a part of ``mapping(M + N)``, with no state between requests.
- Where policy is stricter with what a later turn reveals, the values of earlier turns are masked
  from that turn on (``earlier``), so this changes no number either.
- No letter or digit of a finding stays, unless its ruling keeps it. Spans that overlap become one
  span, under the strictest of their operators and the type of the longest.
- In the masked text restore accepts exactly the placeholders that mask wrote. What else it would
  accept, also where text and placeholder touch, is itself a value, of type LITERAL.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby

from gateway.domain import Band, Finding, Operator, Ruling, band_of
from gateway.errors import UnmaskableError
from gateway.pii import forms, placeholders
from gateway.pii.generalize import GENERALIZERS
from gateway.pii.known import Known, Scanned
from gateway.pii.placeholders import LITERAL, REDACTED
from gateway.pii.registry import Entry, Registry
from gateway.pii.segments import Kind, Segment
from gateway.pii.views import spoken, view


@dataclass(frozen=True, slots=True)
class Replacement:
    """``text`` goes in the place of ``segment.text[start:end]``."""

    start: int
    end: int
    text: str = field(repr=False)
    entity_type: str
    operator: Operator
    score: float


Apply = Callable[[str, Sequence[Replacement]], str]
"""Writes replacements (sorted, disjoint) into a text. ``presidio/operators.py`` is one."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a placeholder stands for. ``restore``: this role may see it again.

    ``number``: it stood as a number in JSON and becomes one again.
    """

    text: str = field(repr=False)
    entity_type: str
    restore: bool
    number: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """``kept``: what a ruling kept there, by type and band; None for what mask wrote."""

    start: int
    end: int
    kept: tuple[str, Band] | None = None


Rulings = Sequence[Sequence[Ruling]]
"""``rulings[i][j]`` is for the j-th finding of the i-th segment."""


@dataclass(frozen=True, slots=True)
class Masked:
    """``texts[i]``, ``replacements[i]`` and ``excepted[i]`` belong to the i-th segment.

    ``excepted`` are the spans of the masked text that the tripwire must not read: what mask wrote
    and what a ruling kept. ``counts`` are replaced spans by entity type.
    """

    texts: tuple[str, ...] = field(repr=False)
    mapping: Mapping[str, Value] = field(repr=False)
    replacements: tuple[tuple[Replacement, ...], ...] = field(repr=False)
    excepted: tuple[tuple[Span, ...], ...]
    counts: Mapping[str, int]
    sought: frozenset[str] = field(repr=False)

    def normalised_values(self) -> frozenset[str]:
        """Normal forms that must not be ``forms.visible`` in masked text outside ``excepted``.

        They are of every value that detection revealed and no ruling kept, also of those that were
        redacted, but for values too short to say anything (``forms.searchable``).
        """
        return self.sought

    def source_span(self, segment: int, start: int, end: int) -> Span:
        """The span of the original text behind ``texts[segment][start:end]``.

        A span that touches a replacement covers all that it replaced. With it, what a second
        pass of detection finds in masked text becomes a finding in the original.
        """
        return _source_span(self.replacements[segment], start, end)


def splice(text: str, replacements: Sequence[Replacement]) -> str:
    """Write replacements (sorted by start, disjoint) into a text."""
    out, position = [], 0
    for replacement in replacements:
        out += [text[position : replacement.start], replacement.text]
        position = replacement.end
    return "".join(out) + text[position:]


def mask(  # noqa: PLR0913 - the last four by keyword
    segments: Sequence[Segment],
    findings: Sequence[Sequence[Finding]],
    rulings: Rulings,
    *,
    today: date,
    apply: Apply = splice,
    earlier: Sequence[tuple[int, Rulings]] = (),
    memory: Memory | None = None,
) -> Masked:
    """Mask the segments. ``rulings[i][j]`` is for ``findings[i][j]``, as ``locate`` returned them.

    ``earlier`` tells which rulings held while the conversation was shorter: those of a pair
    ``(turn, rulings)`` before that turn came, in ascending order. Each MUST be nowhere stricter
    than the next. ``today`` decides which years imply an age over 89. Rulings that block are the
    caller's: a request with one never comes here. With a ``memory``, what was masked with it
    before is known here and keeps its numbers.

    Raises:
        UnmaskableError: a finding, a known value or text like a placeholder lies in a segment
            that cannot carry a placeholder (``Kind.NAME``).
        ValueError: a ruling blocks, or the inputs are not aligned.
    """
    masker = _Masker(today, memory or Memory())
    texts = [_Text(segment, found) for segment, found in zip(segments, findings, strict=True)]
    by_turn = sorted(texts, key=lambda text: text.segment.turn)  # stable: path order within a turn
    stages = [*earlier, (math.inf, rulings)]
    in_force: Rulings | None = None
    for number, turn in groupby(by_turn, key=lambda text: text.segment.turn):
        stages = [stage for stage in stages if number < stage[0]]
        if stages[0][1] is not in_force:
            in_force = stages[0][1]
            for text, ruled in zip(texts, in_force, strict=True):
                text.rule(ruled)
        masker.take(list(turn))
    written = [text.written for text in texts]
    return Masked(
        texts=tuple(
            apply(t.segment.text, t.written) if t.written else t.segment.text for t in texts
        ),
        mapping=masker.mapping(),
        replacements=tuple(tuple(w) for w in written),
        excepted=tuple(tuple(_excepted(text)) for text in texts),
        counts=Counter(r.entity_type for w in written for r in w if r.entity_type != LITERAL),
        sought=masker.sought(),
    )


# --- how it works --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mark:
    """A span to be masked, and how.

    ``rank`` is the order in which its value became known; ``value``, where a known value was found
    here, is that value (the text here can be another form of it).
    """

    start: int
    end: int
    entity_type: str
    operator: Operator
    restore: bool
    score: float
    rank: int
    value: str | None = field(repr=False, default=None)


@dataclass(slots=True)
class _Trait:
    """What is known of a value by now: its first type, the strictest of its rulings."""

    entity_type: str
    operator: Operator
    restore: bool
    score: float
    rank: int


class _Text:
    """One segment at work."""

    def __init__(self, segment: Segment, findings: Sequence[Finding]) -> None:
        if not all(0 <= each.start < each.end <= len(segment.text) for each in findings):
            raise ValueError("a finding lies outside its text")
        self.segment = segment
        self.scanned = Scanned.of(segment.text, view(segment.text))
        self.findings = findings
        self.rulings: Sequence[Ruling] | None = None
        self.own: list[tuple[Finding, Ruling]] = []
        self.kept: list[Finding] = []
        self.renewed = False
        self.literals = [
            _literal(found.start, found.end) for found in placeholders.find(segment.text)
        ]
        self.written: list[Replacement] = []

    def rule(self, rulings: Sequence[Ruling]) -> None:
        """Let these rulings hold; ``renewed`` where they are others than before."""
        if rulings == self.rulings:
            return
        self.own, self.kept = [], []
        for finding, ruling in zip(self.findings, rulings, strict=True):
            if ruling.operator is Operator.BLOCK:
                raise ValueError("a ruling that blocks ends the request before masking")
            if ruling.operator is Operator.KEEP:
                self.kept.append(finding)
            else:
                self.own.append((finding, ruling))
        self.rulings, self.renewed = rulings, True


class Memory:
    """What the parts of one long text learn from each other: values, their numbers and forms.

    Only ever grows, and holds text: it lives no longer than the run it is of.
    """

    def __init__(self) -> None:
        self.registry = Registry()
        self.known = Known()
        self.traits: dict[str, _Trait] = {}
        self.sought: set[str] = set()


class _Masker:
    def __init__(self, today: date, memory: Memory) -> None:
        self._today = today
        self._registry = memory.registry
        self._known = memory.known
        self._traits = memory.traits
        self._sought = memory.sought
        self._done: list[_Text] = []

    def mapping(self) -> dict[str, Value]:
        return {
            entry.placeholder: Value(
                entry.text, entry.entity_type, self._restorable(entry), entry.number
            )
            for entry in self._registry.entries.values()
        }

    def sought(self) -> frozenset[str]:
        return frozenset(self._sought)

    def _restorable(self, entry: Entry) -> bool:
        """A later turn can forbid what an earlier one allowed; the entry stays, closed."""
        trait = self._traits.get(entry.text)
        if trait is None or entry.entity_type == LITERAL:
            return entry.restore
        return entry.restore and trait.restore and trait.operator <= Operator.PSEUDONYM

    def take(self, turn: list[_Text]) -> None:
        """Learn what this turn reveals, mask it, then mask again where that stood earlier.

        To what it reveals belongs what the rulings that came with it no longer keep.
        """
        news = Known()
        renewed = [text for text in self._done if text.renewed]
        for text in (*renewed, *turn):
            for finding, ruling in text.own:
                self._learn(text.segment.text[finding.start : finding.end], finding, ruling, news)
        for text in (*renewed, *turn):
            self._write(text)
        for text in self._done:
            if not text.renewed and news.may_stand_in(text.scanned):
                self._write(text)
        self._done += turn
        for text in self._done:
            text.renewed = False

    def _learn(self, value: str, finding: Finding, ruling: Ruling, news: Known) -> None:
        trait = self._traits.get(value)
        if trait is None:
            self._traits[value] = _Trait(
                finding.entity_type,
                ruling.operator,
                ruling.restore,
                finding.score,
                len(self._traits),
            )
            form = forms.searchable(spoken(value))
            if form is not None:
                self._sought.add(form)
        elif ruling.operator > trait.operator or (trait.restore and not ruling.restore):
            trait.operator = max(trait.operator, ruling.operator)
            trait.restore = trait.restore and ruling.restore
        else:
            return
        scanned = Scanned.of(value, view(value))
        self._known.add(value, scanned, finding.entity_type)
        news.add(value, scanned, finding.entity_type)

    def _write(self, text: _Text) -> None:
        """Decide the replacements of one text, given all that is known by now."""
        source = text.segment.text
        marks = self._marks(text)
        if text.segment.kind is Kind.NAME:
            if marks:
                raise UnmaskableError(param=text.segment.path)
            return
        while True:
            clusters = _clusters(marks)
            written = [self._replacement(text.segment, cluster) for cluster in clusters]
            strays = list(_strays(source, written))
            if not strays:
                break
            marks += strays
        text.written = written

    def _marks(self, text: _Text) -> list[_Mark]:
        source = text.segment.text
        marks = list(text.literals)
        for finding, _ in text.own:
            trait = self._traits[source[finding.start : finding.end]]
            marks.append(_mark(finding.start, finding.end, trait))
        for start, end, value in self._known.places(text.scanned):
            trait = self._traits.get(source[start:end], self._traits[value])
            marks.append(_mark(start, end, trait, value))
        if marks and text.segment.kind is Kind.JSON_NUMBER:
            marks = [replace(mark, start=0, end=len(source)) for mark in marks]
        return marks

    def _replacement(self, segment: Segment, cluster: list[_Mark]) -> Replacement:
        start = min(mark.start for mark in cluster)
        end = max(mark.end for mark in cluster)
        source = segment.text[start:end]
        entity_type = _type(cluster)
        operator = max(mark.operator for mark in cluster)
        if operator is Operator.GENERALIZE:
            text = self._generalize(source, cluster)
        elif operator is Operator.REDACT:
            text = REDACTED
        else:  # surrogates are not built yet; a pseudonym tells the model less, never more
            text = self._entry(segment, source, entity_type, cluster).placeholder
            operator = Operator.PSEUDONYM
        score = max(mark.score for mark in cluster)
        return Replacement(start, end, text, entity_type, operator, score)

    def _generalize(self, source: str, cluster: list[_Mark]) -> str:
        types = {mark.entity_type for mark in cluster}
        generalizer = GENERALIZERS.get(types.pop()) if len(types) == 1 else None
        text = None if generalizer is None else generalizer(source, self._today)
        return REDACTED if text is None else text

    def _entry(
        self, segment: Segment, source: str, entity_type: str, cluster: list[_Mark]
    ) -> Entry:
        """The entry of what a cluster covers: a known value, a form of one, or a new one."""
        trait = self._traits.get(source)
        if trait is not None and entity_type != LITERAL:
            entity_type, form_of = trait.entity_type, None
        else:
            whole = [m for m in cluster if m.value and m.end - m.start == len(source)]
            form_of = min(whole, key=lambda m: m.rank).value if whole else None
        number = segment.kind is Kind.JSON_NUMBER
        entry = self._registry.entry(source, entity_type, number=number, form_of=form_of)
        entry.restore = entry.restore and all(mark.restore for mark in cluster)
        return entry


def _literal(start: int, end: int) -> _Mark:
    return _Mark(start, end, LITERAL, Operator.PSEUDONYM, restore=True, score=1.0, rank=-1)


def _mark(start: int, end: int, trait: _Trait, value: str | None = None) -> _Mark:
    return _Mark(
        start, end, trait.entity_type, trait.operator, trait.restore, trait.score, trait.rank, value
    )


def _clusters(marks: Iterable[_Mark]) -> list[list[_Mark]]:
    """Marks that overlap, directly or through others, together; in the order of the text."""
    clusters: list[list[_Mark]] = []
    end = 0
    for mark in sorted(marks, key=lambda m: (m.start, -m.end, m.rank)):
        if clusters and mark.start < end:
            clusters[-1].append(mark)
        else:
            clusters.append([mark])
        end = max(end, mark.end) if mark.start < end else mark.end
    return clusters


def _type(cluster: list[_Mark]) -> str:
    """The type of the longest mark, the earliest known of equals; LITERAL where all are.

    What LITERAL stands for is never more than text that the user wrote like a placeholder.
    """
    personal = [mark for mark in cluster if mark.entity_type != LITERAL]
    first = min(personal or cluster, key=lambda m: (m.start - m.end, m.rank))
    return first.entity_type


def _strays(source: str, written: Sequence[Replacement]) -> Iterable[_Mark]:
    """What restore would accept in the masked text though mask did not write it.

    It arises where text and replacement touch: ``<PERSON_`` before a year, a backslash before a
    placeholder. The source of all of it becomes one LITERAL.
    """
    if not written:
        return
    ours = set()
    shift = 0
    for replacement in written:
        start = replacement.start + shift
        ours.add((start, start + len(replacement.text)))
        shift += len(replacement.text) - (replacement.end - replacement.start)
    for found in placeholders.find(splice(source, written)):
        if (found.start, found.end) not in ours:
            span = _source_span(written, found.start, found.end)
            yield _literal(span.start, span.end)


def _source_span(written: Sequence[Replacement], start: int, end: int) -> Span:
    first, last = None, None
    shift = 0  # masked offset - source offset, after the replacements so far
    for replacement in written:
        begin = replacement.start + shift
        stop = begin + len(replacement.text)
        if first is None and start < stop:
            first = replacement.start if start >= begin else start - shift
        if last is None and end <= begin:
            last = end - shift
        elif last is None and end <= stop:
            last = replacement.end
        shift += len(replacement.text) - (replacement.end - replacement.start)
    return Span(start - shift if first is None else first, end - shift if last is None else last)


def _excepted(text: _Text) -> Iterable[Span]:
    """Written and kept spans, as spans of the masked text."""
    shifts, starts, spans = [0], [], []
    for replacement in text.written:
        start = replacement.start + shifts[-1]
        spans.append(Span(start, start + len(replacement.text)))
        starts.append(replacement.start)
        shifts.append(shifts[-1] + len(replacement.text) - (replacement.end - replacement.start))

    def masked(offset: int, *, end: bool) -> int:
        index = bisect_right(starts, offset - 1 if end else offset)
        if index and offset < text.written[index - 1].end:  # inside a replacement
            return spans[index - 1].end if end else spans[index - 1].start
        return offset + shifts[index]

    for kept in text.kept:
        start, end = masked(kept.start, end=False), masked(kept.end, end=True)
        spans.append(Span(start, end, (kept.entity_type, band_of(kept.score))))
    return sorted(spans, key=lambda span: (span.start, span.end))
