"""One model and the requests that wait for it.

As many sequences as there are slots are under way in the child, and a few more wait there, so that
no slot idles until the gateway has heard of an end. All others wait here, in lanes.

A child that dies, or shows no life for ``stall_s`` seconds and is killed, takes all its requests
along. Those of which no byte was sent are asked once more, of the next child; the others fail.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain import Chunk
from gateway.engine import translate, wire
from gateway.engine.child import Asked, Child
from gateway.engine.keeper import Keeper, Limits
from gateway.engine.lanes import Lanes
from gateway.engine.model_file import ModelSpec
from gateway.engine.port import Again
from gateway.engine.visit import ChildGoneError, Late, Visit
from gateway.errors import BusyError, EngineError, EngineTimeoutError, GatewayError, RequestError

_AHEAD: Final = 2
"""Sequences that wait in the child, beyond those that have a slot."""
_RETRIES: Final = 1
_LONGEST_RETRY_S: Final = 60
_MEMORY: Final = 8  # requests that the moving average looks back on, about


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose turn a request takes, until when (in the loop's time); ``again`` as in the port."""

    lane: str
    deadline: float
    again: Again


@dataclass(slots=True, eq=False)
class _Request:
    """``make`` gets an id. ``weight``: how many sequences it is; as many ends are awaited."""

    lane: str
    make: Callable[[int], Asked] = field(repr=False)
    weight: int
    turn: asyncio.Future[Child]
    granted: bool = False


