"""From an ``Ask`` to an HTTP answer: admission, time limits, clients that leave, receipts.

What is the same for chat, legacy completions and responses. A request is one or several asks, each
with an intent and an outcome of its own; they are answered one after the other, so no request has
more than one place in the engine's queue. What a format looks like is its writer's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from litestar.response.base import ASGIResponse

from gateway.answer import total
from gateway.api.problems import RECEIPT_HEADER, Problem
from gateway.api.stream import DONE, EventStream, error_event, unless_gone
from gateway.domain import Chunk, FinishReason, TokenLogprob, ToolCall, Usage, Verdict
from gateway.errors import EngineError, EngineTimeoutError, GatewayError

if TYPE_CHECKING:
    from gateway.api.services import ApiRequest, Services
    from gateway.domain import Ask
    from gateway.pipeline import Answering


@dataclass(frozen=True, slots=True)
class Surface:
    """An endpoint: its route, and what parameters are called here that a prompt is built from.

    ``params``: beginnings of a chat completion's parameters and their names here, longest first.
    """

    route: str
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def name(self, error: GatewayError) -> None:
        """Let the error name the parameter that this endpoint publishes."""
        for theirs, ours in self.params.items():
            if error.param is not None and error.param.startswith(theirs):
                error.param = ours
                return


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole answer."""

    index: int
    text: str = field(repr=False)
    calls: tuple[ToolCall, ...]
    logprobs: tuple[TokenLogprob, ...] = field(repr=False)
    finish: FinishReason


@dataclass(frozen=True, slots=True)
class Whole:
    """All answers to one ask; ``usage`` is of all of them."""

    receipt_id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage
    verdicts: tuple[Verdict, ...]


class Asks:
    """The asks of one request, admitted one by one; ``current`` is being answered."""

    def __init__(
        self, services: Services, surface: Surface, asks: Sequence[Ask], deadline: float
    ) -> None:
        self.asks = asks
        self.deadline = deadline
        self.current: Answering | None = None
        self._services = services
        self.surface = surface

    async def admit(self, ask: Ask) -> Answering:
        """Begin an answer: its intent is on record.

        Raises:
            EngineTimeoutError: the time of the request is over.
            GatewayError: as the pipeline; ``param`` is this endpoint's.
        """
        started = time.perf_counter()
        try:
            async with asyncio.timeout_at(self.deadline):
                self.current = await self._services.pipeline.chat(ask)
        except TimeoutError:
            raise EngineTimeoutError from None
        except GatewayError as error:
            self.surface.name(error)
            raise
        self._services.metrics.admitted(time.perf_counter() - started)
        return self.current

    async def following(self, first: Answering) -> AsyncGenerator[Answering, None]:
        """``first``, and then the answers to the other asks, each admitted when its turn comes."""
        yield first
        for ask in self.asks[1:]:
            await self.aclose()
            yield await self.admit(ask)

    async def aclose(self) -> None:
        """End the answer that is on its way. Idempotent."""
        if self.current is not None:
            await self.current.aclose()


async def answer_whole(
    request: ApiRequest, services: Services, asks: Asks, write: Callable[[Sequence[Whole]], bytes]
) -> ASGIResponse:
    """Answer with what ``write`` makes of all answers, in the order of the asks.

    Raises:
        GatewayError: any of them; what went wrong after admission names its receipt.
        ClientGoneError: nobody is left to answer.
    """

    async def work() -> ASGIResponse:
        answers = [await _whole(asks, ask) for ask in asks.asks]
        headers = {RECEIPT_HEADER: answers[0].receipt_id}
        return ASGIResponse(body=write(answers), headers=headers)

    end = services.metrics.begin(asks.surface.route)
    try:
        return await unless_gone(request.receive, work())
    finally:
        end()


async def _whole(asks: Asks, ask: Ask) -> Whole:
    answering = await asks.admit(ask)
    try:
        async with asyncio.timeout_at(asks.deadline):
            return await collect(answering, ask.prompt.sampling.n)
    except TimeoutError:
        raise _with_receipt(EngineTimeoutError(), answering) from None
    except GatewayError as error:
        raise _with_receipt(error, answering) from None
    finally:
        await answering.aclose()


async def answer_streamed(  # noqa: PLR0913 - the last two are for another protocol
    request: ApiRequest,
    services: Services,
    asks: Asks,
    write: Callable[[AsyncGenerator[Answering, None]], AsyncGenerator[bytes, None]],
    *,
    ending: Callable[[Problem], bytes] = error_event,
    done: bytes = DONE,
) -> ASGIResponse:
    """Answer with the events that ``write`` makes; ``ending`` and ``done`` as in ``EventStream``.

    Raises:
        GatewayError: what went wrong before the first event; what does after it is an event.
        ClientGoneError: nobody is left to answer.
    """
    end = services.metrics.begin(asks.surface.route)
    try:
        first = await unless_gone(request.receive, asks.admit(asks.asks[0]))
    except BaseException:
        end()
        raise

    async def close() -> None:
        end()
        await asks.aclose()

    return EventStream(
        write(asks.following(first)),
        close=close,
        failed=services.metrics.failed,
        deadline=asks.deadline,
        headers={RECEIPT_HEADER: first.receipt_id},
        ending=ending,
        done=done,
    )


async def collect(answering: Answering, count: int) -> Whole:
    """Read ``count`` answers to their end.

    Raises:
        EngineError: one of them ended without its last chunk.
    """
    chunks: list[list[Chunk]] = [[] for _ in range(count)]
    async for chunk in answering.chunks:
        chunks[chunk.index].append(chunk)
    ends = [each[-1] if each else Chunk() for each in chunks]
    usage = usage_of(ends, count)
    choices = tuple(
        Choice(
            index=index,
            text="".join(chunk.text for chunk in each),
            calls=tuple(call for chunk in each for call in chunk.tool_calls),
            logprobs=tuple(told for chunk in each for told in chunk.logprobs),
            finish=end.finish,
        )
        for index, (each, end) in enumerate(zip(chunks, ends, strict=True))
        if end.finish is not None
    )
    return Whole(
        answering.receipt_id,
        answering.model,
        answering.created,
        choices,
        usage,
        tuple(answering.annotations),
    )


def usage_of(ends: Sequence[Chunk], count: int) -> Usage:
    """The tokens of ``count`` answers by their last chunks.

    Raises:
        EngineError: one of them has not ended.
    """
    counted = [end.usage for end in ends if end.finish is not None and end.usage is not None]
    if len(counted) != count:
        raise EngineError
    return total(counted)


def _with_receipt(error: GatewayError, answering: Answering) -> GatewayError:
    error.receipt_id = error.receipt_id or answering.receipt_id
    return error
