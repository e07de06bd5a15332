"""The port of generation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain import Chunk, ModelCard, Prompt, Usage

Again = Callable[[], Awaitable[None]]
"""Awaited before a prompt goes to another server, or to the next child, after one has failed: each
attempt is on record before it is made. What it raises ends the call."""


async def unrecorded() -> None:
    """For calls that nobody keeps a record of."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One call of a model. ``prompt`` is masked: an engine never sees anything else.

    ``cache_scope`` separates prefix caches (principal, matter, policy, model, adapter); it is a
    keyed digest that says nothing of any of them; "" caches nothing. ``lane`` is whose turn in the
    queue it takes. ``placeholders`` are all that the prompt may hold. ``deadline_s`` is in seconds
    from the call.
    """

    model: str
    prompt: Prompt
    deadline_s: float
    cache_scope: str = ""
    adapter: str | None = None
    lane: str = ""
    placeholders: frozenset[str] = frozenset()
    again: Again = field(default=unrecorded, repr=False)


@dataclass(frozen=True, slots=True)
class Embedding:
    """``texts`` are masked. The vectors come in their order, each of length 1 (L2)."""

    model: str
    texts: Sequence[str] = field(repr=False)
    deadline_s: float
    lane: str = ""
    again: Again = field(default=unrecorded, repr=False)


@dataclass(frozen=True, slots=True)
class Embedded:
    vectors: Sequence[Sequence[float]] = field(repr=False)
    usage: Usage


class Engine(Protocol):
    """Runs models. One engine per backend; ``engine/registry.py`` finds the one for a name."""

    def models(self) -> tuple[ModelCard, ...]:
        """The models this engine can run now."""
        ...

    def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """Yield the answer piece by piece; the last chunk has ``finish`` and ``usage``.

        Closing the iterator early (``aclose``) MUST free the model's slot.

        Raises:
            BusyError: no slot within the queue's bound.
            ContextLengthExceededError: prompt and answer do not fit.
            UnsupportedParameterError: the model cannot do what the prompt asks (tools on an
                extractive model).
            EngineError: the model crashed, hung past the deadline or broke the protocol.
        """
        ...

    async def embed(self, embedding: Embedding) -> Embedded:
        """Return a vector for each text.

        Raises: as ``generate``; UnsupportedParameterError where the model gives none.
        """
        ...

    def flush(self) -> None:
        """Forget all cached prefixes: a policy was applied or a key revoked."""
        ...

    async def aclose(self) -> None:
        """End children and connections. Idempotent."""
        ...
