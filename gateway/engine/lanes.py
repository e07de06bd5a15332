"""The queue before a model: whose turn it is. Pure.

Everyone who asks has a lane. The next turn goes to the lane that uses the fewest slots now, and of
those to the one that was served longest ago; within a lane it is first come, first served. So
nobody waits behind another's hundred requests. The queue is bounded: where it is full, the newest
request of the longest lane makes room for one of a shorter lane, and is told that the model is
busy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.errors import BusyError

T = TypeVar("T")


@dataclass(slots=True)
class _Lane(Generic[T]):
    waiting: deque[T] = field(default_factory=deque)
    running: int = 0
    served: int = 0


class Lanes(Generic[T]):
    """Requests that wait, by lane. ``limit``: how many may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lanes: dict[str, _Lane[T]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def put(self, name: str, item: T, *, first: bool = False) -> T | None:
        """Let ``item`` wait; return the one that had to leave for it.

        ``first``: before all others of its lane, bound or no bound: it had its turn and lost it.

        Raises:
            BusyError: the queue is full, and no lane is longer.
        """
        lane = self._lanes.setdefault(name, _Lane())
        if first:
            lane.waiting.appendleft(item)
            return None
        evicted = self._make_room(lane) if len(self) >= self._limit else None
        lane.waiting.append(item)
        return evicted

    def _make_room(self, lane: _Lane[T]) -> T:
        longest = max(self._lanes.values(), key=lambda one: len(one.waiting))
        if len(longest.waiting) <= len(lane.waiting) + 1:
            self._tidy()
            raise BusyError
        return longest.waiting.pop()

    def peek(self) -> T | None:
        """Who is next."""
        lane = self._next()
        return lane.waiting[0] if lane else None

    def take(self, slots: int = 1) -> T:
        """Take who is next, of whom there MUST be one; it uses ``slots`` until ``ended``."""
        lane = self._next()
        assert lane is not None  # noqa: S101 - the caller has looked
        self._turn += 1
        lane.served = self._turn
        lane.running += slots
        return lane.waiting.popleft()

    def _next(self) -> _Lane[T] | None:
        waiting = [lane for lane in self._lanes.values() if lane.waiting]
        return min(waiting, key=lambda lane: (lane.running, lane.served), default=None)

    def ended(self, name: str, slots: int = 1) -> None:
        """One that ran for this lane has ended."""
        self._lanes[name].running -= slots
        self._tidy()

    def remove(self, name: str, item: T) -> bool:
        """Forget one that waits; False where it does not."""
        lane = self._lanes.get(name)
        if lane is None or item not in lane.waiting:
            return False
        lane.waiting.remove(item)
        self._tidy()
        return True

    def drain(self) -> list[T]:
        """Take all that wait."""
        items = [item for lane in self._lanes.values() for item in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._tidy()
        return items

    def _tidy(self) -> None:
        """Forget lanes without anything: there are as many as people."""
        self._lanes = {n: lane for n, lane in self._lanes.items() if lane.waiting or lane.running}
