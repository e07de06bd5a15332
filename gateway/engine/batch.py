"""Continuous batching: one loop owns the context, each step evaluates one batch for all sequences.

A step holds the next tokens of every answer that is being written, and goes on with prompts, in the
order of their arrival, with as many tokens as the machine reads in about ``STEP_S``. So a long
prompt delays a running answer by no more than one step, a new one begins while others are written,
and who leaves is out of the batch a moment later.

A batch has one adapter: sequences with another wait for the next step, and adapters take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.engine import wire
from gateway.engine.decoders import Decoder, Say
from gateway.engine.streams import Place, Stream, Streams

BATCH: Final = 256
"""Tokens that are evaluated at once, at most; between two batches the child listens."""
EMBEDDED: Final = 2048
"""Tokens of a text that becomes a vector, at most."""
LEAST: Final = 32
"""Tokens of prompts that a step takes on any machine: fewer would cost more than they read."""
STEP_S: Final = 0.25
_AT_FIRST: Final = 64
_MEMORY: Final = 4  # steps that the pace looks back on, about


@dataclass(frozen=True, slots=True)
class Row:
    """One token to evaluate. ``scored``: the logits behind it are wanted."""

    token: int
    position: int
    stream: int
    scored: bool


class Context(Protocol):
    """The sequences of a loaded model: see ``native.Model``."""

    def evaluate(self, rows: Sequence[Row], adapter: int) -> bool: ...
    def abandon(self) -> None: ...
    def copy(self, source: int, target: int, count: int) -> bool: ...
    def cut(self, stream: int, count: int) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prompt in tokens, and how its answers are made. ``decoder`` gets the answer's index.

    ``shared`` tokens at its beginning are public. ``scope`` is never empty here.
    """

    id: int
    tokens: Sequence[int] = field(repr=False)
    decoder: Callable[[int, Say], Decoder]
    n: int = 1
    shared: int = 0
    scope: str = ""
    adapter: int = -1


@dataclass(slots=True, eq=False)
class _Sequence:
    """One answer: what is still to be evaluated for it, and where it stands."""

    job: Job
    index: int
    decoder: Decoder
    pending: list[int] = field(repr=False)
    leader: _Sequence | None
    stream: Stream | None = None
    cached: int = 0
    processor_s: float = 0.0
    writing: bool = False
    ended: bool = False

    @property
    def may_start(self) -> bool:
        """Other answers to one prompt begin when the first has read it, and take it from there."""
        return self.leader is None or self.leader.writing or self.leader.ended


