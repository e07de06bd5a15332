"""Steps 2 to 5 of a request: detect, decide, mask, tripwire. Synchronous; run it off the loop.

Nothing here waits or logs, and no text is kept from one request to the next. The result holds the
masked prompt and the mapping; the mapping lives as long as the request does and is never written
anywhere in the clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from gateway.domain import (
    Band,
    Category,
    Clock,
    Decision,
    Finding,
    Operator,
    Prompt,
    Ruling,
    band_of,
)
from gateway.errors import TripwireError
from gateway.pii import tripwire
from gateway.pii.cache import FindingsCache
from gateway.pii.categories import Categorizer
from gateway.pii.joints import add, joints
from gateway.pii.locate import Findings, changed_in, locate, queries
from gateway.pii.mask import Apply, Masked, Memory, Replacement, Span, Value, mask
from gateway.pii.port import MODEL, Changed, Detector
from gateway.pii.recognizers.vocabulary import WEAK
from gateway.pii.segments import Segment, collect, plain, rebuild
from gateway.pii.surrogates.draw import beginning, conversation_key
from gateway.pii.surrogates.issue import Surrogates

MASK_PASSES = 3
"""The first pass and, for what the tripwire finds in masked text, at most two more (DESIGN §1)."""

Decide = Callable[[Sequence[Finding], frozenset[Category]], Decision]
"""Policy for these findings: ``rulings[i]`` is for ``findings[i]``. With more findings it MUST be
nowhere less strict."""


@dataclass(frozen=True, slots=True)
class Protected:
    """What may go on. When ``decision.denied`` is not empty nothing may: ``masked`` is None.

    ``counts[i]`` of the findings, in their order, are in the i-th segment; those after them stand
    in masked text, and policy keeps them.
    """

    findings: tuple[Finding, ...]
    decision: Decision
    masked: Masked | None = field(default=None, repr=False)
    passes: int = 0
    categories: frozenset[Category] = frozenset()
    counts: tuple[int, ...] = ()

    @property
    def told(self) -> tuple[Finding, ...]:
        """What the readable part of a record counts: all but weak findings that were kept."""
        return tuple(
            finding
            for finding, ruling in zip(self.findings, self.decision.rulings, strict=True)
            if ruling.operator is not Operator.KEEP or finding.entity_type not in WEAK
        )

    @property
    def mapping(self) -> Mapping[str, Value]:
        return self.masked.mapping if self.masked else {}

    @property
    def replacements(self) -> tuple[tuple[Replacement, ...], ...]:
        return self.masked.replacements if self.masked else ()


class Protector:
    """Masks prompts and texts. Thread-safe where its detector is."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of it, the last two optional
        self,
        detector: Detector,
        apply: Apply,
        clock: Clock,
        categorizer: Categorizer,
        cache: FindingsCache | None = None,
        secret: bytes | None = None,
    ) -> None:
        """``secret``: random, of this process, for surrogates; without it there are none."""
        self._detector = detector
        self._apply = apply
        self._clock = clock
        self._categorizer = categorizer
        self._cache = cache
        self._secret = secret

    @property
    def detector_digest(self) -> str:
        return self._detector.digest

    @property
    def categories_digest(self) -> str:
        """SHA-256 (hex) of what tells the data categories of a request."""
        return self._categorizer.digest

    def flush(self) -> None:
        """Forget what was searched before: a policy was applied or a key revoked."""
        if self._cache is not None:
            self._cache.flush()

    def protect(
        self, prompt: Prompt, decide: Decide, scope: bytes | None = None
    ) -> tuple[Prompt, Protected]:
        """Mask every string of the prompt that would reach the model.

        The prompt that comes back is the masked one; where policy denies it is empty. With a
        ``scope``, texts that were searched within it before are not searched again.

        Raises:
            DetectorError: detection did not complete.
            TripwireError: personal data survived masking.
            RequestError: a finding stands where no placeholder can.
        """
        segments = collect(prompt)
        search = _Search(self._detector, self._cache, scope, joins=True)
        protected = self._protect(segments, decide, search, begun=beginning(prompt))
        if protected.masked is None:
            return Prompt(messages=()), protected
        return rebuild(prompt, protected.masked.texts), protected

    def search(self, texts: Sequence[str], language: str | None = None) -> list[Findings]:
        """What is found in each of these plain texts, for ``protect_text``.

        Raises:
            DetectorError: detection did not complete on one of them.
        """
        segments = [plain(text) for text in texts]
        answers = _Search(self._detector, language=language)(queries(segments))
        return [locate((s,), (a,)) for s, a in zip(segments, answers, strict=True)]

    def protect_text(
        self,
        text: str,
        decide: Decide,
        language: str | None = None,
        found: Findings | None = None,
    ) -> tuple[str, Protected]:
        """Mask one plain text; its replacements' offsets are those of ``text``.

        ``found``: what ``search`` said of it, where it was asked.

        Raises: as ``protect``.
        """
        search = _Search(self._detector, language=language, known=found)
        protected = self._protect((plain(text),), decide, search, begun=(text,))
        return (protected.masked.texts[0] if protected.masked else ""), protected

    def protect_segments(
        self,
        segments: Sequence[Segment],
        decide: Decide,
        language: str | None = None,
        memory: Memory | None = None,
    ) -> Protected:
        """Mask strings that belong together: the cells of a table, the values of a document.

        With a ``memory``, what was masked with it before is known here and keeps its numbers.

        Raises: as ``protect``.
        """
        search = _Search(self._detector, language=language)
        return self._protect(segments, decide, search, memory, [s.text for s in segments[:1]])

    def _protect(
        self,
        segments: Sequence[Segment],
        decide: Decide,
        search: _Search,
        memory: Memory | None = None,
        begun: Sequence[str] = (),
    ) -> Protected:
        today = self._clock().date()
        asked = queries(segments)
        categories = self._categorizer.categories(asked)
        findings = search.known or self._find(segments, asked, search)
        for done in range(1, MASK_PASSES + 1):
            flat = tuple(chain.from_iterable(findings))
            decision = decide(flat, categories)
            if decision.denied:
                return Protected(flat, decision, None, done, categories, _counts(findings))
            rulings = _aligned(findings, decision)
            earlier = _earlier(segments, findings, lambda some: decide(some, categories))
            wanted = _wants_surrogates([rulings, *(ruled for _, ruled in earlier)])
            key = self._key(search.scope, begun) if wanted else None
            masked = mask(
                segments,
                findings,
                rulings,
                today=today,
                apply=self._apply,
                earlier=earlier,
                memory=memory or Memory(Surrogates(key) if key else None),
            )
            more = self._look_again(segments, findings, masked, search)
            if not any(more):
                return Protected(flat, decision, masked, done, categories, _counts(findings))
            everything = (*flat, *chain.from_iterable(more))
            again = decide(everything, categories)
            if _all_kept(again, decision):
                counts = _counts(findings)
                return Protected(everything, again, masked, done, categories, counts)
            findings = _together(findings, masked, more)
        raise TripwireError

    def _key(self, scope: bytes | None, begun: Sequence[str]) -> bytes | None:
        """What the surrogates of this conversation are drawn from."""
        if self._secret is None:
            return None
        return conversation_key(self._secret, scope or b"", begun)

    def _find(self, segments: Sequence[Segment], asked: Sequence[str], search: _Search) -> Findings:
        """What is found in each segment, and in those that go on with a value of another."""
        joined = joints(segments) if search.joins else []
        answers = search([*asked, *(joint.text for joint in joined)])
        found = locate(segments, answers[: len(asked)])
        return add(segments, found, joined, answers[len(asked) :]) if joined else found

    def _look_again(
        self, segments: Sequence[Segment], before: Findings, masked: Masked, search: _Search
    ) -> Findings:
        """What the tripwire finds in the masked texts and may be masked.

        Raises:
            TripwireError: what it finds must not be there at all.
        """
        again = [replace(s, text=t) for s, t in zip(segments, masked.texts, strict=True)]
        other = [i for i, s in enumerate(segments) if s.text != masked.texts[i]]
        asked = [again[i] for i in other]
        changed = [changed_in(again[i], _written(masked.excepted[i])) for i in other]
        found = [_sure(f) for f in before]  # a text that is as it was says what it said
        answers = [_sure(f) for f in search(queries(asked), changed)]
        for i, located in zip(other, locate(asked, answers), strict=True):
            found[i] = located
        return tripwire.inspect(masked.texts, found, masked.excepted, masked.normalised_values())


