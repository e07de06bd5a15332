"""From the writer's thread to an event loop: what one transaction released wakes the loop once."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")


class Landing:
    """Makes futures of another thread awaitable. For one event loop.

    ``asyncio.wrap_future`` does the same with a wake-up for each future; here those that are done
    while the loop is busy share one.
    """

    def __init__(self) -> None:
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False

    async def of(self, future: Future[_T]) -> _T:
        """The result of a future. Who is cancelled meanwhile leaves the future as it is.

        Raises:
            BaseException: what the future holds.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[_T] = loop.create_future()

        def arrived(done: Future[_T]) -> None:
            self._done.append((waiting, done))
            if not self._called and not loop.is_closed():
                self._called = True
                loop.call_soon_threadsafe(self._land)

        future.add_done_callback(arrived)
        return await waiting

    def _land(self) -> None:
        self._called = False  # first: what arrives from here on calls again
        while self._done:
            waiting, done = self._done.popleft()
            if waiting.done():
                continue
            try:
                waiting.set_result(done.result())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the waiter's
                waiting.set_exception(error)