class Batcher:
    """The loop's state. ``clock`` gives seconds, ``processor`` those of this process's threads."""

    def __init__(
        self,
        context: Context,
        streams: Streams,
        clock: Callable[[], float],
        processor: Callable[[], float],
    ) -> None:
        self._context = context
        self._streams = streams
        self._clock = clock
        self._processor = processor
        self._token_s = STEP_S / _AT_FIRST  # how long a token of a prompt takes
        self._waiting: list[_Sequence] = []
        self._active: list[_Sequence] = []
        self._adapter = -1
        self._wanted: set[int] = set()
        self._said: list[wire.Said] = []
        self._ended: list[wire.Done | wire.Failed] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active or self._said or self._ended)

    def add(self, job: Job) -> None:
        """Let a job wait for streams; it MUST fit the context."""
        leader: _Sequence | None = None
        for index in range(job.n):
            decoder = job.decoder(index, self._sayer(job.id, index))
            sequence = _Sequence(job, index, decoder, [], leader)
            leader = leader or sequence
            if decoder.first is None:
                self._end(sequence, decoder.finish)
            else:
                self._waiting.append(sequence)

    def cancel(self, identity: int) -> None:
        """End all answers of a job; their streams are free for the next step."""
        for sequence in [s for s in (*self._active, *self._waiting) if s.job.id == identity]:
            self._end(sequence, "cancelled")

    def unwanted(self, identity: int) -> None:
        """A cancellation is on its way. Called by another thread, while a step is evaluated.

        When all of the step is for nobody, it is abandoned: with a large model it takes seconds.
        """
        self._wanted.discard(identity)
        if not self._wanted:
            self._context.abandon()

    def step(self) -> wire.Step:
        """Evaluate one batch; return what was said and which answers ended.

        Raises:
            NativeError: the context can no longer be relied on.
        """
        self._place_waiting()
        parts = self._compose(self._next_adapter())
        if parts:
            self._evaluate(parts)
        step = wire.Step(tuple(self._said), tuple(self._ended))
        self._said.clear()
        self._ended.clear()
        return step

    # --- who takes part ------------------------------------------------------------------------

    def _place_waiting(self) -> None:
        for sequence in list(self._waiting):
            if not sequence.may_start:
                continue
            job = sequence.job
            place = self._streams.place(job.scope, job.tokens, job.shared, job.adapter)
            if place is None:
                return
            kept = self._prepare(place)
            first = sequence.decoder.first or ()
            sequence.stream, sequence.cached = place.stream, kept
            sequence.pending = [*job.tokens[kept:], *first]
            self._waiting.remove(sequence)
            self._active.append(sequence)

    def _prepare(self, place: Place) -> int:
        """Bring the context to what a place says; return how many tokens it holds now."""
        stream, source = place.stream, place.source
        if source is None or source is stream:
            whole = self._context.cut(stream.number, place.kept)
        else:
            whole = self._context.copy(source.number, stream.number, place.kept)
        if not whole:
            stream.tokens = []
        return len(stream.tokens)

    def _next_adapter(self) -> int:
        wanted = sorted({sequence.job.adapter for sequence in self._active})
        if wanted:
            self._adapter = next((a for a in wanted if a > self._adapter), wanted[0])
        return self._adapter

    def _compose(self, adapter: int) -> list[tuple[_Sequence, int]]:
        """Which sequences take part in the next batch, and with how many tokens."""
        mine = [s for s in self._active if s.job.adapter == adapter]
        writing = [s for s in mine if s.writing]
        reading = [s for s in mine if not s.writing]
        parts: list[tuple[_Sequence, int]] = []
        room = BATCH
        at_once = max(LEAST, int(STEP_S / self._token_s))
        for group, most in ((writing, room), (reading, at_once)):
            left = min(room, most)
            for sequence in group:
                count = min(len(sequence.pending), left)
                if count:
                    parts.append((sequence, count))
                    left -= count
                    room -= count
        return parts

    # --- one batch -----------------------------------------------------------------------------

    def _evaluate(self, parts: Sequence[tuple[_Sequence, int]]) -> None:
        rows: list[Row] = []
        for sequence, count in parts:
            rows += _rows(sequence, count)
        began, started = self._clock(), self._processor()
        self._wanted = {sequence.job.id for sequence, _ in parts}
        if not self._context.evaluate(rows, self._adapter):
            self._take_back(parts)
            return
        if len(rows) >= LEAST:
            token_s = (self._clock() - began) / len(rows)
            self._token_s += (token_s - self._token_s) / _MEMORY
        last = -1
        scored: list[tuple[_Sequence, int]] = []
        for sequence, count in parts:
            last += count
            stream = sequence.stream
            assert stream is not None  # noqa: S101 - it is active
            stream.tokens += sequence.pending[:count]
            del sequence.pending[:count]
            if not sequence.pending:
                scored.append((sequence, last))
        for sequence, row in scored:
            self._decide(sequence, row)
        share = (self._processor() - started) / len(rows)
        for sequence, count in parts:
            sequence.processor_s += share * count
        for sequence, _ in scored:
            if not sequence.pending:
                self._end(sequence, sequence.decoder.finish)

    def _take_back(self, parts: Sequence[tuple[_Sequence, int]]) -> None:
        """The batch was abandoned, some of it computed: its answers, all cancelled, end next."""
        for sequence, _ in parts:
            stream = sequence.stream
            assert stream is not None  # noqa: S101 - it is active
            if not self._context.cut(stream.number, len(stream.tokens)):
                sequence.pending = [*stream.tokens, *sequence.pending]
                stream.tokens = []

    @staticmethod
    def _decide(sequence: _Sequence, row: int) -> None:
        sequence.writing = True
        following = sequence.decoder.decide(row)
        sequence.pending = list(following or ())

    def _end(self, sequence: _Sequence, finish: wire.Finish) -> None:
        sequence.ended = True
        if sequence.stream is not None:
            self._active.remove(sequence)
            self._streams.release(sequence.stream, keep=True)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        counted = sequence.index == 0
        self._ended.append(
            wire.Done(
                id=sequence.job.id,
                index=sequence.index,
                finish=finish,
                prompt_tokens=len(sequence.job.tokens) if counted else 0,
                cached_tokens=sequence.cached if counted else 0,
                completion_tokens=sequence.decoder.cost,
                processor_s=sequence.processor_s,
            )
        )

    def _sayer(self, identity: int, index: int) -> Say:
        def say(text: str, logprobs: tuple[wire.Logprob, ...]) -> None:
            self._said.append(wire.Said(identity, index, text, logprobs))

        return say


def _rows(sequence: _Sequence, count: int) -> Iterator[Row]:
    stream = sequence.stream
    assert stream is not None  # noqa: S101 - it is active
    begin, whole = len(stream.tokens), count == len(sequence.pending)
    for place, token in enumerate(sequence.pending[:count]):
        yield Row(token, begin + place, stream.number, whole and place == count - 1)
