"""Which stream of the context a sequence gets, and what of it need not be computed again. Pure.

A stream holds the tokens of one sequence. After an answer they stay, so that the next turn of the
conversation computes only what is new. What a stream holds is reused

- within its scope: the keyed digest of principal, matter, policies, model and adapter, so that
  nobody can tell by the time to the first token what another has asked;
- for all of one adapter where an operator declared the beginning of the prompt as shared, and that
  far only.

An entry lives ``lifetime_s`` seconds after its last use. Those that are least recently used are
overwritten first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

COPY_FROM: Final = 32
"""Tokens below which computing anew is cheaper than copying a stream."""


@dataclass(slots=True, eq=False)
class Stream:
    """``tokens`` are those evaluated, in their order; the first ``shared`` of them are public.

    ``adapter``: the one they were evaluated with.
    """

    number: int
    tokens: list[int] = field(default_factory=list, repr=False)
    scope: str = ""
    shared: int = 0
    adapter: int = -1
    used: float = 0.0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A stream for a sequence, and what of it is known already.

    ``kept`` tokens need not be computed: they are those of ``source``, which may be the stream
    itself, or None where nothing is kept.
    """

    stream: Stream
    source: Stream | None
    kept: int


class Streams:
    """All streams of a context. ``clock`` gives seconds, monotonic."""

    def __init__(self, count: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._all = [Stream(number) for number in range(count)]
        self._lifetime_s = lifetime_s
        self._clock = clock

    def place(
        self, scope: str, tokens: Sequence[int], shared: int, adapter: int = -1
    ) -> Place | None:
        """Find a stream for a prompt; None while all are busy. The stream is busy from now on.

        At least one token is left to compute: the answer begins with the scores behind it.
        """
        free = [stream for stream in self._all if not stream.busy]
        if not free:
            return None
        now = self._clock()
        self._expire(now)
        source, kept = self._longest(scope, tokens, shared, adapter)
        target = min(free, key=lambda stream: (bool(stream.tokens), stream.used))
        if source is not None and self._goes_on(source, scope, kept):
            target = source
        elif source is not target and kept < COPY_FROM:
            source, kept = None, 0
        target.tokens = list(tokens[:kept])
        target.scope, target.shared, target.adapter = scope, shared, adapter
        target.busy, target.used = True, now
        return Place(target, source if kept else None, kept)

    def release(self, stream: Stream, *, keep: bool) -> None:
        """A sequence has ended; what it computed stays for the next where ``keep``."""
        stream.busy, stream.used = False, self._clock()
        if not keep or not stream.scope:
            self._clear(stream)

    def forget(self) -> None:
        """Nothing that is held now is reused: what is being computed ends unkept."""
        for stream in self._all:
            stream.scope, stream.shared = "", 0
            if not stream.busy:
                self._clear(stream)

    def expire(self) -> bool:
        """Clear what has lived its time; return whether nothing at all is held now."""
        self._expire(self._clock())
        return not any(stream.busy or stream.tokens for stream in self._all)

    @staticmethod
    def _goes_on(source: Stream, scope: str, kept: int) -> bool:
        """Whether this is the next turn of what a free stream holds, most of which it keeps."""
        return not source.busy and source.scope == scope and kept >= len(source.tokens) // 2

    def _expire(self, now: float) -> None:
        for stream in self._all:
            if not stream.busy and now - stream.used >= self._lifetime_s:
                self._clear(stream)

    @staticmethod
    def _clear(stream: Stream) -> None:
        stream.tokens, stream.scope, stream.shared = [], "", 0

    def _longest(
        self, scope: str, tokens: Sequence[int], shared: int, adapter: int
    ) -> tuple[Stream | None, int]:
        """The stream that begins with most of these tokens, of those that may be looked at."""
        best: Stream | None = None
        most = 0
        for stream in self._all:
            if stream.adapter != adapter:
                continue
            may = len(tokens) - 1
            if not scope or stream.scope != scope:
                may = min(may, shared, stream.shared)
            if may > most and (same := _common(stream.tokens, tokens, may)) > most:
                best, most = stream, same
        return best, most


def _common(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """How many tokens two sequences begin with alike, at most ``limit``."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if count == limit or left != right:
            return count
    return min(len(one), len(other), limit)
