"""Server-sent events, and what happens when the client goes away.

A stream ends in exactly one of three ways: with ``[DONE]`` (or the last event of its protocol)
after the outcome of the answer is on record, with an error event and neither, or because the client
left. In all of them the answer is closed before the response is over, so that no model slot
outlives its request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from litestar.response.base import ASGIResponse

from gateway.api.problems import Problem, to_problem
from gateway.errors import EngineTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping

    from litestar.types import Receive, Send

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"

# JSON leaves these bare, and line readers that follow Unicode split an event at them.
_LINE_ENDS = (
    ("\u0085".encode(), rb"\u0085"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


class ClientGoneError(Exception):
    """The client closed the connection; there is nobody to answer."""


def event(data: bytes, name: str = "") -> bytes:
    """Return one server-sent event with ``data``, which is JSON. ``name``: a constant."""
    if not data.isascii():
        for bare, escaped in _LINE_ENDS:
            data = data.replace(bare, escaped)
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"


def error_event(problem: Problem) -> bytes:
    """Return what a stream ends with that failed."""
    return event(problem.body())


async def unless_gone(receive: Receive, work: Coroutine[object, object, T]) -> T:
    """Return the result of ``work``; cancel it when the client leaves first.

    The request's body must have been read. ``work`` that completes although it was cancelled has
    won: its result is returned, for somebody has to close it.

    Raises:
        ClientGoneError: the client left and ``work`` has been cancelled, its clean-up included.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            if task.cancelled():
                raise ClientGoneError
        return task.result()
    finally:
        await _end(task, gone)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class EventStream(ASGIResponse):
    """Sends events as they come; ``close`` is awaited at the end whatever the end is.

    ``deadline``, in the time of the running loop, ends the stream also of a client that reads
    slowly. ``failed`` is told the code of a failure in mid-stream, ``ending`` writes its event;
    ``done`` ends a stream that is complete.
    """

    _should_set_content_length = False

    def __init__(  # noqa: PLR0913 - each is one thing that a stream needs, by its name
        self,
        events: AsyncGenerator[bytes, None],
        *,
        close: Callable[[], Awaitable[None]],
        failed: Callable[[str], None],
        deadline: float,
        headers: Mapping[str, str],
        ending: Callable[[Problem], bytes] = error_event,
        done: bytes = DONE,
    ) -> None:
        super().__init__(media_type="text/event-stream", headers=dict(headers))
        self._events = events
        self._close = close
        self._failed = failed
        self._deadline = deadline
        self._ending = ending
        self._done = done

    async def send_body(self, send: Send, receive: Receive) -> None:
        try:
            await unless_gone(receive, self._pump(send))
        except ClientGoneError:
            pass
        finally:
            await self._events.aclose()
            await self._close()

    async def _pump(self, send: Send) -> None:
        try:
            await self._send_events(send)
        except Exception as error:  # noqa: BLE001 - to_problem reduces whatever it is
            problem = to_problem(error)
            self._failed(problem.code)
            last = self._ending(problem)
        else:
            last = self._done
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(self, send: Send) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                async for data in self._events:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise EngineTimeoutError from None