class Supervisor:
    """One model and who waits for it. ``keeper`` loads and unloads it."""

    def __init__(
        self, spec: ModelSpec, adapters: Sequence[ModelSpec], isolation: str, limits: Limits
    ) -> None:
        self.keeper = Keeper(spec, adapters, isolation, limits, self._pump)
        ahead = min(_AHEAD, limits.queue // 4)  # they wait in no lane
        self._slots, self._most = limits.slots, limits.slots + ahead
        self._stall_s = limits.stall_s
        self._lanes: Lanes[_Request] = Lanes(limits.queue - ahead)
        self._under_way = 0
        self._takes_s = 1.0  # how long a request is in the child, a moving average
        self._ids = itertools.count(1)
        self._drains: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def running(self) -> int:
        """Answers that are being made now."""
        return min(self._under_way, self._slots)

    @property
    def waiting(self) -> int:
        """Answers and requests that wait now."""
        return len(self._lanes) + self._under_way - self.running

    async def aclose(self) -> None:
        self._closed = True
        for task in self._drains:
            task.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        await self.keeper.stop()
        self._pump()

    # --- one request ---------------------------------------------------------------------------

    async def answer(
        self, make: Callable[[int], wire.Generate], n: int, caller: Caller
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of all ``n`` answers."""
        for attempt in itertools.count():
            told = False
            if attempt:
                await caller.again()
            visit = await self._enter(make, n, caller, again=attempt > 0)
            try:
                while visit.ends:
                    event = await visit.next()
                    if isinstance(event, wire.Vectors):
                        raise EngineError
                    told = True
                    yield translate.chunk(event)
            except ChildGoneError:
                if told or attempt >= _RETRIES:
                    raise _death(visit.child) from None
            else:
                return
            finally:
                self._leave(visit)

    async def embed(self, make: Callable[[int], wire.Embed], caller: Caller) -> wire.Vectors:
        for attempt in itertools.count():
            if attempt:
                await caller.again()
            visit = await self._enter(make, 1, caller, again=attempt > 0)
            try:
                event = await visit.next()
            except ChildGoneError:
                if attempt >= _RETRIES:
                    raise _death(visit.child) from None
                continue
            finally:
                self._leave(visit)
            if not isinstance(event, wire.Vectors):
                raise EngineError
            return event
        raise AssertionError  # count() has no end

    def forget(self) -> None:
        """Let the child forget all prefixes; one that starts has none."""
        if self.keeper.child is not None:
            self.keeper.child.forget()

    async def _enter(
        self, make: Callable[[int], Asked], weight: int, caller: Caller, *, again: bool
    ) -> Visit:
        """Wait for a turn and send the request.

        Raises:
            BusyError: too many wait already.
            EngineTimeoutError: the deadline passed before its turn came.
        """
        if (over := self._over()) is not None:
            raise over
        turn: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        lane, deadline = caller.lane, caller.deadline
        request = _Request(lane, make, weight, turn)
        self._queue(request, again=again)
        self._pump()
        try:
            async with asyncio.timeout_at(deadline):
                child = await turn
            return self._visit(request, child, deadline)
        except BaseException as error:
            self._lanes.remove(lane, request)
            if request.granted:
                self._done(lane, weight)
            if isinstance(error, TimeoutError):
                raise EngineTimeoutError from None
            raise

    def _visit(self, request: _Request, child: Child, deadline: float) -> Visit:
        """Send a request.

        Raises:
            RequestError: a text of it is no text.
        """
        loop, identity = asyncio.get_running_loop(), next(self._ids)
        try:
            events = child.ask(request.make(identity))
        except UnicodeEncodeError:
            raise RequestError("The prompt holds half a surrogate pair.") from None
        late = loop.call_at(deadline, events.put_nowait, Late())
        lane, weight = request.lane, request.weight
        return Visit(lane, weight, child, identity, events, weight, loop.time(), late)

    def _queue(self, request: _Request, *, again: bool) -> None:
        try:
            evicted = self._lanes.put(request.lane, request, first=again)
        except BusyError:
            if self.keeper.child and self._free() and not len(self._lanes):
                evicted = self._lanes.put(request.lane, request, first=True)
            else:
                raise BusyError(retry_after_s=self._retry_after()) from None
        if evicted is not None:
            _refuse(evicted, BusyError(retry_after_s=self._retry_after()))

    def _free(self) -> bool:
        """Whether the child takes another request; several answers wait for slots there."""
        return self._under_way < self._most

    def _over(self) -> GatewayError | None:
        """Why nobody will get a turn any more."""
        if self._closed:
            return EngineError("The engine is closed.")
        broken = self.keeper.broken
        return None if broken is None else type(broken)(broken.message)

    def _pump(self) -> None:
        """Give turns while the child has room; when there will be no child, tell all who wait."""
        if (over := self._over()) is not None:
            for request in self._lanes.drain():
                _refuse(request, over)
        while (child := self.keeper.child) and (found := self._lanes.peek()) is not None:
            if not self._free():
                return
            request = self._lanes.take(found.weight)
            if request.turn.done():  # whoever asked has just gone
                self._lanes.ended(request.lane, request.weight)
                continue
            request.granted = True
            self._under_way += request.weight
            request.turn.set_result(child)

    def _leave(self, visit: Visit) -> None:
        """Give the slot back, now or when the child has let go of it."""
        visit.late.cancel()
        if not visit.ends:
            took = asyncio.get_running_loop().time() - visit.began
            self._takes_s += (took - self._takes_s) / _MEMORY
            visit.child.release(visit.id)
            self._done(visit.lane, visit.weight)
            return
        drain = asyncio.create_task(self._drain(visit))
        self._drains.add(drain)
        drain.add_done_callback(self._drains.discard)

    def _done(self, lane: str, weight: int) -> None:
        self._under_way -= weight
        self._lanes.ended(lane, weight)
        self._pump()

    async def _drain(self, visit: Visit) -> None:
        try:
            await visit.cancel(self._stall_s)
        finally:
            visit.child.release(visit.id)
            self._done(visit.lane, visit.weight)

    def _retry_after(self) -> int:
        """Whole seconds until a request that comes now would find its turn, by what is known."""
        rounds = (len(self._lanes) + 1) / self._slots
        return max(1, min(_LONGEST_RETRY_S, round(rounds * self._takes_s)))


def _refuse(request: _Request, error: GatewayError) -> None:
    if not request.turn.done():
        request.turn.set_exception(error)
        request.turn.exception()  # retrieved, so that nobody warns when no one waits


def _death(child: Child) -> EngineError:
    """What a request is told whose child has died under it."""
    if child.stalled:
        return EngineTimeoutError()
    return EngineError("The model's process ended while it generated this answer.")
