"""A request in a child: what arrives for it, until all of its answers have ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gateway.engine import translate, wire
from gateway.engine.child import Child, Event, Gone
from gateway.errors import EngineTimeoutError


class Late:
    """Stands in the queue of a request whose deadline has passed."""


class ChildGoneError(Exception):
    """The child has died under a request, or showed no life and was killed."""


@dataclass(slots=True, eq=False)
class Visit:
    """``weight``: how many answers it has, ``ends``: of these, those that have not ended yet.

    ``began``: in the time of the loop.
    """

    lane: str
    weight: int
    child: Child
    id: int
    events: asyncio.Queue[Event | Late] = field(repr=False)
    ends: int
    began: float
    late: asyncio.TimerHandle

    async def next(self) -> wire.Said | wire.Done | wire.Vectors:
        """Return what arrives next.

        Raises:
            EngineTimeoutError: the deadline has passed.
            GatewayError: the child cannot answer this.
            ChildGoneError: see there.
        """
        event = await self.events.get()
        match event:
            case wire.Said():
                return event
            case wire.Done():
                self.ends -= 1
                return event
            case wire.Vectors():
                self.ends = 0
                return event
            case wire.Failed():
                self.ends = 0
                raise translate.failure(event)
            case Gone():
                self.ends = 0
                raise ChildGoneError
            case Late():
                raise EngineTimeoutError

    async def cancel(self, within_s: float) -> None:
        """Cancel what is left of it and wait until the child has let go; end one that does not."""
        try:
            self.child.cancel(self.id)
            async with asyncio.timeout(within_s):
                while self.ends:
                    match await self.events.get():
                        case wire.Done():
                            self.ends -= 1
                        case wire.Failed() | wire.Vectors() | Gone():
                            self.ends = 0
        except TimeoutError:
            await self.child.kill()
