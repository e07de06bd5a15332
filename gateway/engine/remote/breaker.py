"""``Breaker``: leaves out what keeps failing, and tries it again. Pure: the clock is an argument.

Closed until ``failures`` in a row; then open for ``cool_down_s``; then half open, where one request
is the trial. A trial that fails opens it for twice as long, up to ``longest_s``; a success closes
it.
Source: M. Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    failures: int = 3
    cool_down_s: float = 5.0
    longest_s: float = 120.0


class Breaker:
    """One for each server. ``now`` is monotonic seconds.

    Each ``begin`` MUST be followed by one of ``succeed``, ``fail`` and ``withdraw``.
    """

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._failures = 0
        self._wait_s = limits.cool_down_s
        self._open_until: float | None = None
        self._trial = False

    @property
    def closed(self) -> bool:
        return self._open_until is None

    def admits(self, now: float) -> bool:
        """Whether a request may begin."""
        return self._open_until is None or (now >= self._open_until and not self._trial)

    def begin(self) -> None:
        self._trial = not self.closed

    def succeed(self) -> None:
        self._failures, self._wait_s = 0, self._limits.cool_down_s
        self._open_until, self._trial = None, False

    def fail(self, now: float) -> None:
        """Count a failure; those of requests that began before it opened keep it open no longer."""
        if self._open_until is not None and not self._trial:
            return
        self._failures += 1
        if self._failures >= self._limits.failures:
            self._open_until, self._trial = now + self._wait_s, False
            self._wait_s = min(2 * self._wait_s, self._limits.longest_s)

    def withdraw(self) -> None:
        """The request ended and told nothing of the server: the next one may be the trial."""
        self._trial = False
