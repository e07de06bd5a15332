"""The port of guards: small specialists that each check one thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain import Prompt, Purpose, Verdict


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a guard looks at: the masked prompt and, after generation, the masked answer."""

    prompt: Prompt
    purpose: Purpose
    intent: str
    placeholders: frozenset[str] = frozenset()
    answer: str | None = field(repr=False, default=None)


class Guard(Protocol):
    """One check. Pure and synchronous; masked text only.

    ``side`` is "in" (before generation) or "out" (on the whole answer).
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def side(self) -> str: ...

    def check(self, exchange: Exchange) -> Verdict:
        """Return the verdict. Any exception fails the request closed (``GuardError``)."""
        ...
