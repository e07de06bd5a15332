"""One model: its child, kept running, and the requests that wait for it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from gateway.domain import Chunk, Decoding, FinishReason, ModelCard, Prompt, Usage
from gateway.engine import extractive, wire
from gateway.engine.child import Child, Event, Gone, check_isolation
from gateway.engine.model_file import ModelSpec, card, check_file, declared, label_form
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    GatewayError,
    ModelFileError,
    RequestError,
    UnsupportedParameterError,
)

_LOAD_S: Final = 120.0
_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 10.0
_STARTS: Final = 4
"""Deaths in a row, each before the model was loaded, after which a model is given up."""
_FINISH: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@dataclass(frozen=True, slots=True)
class Limits:
    """``queue``: requests that may wait. ``threads`` 0: all processors. ``stall_s``: see module."""

    queue: int = 32
    threads: int = 0
    stall_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Slot:
    """The right to use a child until ``done``."""

    child: Child
    id: int
    events: asyncio.Queue[Event] = field(repr=False)


class Supervisor:
    """One model: its file, its child, and who waits for it."""

    def __init__(self, spec: ModelSpec, isolation: str, limits: Limits) -> None:
        self._spec = spec
        self._isolation = check_isolation(isolation)
        self._limits = limits
        self._turn = asyncio.Lock()
        self._waiting = 0
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
        self._broken = self._broken or EngineError("The engine is closed.")
        self._changed.set()

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
                    self._broken, self.card = error, None
                    self._changed.set()
                    return
                failures += 1
            else:
                self._child, self.isolation = child, child.isolation
                self._changed.set()
                await child.gone.wait()
                self._changed.clear()
                self._child = None
                failures = 0 if child.answered else failures + 1
            if failures:
                await asyncio.sleep(min(_BACKOFF_S * 2**failures, _MAX_BACKOFF_S))

    async def _launch(self) -> Child:
        try:
            file = await asyncio.to_thread(self._spec.path.open, "rb")
        except OSError:
            raise ModelFileError("The model file cannot be read.") from None
        with file:
            header, digest = await asyncio.to_thread(check_file, file, self._spec.sha256)
            self.card = card(self._spec, header, digest)
            load = wire.Load(
                context=self.card.context,
                threads=self._limits.threads or len(os.sched_getaffinity(0)),
                form=label_form(header.metadata),
                abstention=declared(header.metadata, "abstention", extractive.ABSTENTION),
                separator=declared(header.metadata, "separator", extractive.SEPARATOR),
            )
            return await Child.start(file.fileno(), load, self._isolation, _LOAD_S)

    # --- one request ---------------------------------------------------------------------------

    async def answer(self, prompt: Prompt, deadline: float) -> AsyncGenerator[Chunk, None]:
        slot = await self._take_slot(prompt, deadline)
        done = False
        try:
            while not done:
                event = await self._next(slot, deadline)
                done = isinstance(event, wire.Done | wire.Failed | Gone)
                chunk = _chunk(event)
                if chunk is not None:
                    yield chunk
        finally:
            if done:
                self._turn.release()
            else:
                drain = asyncio.create_task(self._drain(slot))
                self._drains.add(drain)
                drain.add_done_callback(self._drains.discard)

    async def _take_slot(self, prompt: Prompt, deadline: float) -> _Slot:
        busy = self._turn.locked() or self._waiting
        if busy and self._waiting >= self._limits.queue:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError:
            raise EngineTimeoutError from None
        finally:
            self._waiting -= 1
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask(prompt)
        except TimeoutError:
            self._turn.release()
            raise EngineTimeoutError from None
        except BaseException:
            self._turn.release()
            raise

    async def _ask(self, prompt: Prompt) -> _Slot:
        while self._child is None:
            await self._changed.wait()
            if self._broken is not None:
                raise type(self._broken)(self._broken.message)
        request = _request(next(self._ids), prompt, self._spec.decoding)
        try:
            return _Slot(self._child, request.id, self._child.ask(request))
        except UnicodeEncodeError:
            raise RequestError("The prompt holds half a surrogate pair.") from None

    async def _next(self, slot: _Slot, deadline: float) -> Event:
        """Return the next event.

        Raises:
            EngineTimeoutError: the deadline has passed, or the child shows no life and was killed.
        """
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(deadline, now + self._limits.stall_s)):
                return await slot.events.get()
        except TimeoutError:
            if now + self._limits.stall_s < deadline:
                await slot.child.kill()
            raise EngineTimeoutError from None

    async def _drain(self, slot: _Slot) -> None:
        """Give the slot back when the child has let go of it; end a child that does not."""
        try:
            slot.child.cancel(slot.id)
            async with asyncio.timeout(self._limits.stall_s):
                while not isinstance(await slot.events.get(), wire.Done | wire.Failed | Gone):
                    pass
        except TimeoutError:
            await slot.child.kill()
        finally:
            self._turn.release()


def _request(identity: int, prompt: Prompt, decoding: Decoding) -> wire.Generate:
    quotes = decoding is Decoding.EXTRACTIVE or prompt.response_format.kind == "extractive"
    sampling = prompt.sampling
    # OpenAI's defaults for free decoding; a quotation is the likeliest one unless asked otherwise.
    temperature = sampling.temperature if sampling.temperature is not None else float(not quotes)
    return wire.Generate(
        id=identity,
        turns=tuple(
            wire.Turn(
                role="system" if message.role == "developer" else message.role,
                content=message.content or "",
                name=message.name,
                calls=tuple((call.id, call.name, call.arguments) for call in message.tool_calls),
                call_id=message.tool_call_id,
            )
            for message in prompt.messages
        ),
        extractive=quotes,
        stop=prompt.stop,
        max_tokens=sampling.max_tokens,
        temperature=temperature,
        top_p=sampling.top_p if sampling.top_p is not None else 1.0,
        seed=sampling.seed,
    )


def _chunk(event: Event) -> Chunk | None:
    """Translate an event; None for one that only shows life.

    Raises:
        ContextLengthExceededError: prompt and answer do not fit.
        UnsupportedParameterError: the model's template refuses these messages.
        EngineError: the child died.
    """
    match event:
        case wire.Piece(text=text):
            return Chunk(text)
        case wire.Done(finish=finish, prompt_tokens=read, completion_tokens=written):
            return Chunk(finish=_FINISH.get(finish, FinishReason.STOP), usage=Usage(read, written))
        case wire.Failed(why="context"):
            raise ContextLengthExceededError
        case wire.Failed():
            raise UnsupportedParameterError(
                "The model's chat template refuses these messages.", param="messages"
            )
        case Gone():
            raise EngineError
    return None
