"""Work in several processes, its results in the order of the items, little of it in flight.

The first item is worked on here: what it warms (tables, automata) the processes then inherit, and
little input never starts any. They are forked, so what does the work needs no pickling; items and
results go through pipes, in memory. A process that dies (out of memory, a crash of native code)
costs the item that it died of and no other.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from gateway.engine.wall import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # items in flight for each process

_work: list[Callable[[Any], Any]] = []
"""What a process of the pool does; set in the process, by fork."""


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item | None],
    workers: int,
    lost: Callable[[Item], Result],
) -> Iterator[Result]:
    """``work(item)`` for each item. At a None everything so far is given out before going on.

    ``lost(item)`` is the result for an item that a process died of.
    """
    pool: ProcessPoolExecutor | None = None
    pending: deque[tuple[Item, Future[Result]]] = deque()
    first = True
    try:
        for item in items:
            if item is not None and (first or workers <= 1):
                first = False
                yield work(item)
                continue
            if item is not None:
                pool = pool or _pool(work, workers)
                pending.append((item, _submit(pool, item)))
            while pending and (
                item is None or len(pending) > _AHEAD * workers or pending[0][1].done()
            ):
                if _broken(pending[0][1]):
                    yield from _recover(work, pending, lost)
                    _close(pool)
                    pool = None
                else:
                    yield pending.popleft()[1].result()
        while pending:
            if _broken(pending[0][1]):
                yield from _recover(work, pending, lost)
            else:
                yield pending.popleft()[1].result()
    finally:
        _close(pool)


def _pool(work: Callable[[Item], Result], workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers, mp_context=get_context("fork"), initializer=_adopt, initargs=(work,)
    )


def _submit(pool: ProcessPoolExecutor, item: Item) -> Future[Any]:
    try:
        return pool.submit(_call, item)
    except BrokenProcessPool as error:
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


def _close(pool: ProcessPoolExecutor | None) -> None:
    if pool is not None:
        pool.shutdown(cancel_futures=True)


def _broken(future: Future[Result]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _recover(
    work: Callable[[Item], Result],
    pending: deque[tuple[Item, Future[Result]]],
    lost: Callable[[Item], Result],
) -> Iterator[Result]:
    """Work again on what was in flight when a process died, each item in a process of its own."""
    while pending:
        item, future = pending.popleft()
        if not _broken(future):
            yield future.result()
            continue
        with _pool(work, 1) as alone:
            again = _submit(alone, item)
            yield lost(item) if _broken(again) else again.result()


def _adopt(work: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    _work[:] = [work]


def _call(item: Any) -> Any:
    return _work[0](item)
