"""One model: its child, kept running, and the requests that wait for it.

As many sequences as there are slots are under way in the child, and a few more wait there, so that
no slot idles until the gateway has heard of an end. All others wait here, in lanes.

A child that dies, or shows no life for ``stall_s`` seconds and is killed, takes all its requests
along. Those of which no byte was sent are asked once more, of the next child; the others fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from gateway.domain import Chunk, ModelCard
from gateway.engine import extractive, translate, wire
from gateway.engine.child import Asked, Child, Event, Gone, check_isolation
from gateway.engine.lanes import Lanes
from gateway.engine.model_file import ModelSpec, card, check_file, declared, label_form
from gateway.errors import (
    BusyError,
    EngineError,
    EngineTimeoutError,
    GatewayError,
    ModelFileError,
    RequestError,
)

_LOAD_S: Final = 120.0
_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 10.0
_STARTS: Final = 4
"""Deaths in a row, each before the model was loaded, after which a model is given up."""
_AHEAD: Final = 2
"""Sequences that wait in the child, beyond those that have a slot."""
_RETRIES: Final = 1
_LONGEST_RETRY_S: Final = 60
_MEMORY: Final = 8  # requests that the moving average looks back on, about


@dataclass(frozen=True, slots=True)
class Limits:
    """``slots``: answers at once. ``queue``: requests that may wait. ``threads`` 0: all processors.

    ``stall_s``: seconds without a sign of life after which a child is killed.
    """

    slots: int = 8
    queue: int = 32
    threads: int = 0
    stall_s: float = 60.0


@dataclass(slots=True, eq=False)
class _Request:
    """``make`` gets an id. ``weight``: how many sequences it is; as many ends are awaited."""

    lane: str
    make: Callable[[int], Asked] = field(repr=False)
    weight: int
    turn: asyncio.Future[Child]
    granted: bool = False


@dataclass(slots=True, eq=False)
class _Visit:
    """A request in a child. ``ends``: how many of its answers have not ended yet."""

    request: _Request
    child: Child
    id: int
    events: asyncio.Queue[Event | _Late] = field(repr=False)
    ends: int
    began: float
    late: asyncio.TimerHandle


class _Late:
    """Stands in the queue of a request whose deadline has passed."""


class _ChildGoneError(Exception):
    """The child has died under a request."""


class Supervisor:
    """One model: its file, its child, and who waits for it."""

    def __init__(self, spec: ModelSpec, isolation: str, limits: Limits) -> None:
        self._spec = spec
        self._isolation = check_isolation(isolation)
        self._limits = limits
        ahead = min(_AHEAD, limits.queue)
        self._most = limits.slots + ahead
        self._lanes: Lanes[_Request] = Lanes(limits.queue - ahead)
        self._under_way = 0
        self._takes_s = 1.0  # how long a request is in the child, a moving average
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()  # set while there is a child, or never will be
        self._child: Child | None = None
        self._broken: GatewayError | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._drains: set[asyncio.Task[None]] = set()
        self.card: ModelCard | None = None
        self.isolation = ""

    @property
    def ready(self) -> bool:
        return self._child is not None

    @property
    def running(self) -> int:
        """Answers that are being made now."""
        return min(self._under_way, self._limits.slots)

    @property
    def waiting(self) -> int:
        """Answers and requests that wait now."""
        return len(self._lanes) + self._under_way - self.running

    async def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        await self._changed.wait()
        if self._broken is not None:
            raise self._broken

    async def aclose(self) -> None:
        tasks = [task for task in (self._keeper, *self._drains) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._child is not None:
            await self._child.kill()
        self._child = None
        self._give_up(self._broken or EngineError("The engine is closed."))

    # --- one child after the other ------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep a child running: start one, wait until it is gone, start the next."""
        failures = 0
        while True:
            try:
                child = await self._launch()
            except EngineTimeoutError:
                failures += 1
            except GatewayError as error:
                # A file or kernel that refuses once refuses again; a death at start may not.
                if type(error) is not EngineError or failures >= _STARTS:
                    self.card = None
                    self._give_up(error)
                    return
                failures += 1
            else:
                await self._serve(child)
                failures = 0 if child.answered else failures + 1
            if failures:
                await asyncio.sleep(min(_BACKOFF_S * 2**failures, _MAX_BACKOFF_S))

    async def _serve(self, child: Child) -> None:
        """Let requests in until the child is gone; end it when it shows no life."""
        self._child, self.isolation = child, child.isolation
        self._changed.set()
        self._pump()
        while not child.gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stall_s / 4):
                    await child.gone.wait()
            silent = asyncio.get_running_loop().time() - child.heard
            if child.asked and silent >= self._limits.stall_s:
                child.stalled = True
                await child.kill()
        self._changed.clear()
        self._child = None

    def _give_up(self, error: GatewayError) -> None:
        self._broken = error
        self._changed.set()
        for request in self._lanes.drain():
            _refuse(request, error)

    async def _launch(self) -> Child:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(await asyncio.to_thread(_open, self._spec))
            header, digest = await asyncio.to_thread(check_file, file, self._spec.sha256)
            self.card = card(self._spec, header, digest)
            load = wire.Load(
                context=self.card.context,
                streams=self._limits.slots,
                threads=self._limits.threads or len(os.sched_getaffinity(0)),
                form=label_form(header.metadata),
                abstention=declared(header.metadata, "abstention", extractive.ABSTENTION),
                separator=declared(header.metadata, "separator", extractive.SEPARATOR),
            )
            return await Child.start([file.fileno()], load, self._isolation, _LOAD_S)

    # --- one request ---------------------------------------------------------------------------

    async def answer(
        self, make: Callable[[int], wire.Generate], n: int, lane: str, deadline: float
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of all ``n`` answers."""
        for attempt in itertools.count():
            told = False
            visit = await self._enter(make, n, lane, deadline, again=attempt > 0)
            try:
                while visit.ends:
                    event = await self._next(visit)
                    if isinstance(event, wire.Vectors):
                        raise EngineError
                    told = True
                    yield translate.chunk(event)
            except _ChildGoneError:
                if told or attempt >= _RETRIES:
                    raise _death(visit.child) from None
            else:
                return
            finally:
                self._leave(visit)

    async def embed(
        self, make: Callable[[int], wire.Embed], lane: str, deadline: float
    ) -> wire.Vectors:
        for attempt in itertools.count():
            visit = await self._enter(make, 1, lane, deadline, again=attempt > 0)
            try:
                event = await self._next(visit)
            except _ChildGoneError:
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
        if self._child is not None:
            self._child.forget()

    async def _enter(
        self, make: Callable[[int], Asked], weight: int, lane: str, deadline: float, *, again: bool
    ) -> _Visit:
        """Wait for a turn and send the request.

        Raises:
            BusyError: too many wait already.
            EngineTimeoutError: the deadline passed before its turn came.
        """
        if self._broken is not None:
            raise type(self._broken)(self._broken.message)
        turn: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
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
                self._done(request)
            if isinstance(error, TimeoutError):
                raise EngineTimeoutError from None
            raise

    def _visit(self, request: _Request, child: Child, deadline: float) -> _Visit:
        """Send a request.

        Raises:
            RequestError: a text of it is no text.
        """
        loop, identity = asyncio.get_running_loop(), next(self._ids)
        try:
            events = child.ask(request.make(identity))
        except UnicodeEncodeError:
            raise RequestError("The prompt holds half a surrogate pair.") from None
        late = loop.call_at(deadline, events.put_nowait, _Late())
        return _Visit(request, child, identity, events, request.weight, loop.time(), late)

    def _queue(self, request: _Request, *, again: bool) -> None:
        try:
            evicted = self._lanes.put(request.lane, request, first=again)
        except BusyError:
            if self._alive() and self._free(request) and not len(self._lanes):
                evicted = self._lanes.put(request.lane, request, first=True)
            else:
                raise BusyError(retry_after_s=self._retry_after()) from None
        if evicted is not None:
            _refuse(evicted, BusyError(retry_after_s=self._retry_after()))

    def _free(self, request: _Request) -> bool:
        """Whether the child could take it now."""
        return self._under_way == 0 or self._under_way + request.weight <= self._most

    def _pump(self) -> None:
        """Give turns while the child has room."""
        while self._alive() and (found := self._lanes.peek()) is not None:
            if not self._free(found):
                return
            request = self._lanes.take()
            if request.turn.done():  # whoever asked has just gone
                self._lanes.ended(request.lane)
                continue
            assert self._child is not None  # noqa: S101 - it is alive
            request.granted = True
            self._under_way += request.weight
            request.turn.set_result(self._child)

    def _alive(self) -> bool:
        return self._child is not None and not self._child.gone.is_set()

    async def _next(self, visit: _Visit) -> wire.Said | wire.Done | wire.Vectors:
        """Return the next event of a request.

        Raises:
            EngineTimeoutError: the deadline has passed.
            GatewayError: the child cannot answer this.
            _ChildGoneError: the child has died, or showed no life and was killed.
        """
        event = await visit.events.get()
        match event:
            case wire.Said():
                return event
            case wire.Done():
                visit.ends -= 1
                return event
            case wire.Vectors():
                visit.ends = 0
                return event
            case wire.Failed():
                visit.ends = 0
                raise translate.failure(event)
            case Gone():
                visit.ends = 0
                raise _ChildGoneError
            case _Late():
                raise EngineTimeoutError

    def _leave(self, visit: _Visit) -> None:
        """Give the slot back, now or when the child has let go of it."""
        visit.late.cancel()
        if not visit.ends:
            took = asyncio.get_running_loop().time() - visit.began
            self._takes_s += (took - self._takes_s) / _MEMORY
            visit.child.release(visit.id)
            self._done(visit.request)
            return
        drain = asyncio.create_task(self._drain(visit))
        self._drains.add(drain)
        drain.add_done_callback(self._drains.discard)

    def _done(self, request: _Request) -> None:
        self._under_way -= request.weight
        self._lanes.ended(request.lane)
        self._pump()

    async def _drain(self, visit: _Visit) -> None:
        """Cancel what is left of a request; end a child that does not let go of it."""
        try:
            visit.child.cancel(visit.id)
            async with asyncio.timeout(self._limits.stall_s):
                while visit.ends:
                    match await visit.events.get():
                        case wire.Done():
                            visit.ends -= 1
                        case wire.Failed() | wire.Vectors() | Gone():
                            visit.ends = 0
        except TimeoutError:
            await visit.child.kill()
        finally:
            visit.child.release(visit.id)
            self._done(visit.request)

    def _retry_after(self) -> int:
        """Whole seconds until a request that comes now would find its turn, by what is known."""
        rounds = (len(self._lanes) + 1) / self._limits.slots
        return max(1, min(_LONGEST_RETRY_S, round(rounds * self._takes_s)))


def _open(spec: ModelSpec) -> BinaryIO:
    try:
        return spec.path.open("rb")
    except OSError:
        raise ModelFileError("The model file cannot be read.") from None


def _refuse(request: _Request, error: GatewayError) -> None:
    if not request.turn.done():
        request.turn.set_exception(error)
        request.turn.exception()  # retrieved, so that nobody warns when no one waits


def _death(child: Child) -> EngineError:
    """What a request is told whose child has died under it."""
    if child.stalled:
        return EngineTimeoutError()
    return EngineError("The model's process ended while it generated this answer.")
