"""``Pool``: which of several servers takes the next request.

Two signals, kept apart. A health check that fails moves a server behind all others, but never out:
a check can be wrong, and a request that finds no other server is better tried than refused. The
breaker, which only requests feed, takes it out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.engine.remote.breaker import Breaker, BreakerLimits


class Outcome(Enum):
    """What a request tells of the server that had it. ``UNTOLD``: cancelled, refused, or busy."""

    SUCCEEDED = auto()
    FAILED = auto()
    UNTOLD = auto()


@dataclass(slots=True, eq=False)
class Peer:
    """One server. ``rests_until``: it asked for a pause (429, 503); others come first till then."""

    url: str
    breaker: Breaker
    healthy: bool = True
    outstanding: int = 0
    rests_until: float = field(default=0.0)
    last_turn: int = 0

    @property
    def answers(self) -> bool:
        """As far as is known."""
        return self.healthy and self.breaker.closed


class Pool:
    """``clock`` gives monotonic seconds. Every peer taken MUST be given back once."""

    def __init__(
        self, urls: Sequence[str], limits: BreakerLimits, clock: Callable[[], float]
    ) -> None:
        self.peers = tuple(Peer(url, Breaker(limits)) for url in urls)
        self._clock = clock
        self._turn = 0

    def take(self, tried: Collection[Peer] = ()) -> Peer | None:
        """Return the peer with the fewest requests, the one that waited longest among equals.

        ``None``: every peer that was not tried is taken out by its breaker.
        """
        now = self._clock()
        able = [p for p in self.peers if p not in tried and p.breaker.admits(now)]
        if not able:
            return None
        chosen = min(
            able, key=lambda p: (not p.healthy, p.rests_until > now, p.outstanding, p.last_turn)
        )
        self._turn += 1
        chosen.last_turn = self._turn
        chosen.outstanding += 1
        chosen.breaker.begin()
        return chosen

    def give_back(self, peer: Peer, outcome: Outcome, *, rest_s: float = 0.0) -> None:
        peer.outstanding -= 1
        now = self._clock()
        if rest_s:
            peer.rests_until = now + rest_s
        match outcome:
            case Outcome.SUCCEEDED:
                peer.breaker.succeed()
            case Outcome.FAILED:
                peer.breaker.fail(now)
            case Outcome.UNTOLD:
                peer.breaker.withdraw()