@dataclass(frozen=True, slots=True)
class _Search:
    """Detection for one request: through the cache where the request has a scope.

    ``known``: what is found in its segments, where they were searched already. ``joins``: its
    strings are parts of one conversation, so that a value may be split over them.
    """

    detector: Detector
    cache: FindingsCache | None = None
    scope: bytes | None = None
    language: str | None = None
    known: Findings | None = None
    joins: bool = False

    def __call__(
        self, texts: Sequence[str], changed: Sequence[Changed | None] | None = None
    ) -> Sequence[tuple[Finding, ...]]:
        if self.cache is None or self.scope is None:
            return self.detector.detect(texts, self.language, changed)
        return self.cache.detect(texts, self.language, self.scope, changed)


def _written(excepted: Sequence[Span]) -> list[tuple[int, int]]:
    """Where mask wrote."""
    return sorted((span.start, span.end) for span in excepted if span.kept is None)


def _sure(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings but those of which the model is not sure: masked text is not what it learnt to read.

    What it saw with little certainty in the text as it was written is masked by now.
    """
    return tuple(f for f in findings if f.source != MODEL or band_of(f.score) is not Band.LOW)


def _all_kept(decision: Decision, before: Decision) -> bool:
    """Whether policy keeps what was found last, and rules on the rest as it did without it."""
    count = len(before.rulings)
    return (
        not decision.denied
        and decision.rulings[:count] == before.rulings
        and all(ruling.operator is Operator.KEEP for ruling in decision.rulings[count:])
    )


def _together(findings: Findings, masked: Masked, found: Findings) -> Findings:
    """The findings so far and those of the masked texts, as spans of the original ones."""
    joined = []
    for index, (before, after) in enumerate(zip(findings, found, strict=True)):
        spans = [masked.source_span(index, f.start, f.end) for f in after]
        moved = [replace(f, start=s.start, end=s.end) for f, s in zip(after, spans, strict=True)]
        joined.append(tuple(sorted((*before, *moved), key=lambda f: (f.start, f.end))))
    return tuple(joined)


def _wants_surrogates(stages: Iterable[Sequence[Sequence[Ruling]]]) -> bool:
    flat = chain.from_iterable(chain.from_iterable(stages))
    return any(ruling.operator is Operator.SURROGATE for ruling in flat)


def _counts(findings: Findings) -> tuple[int, ...]:
    return tuple(map(len, findings))


def _aligned(findings: Findings, decision: Decision) -> list[tuple[Ruling, ...]]:
    """The rulings by segment. Of a decision on a part of the findings, those there are."""
    rulings = iter(decision.rulings)
    return [tuple(islice(rulings, len(found))) for found in findings]


def _earlier(
    segments: Sequence[Segment], findings: Findings, decide: Callable[[Sequence[Finding]], Decision]
) -> list[tuple[int, list[tuple[Ruling, ...]]]]:
    """The rulings while the conversation was shorter, for ``mask``.

    Policy may be stricter with a value where another type was found too. So rulings can change
    with a turn that brings a type that was not there before, and nowhere else.
    """
    turns: dict[int, set[str]] = {}
    for segment, found in zip(segments, findings, strict=True):
        turns.setdefault(segment.turn, set()).update(finding.entity_type for finding in found)
    seen: set[str] = set()
    stages = []
    for turn in sorted(turns):
        if seen and not turns[turn] <= seen:
            stages.append((turn, _until(turn, segments, findings, decide)))
        seen |= turns[turn]
    return stages


def _until(
    turn: int,
    segments: Sequence[Segment],
    findings: Findings,
    decide: Callable[[Sequence[Finding]], Decision],
) -> list[tuple[Ruling, ...]]:
    """The rulings of the turns before ``turn``; what comes later is kept until its turn comes."""
    before = tuple(
        found if segment.turn < turn else ()
        for segment, found in zip(segments, findings, strict=True)
    )
    ruled = _aligned(before, decide(tuple(chain.from_iterable(before))))
    return [
        rulings if segment.turn < turn else (_LATER,) * len(found)
        for segment, found, rulings in zip(segments, findings, ruled, strict=True)
    ]


_LATER = Ruling(Operator.KEEP, restore=False)
