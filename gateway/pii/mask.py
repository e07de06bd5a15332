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
- In the masked text restore accepts exactly the placeholders and surrogates that mask wrote. What
  else it would accept, also where text and placeholder touch, is itself a value, of type LITERAL.
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
from gateway.pii.surrogates.dates import core_of
from gateway.pii.surrogates.issue import DATES, Surrogates
from gateway.pii.surrogates.lexicon import Lexicon
from gateway.pii.surrogates.names import Made
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
    """What a placeholder or a surrogate stands for. ``restore``: this role may see it again.

    ``number``: it stood as a number in JSON and becomes one again. ``surrogate_for``: of a
    surrogate or a part of one, the placeholder in whose place it stands. ``day_first``: of a date,
    how figures are read.
    """

    text: str = field(repr=False)
    entity_type: str
    restore: bool
    number: bool = False
    surrogate_for: str = ""
    day_first: bool = False


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

    Only ever grows, and holds text: it lives no longer than the run it is of. ``surrogates`` makes
    those of this text; without it placeholders take their place, and tell a model less.
    """

    def __init__(self, surrogates: Surrogates | None = None) -> None:
        self.surrogates = surrogates
        self.lexicon = Lexicon()
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
        self._surrogates = memory.surrogates
        self._lexicon = memory.lexicon
        self._done: list[_Text] = []

    def mapping(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for entry in self._registry.entries.values():
            restore = self._restorable(entry)
            if entry.spelled:
                found[entry.placeholder] = Value(
                    entry.text, entry.entity_type, restore, entry.number
                )
            if entry.made is not None:
                self._add_surrogate(found, entry, entry.made, restore=restore)
        return found

    def _add_surrogate(
        self, found: dict[str, Value], entry: Entry, made: Made, *, restore: bool
    ) -> None:
        """The surrogate of an entry, and its parts: closed where one of those they part is."""
        whole = (made.text, entry.text, entry.number)
        for key, text, number in (whole, *((*piece, False) for piece in made.pieces)):
            known = found.get(key)
            allowed = restore and (known is None or known.restore)
            if known is not None and key != made.text:
                found[key] = replace(known, restore=allowed)
            else:
                value = Value(text, entry.entity_type, allowed, number, entry.placeholder)
                found[key] = replace(value, day_first=made.day_first)

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
        accepted = len(self._lexicon)
        if self._surrogates is not None:
            for text in turn:
                self._surrogates.read(text.segment.text, text.scanned.at)
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
        if len(self._lexicon) > accepted:
            self._settle()
        for text in self._done:
            text.renewed = False

    def _settle(self) -> None:
        """Write again where text that was left reads like a surrogate that came after it."""
        for text in self._done:
            if text.segment.kind is not Kind.NAME and any(self._strays(text.segment, text.written)):
                self._write(text)

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
        marks = self._marks(text)
        if text.segment.kind is Kind.NAME:
            if marks:
                raise UnmaskableError(param=text.segment.path)
            return
        while True:
            clusters = _clusters(marks)
            written = [self._replacement(text.segment, cluster) for cluster in clusters]
            strays = list(self._strays(text.segment, written))
            if not strays:
                break
            marks += strays
        text.written = written

    def _strays(self, segment: Segment, written: Sequence[Replacement]) -> Iterable[_Mark]:
        """What restore would accept in the masked text though mask did not write it.

        It arises where text and replacement touch: ``<PERSON_`` before a year, a backslash before
        a placeholder; and where text reads like a surrogate. The source of all of it becomes one
        LITERAL. A surrogate that restore would not find where it stands becomes a placeholder.
        """
        if not written and not len(self._lexicon):
            return
        ours = _ours(written)
        masked = splice(segment.text, written)
        found = [(each.start, each.end) for each in placeholders.find(masked)] if written else []
        surrogates = {span for span, each in ours.items() if each.operator is Operator.SURROGATE}
        if len(self._lexicon):
            hits = [(hit.start, hit.end) for hit in self._lexicon.find(masked) if hit.key]
            for start, end in surrogates:
                inside = [hit for hit in hits if start <= hit[0] and hit[1] <= end]
                if not _accepted(ours[start, end], start, end, inside):
                    yield _literal(ours[start, end].start, ours[start, end].end)
            found += [
                (low, high)
                for low, high in hits
                if not any(start <= low and high <= end for start, end in surrogates)
            ]
        for start, end in found:
            if (start, end) not in ours:
                span = _source_span(written, start, end)
                yield _literal(span.start, span.end)

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
        else:
            entry = self._entry(segment, source, entity_type, cluster)
            surrogate = self._surrogate(entry) if operator is Operator.SURROGATE else None
            if surrogate is None:  # a placeholder tells the model less, never more
                entry.spelled = True
                operator = Operator.PSEUDONYM
            text = surrogate or entry.placeholder
        score = max(mark.score for mark in cluster)
        return Replacement(start, end, text, entity_type, operator, score)

    def _surrogate(self, entry: Entry) -> str | None:
        """The surrogate of an entry, from now on accepted by restore; None where none is made."""
        if self._surrogates is None:
            return None
        made = self._surrogates.made(entry.text, entry.entity_type, number=entry.number)
        if made is None:
            return None
        if entry.made is None:
            entry.made = made
            shifted = entry.entity_type == DATES
            self._lexicon.add(made.text, entry.text, shifted=shifted, day_first=made.day_first)
            for piece, text in made.pieces:
                self._lexicon.add(piece, text)
        return made.text

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


def _ours(written: Sequence[Replacement]) -> dict[tuple[int, int], Replacement]:
    """What mask wrote, by its place in the masked text."""
    found = {}
    shift = 0
    for replacement in written:
        start = replacement.start + shift
        found[start, start + len(replacement.text)] = replacement
        shift += len(replacement.text) - (replacement.end - replacement.start)
    return found


def _accepted(written: Replacement, start: int, end: int, hits: Sequence[tuple[int, int]]) -> bool:
    """Whether restore reads a surrogate as what it is: the whole of it, of a date the date."""
    if written.entity_type != DATES:
        return list(hits) == [(start, end)]
    core = core_of(written.text)
    return core is not None and list(hits) == [(start + core[0], start + core[1])]


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
