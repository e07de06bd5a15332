"""Results of another thread on an event loop: each arrives, whoever leaves; wake-ups are shared."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future

import pytest

from audit.landing import Landing


def test_each_result_and_each_error_arrives_where_it_is_awaited():
    """Futures that a thread resolves in any order are told apart, errors are raised."""

    async def main():
        landing = Landing()
        futures = [Future() for _ in range(200)]
        waiting = [asyncio.create_task(landing.of(future)) for future in futures]
        await asyncio.sleep(0)

        def resolve():
            for number, future in reversed(list(enumerate(futures))):
                if number % 3:
                    future.set_result(number)
                else:
                    future.set_exception(ValueError(str(number)))

        threading.Thread(target=resolve).start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    for number, found in enumerate(asyncio.run(main())):
        assert (found == number) if number % 3 else (str(found) == str(number))


def test_who_leaves_disturbs_nobody():
    """A cancelled waiter leaves its future alone; the others get theirs."""

    async def main():
        landing, first, second = Landing(), Future(), Future()
        gone, stays = (asyncio.create_task(landing.of(f)) for f in (first, second))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert not first.cancelled()
        first.set_result(1)
        second.set_result(2)
        return await stays

    assert asyncio.run(main()) == 2


def test_a_future_that_was_cancelled_is_an_error_for_who_waits():
    """Whoever cancels the future itself is told apart from a loop that ends."""

    async def main():
        landing, future = Landing(), Future()
        waiting = asyncio.create_task(landing.of(future))
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(CancelledError):
            await waiting

    asyncio.run(main())


def test_what_is_done_at_once_wakes_the_loop_once(monkeypatch):
    """A thousand results of one transaction are one call into the loop, not a thousand."""

    async def main():
        loop, calls = asyncio.get_running_loop(), []
        call = loop.call_soon_threadsafe
        monkeypatch.setattr(
            loop, "call_soon_threadsafe", lambda *args: calls.append(1) or call(*args)
        )
        landing, futures = Landing(), [Future() for _ in range(1000)]
        waiting = [asyncio.create_task(landing.of(future)) for future in futures]
        await asyncio.sleep(0)
        for future in futures:
            future.set_result(None)
        await asyncio.gather(*waiting)
        return len(calls)

    assert asyncio.run(main()) == 1


def test_a_loop_that_ended_is_left_alone():
    """What becomes done after the loop closed raises in nobody's thread."""
    future = Future()

    async def main():
        task = asyncio.create_task(Landing().of(future))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    future.set_result(1)
    assert future.result() == 1
