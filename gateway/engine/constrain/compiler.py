"""Whether a grammar compiles, found out in a throwaway process and remembered.

A grammar made from a schema of a user may run for ever, fill memory or crash native code. It does
so in a process that is there for nothing else; all of these mean the same for the request: 400.
One process waits, warm, for the next question; it answers one and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.engine.constrain.compiling import NO_WALL, READY
from gateway.errors import EngineError, SettingsError

_ROOT: Final = Path(__file__).resolve().parents[3]
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from gateway.engine.constrain.compiling import main; main()"
)
_INHERITED: Final = ("LD_LIBRARY_PATH",)
_START_S: Final = 20.0
_ANSWER_S: Final = 2.0
_AT_ONCE: Final = 2
_REMEMBERED: Final = 512

FAILED: Final = "failed"
"""The verdict on what crashed, ran out of time or memory, or said nothing known."""
_VERDICTS: Final = frozenset(
    ["ok", "contradiction", "cannot", "oneOf", "pattern", "properties", "patterns"]
)


class Compiler:
    """``isolation``: as for an engine's child. Close it with ``aclose``."""

    def __init__(self, isolation: str = "required") -> None:
        self._isolation = isolation
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._spare: asyncio.Task[_Process] | None = None
        self._closed = False

    async def verdict(self, grammars: Sequence[str]) -> str:
        """Return "ok", why the grammars cannot be used, or ``FAILED``.

        What is remembered are digests under a key of this object, not the grammars.

        Raises:
            SettingsError: the kernel grants no wall and the settings do not waive it.
            EngineError: no process could be started.
        """
        question = json.dumps(list(grammars)).encode()
        key = hashlib.blake2b(question, key=self._key, digest_size=32).digest()
        known = self._known.get(key)
        if known is None:
            async with self._places:
                known = self._known.get(key) or await self._ask(question)
        # One that failed once may have met a busy machine: it is asked again.
        if known != FAILED:
            self._known[key] = known
            self._known.move_to_end(key)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    async def warm(self) -> None:
        """Start the process that will answer first, and wait until it can."""
        if self._spare is None and not self._closed:
            self._spare = asyncio.create_task(_Process.start(self._isolation))
        if self._spare is not None:
            await asyncio.shield(self._spare)

    async def aclose(self) -> None:
        """End the process that waits. Idempotent."""
        self._closed = True
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(SettingsError, EngineError):
                await (await spare).end()

    async def _ask(self, question: bytes) -> str:
        waiting, self._spare = self._spare, None
        process = await (waiting or _Process.start(self._isolation))
        try:
            return await process.ask(question)
        finally:
            await process.end()
            if self._spare is None and not self._closed:
                self._spare = asyncio.create_task(_Process.start(self._isolation))


class _Process:
    """One throwaway process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(process.pid)

    @classmethod
    async def start(cls, isolation: str) -> _Process:
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        try:
            started = cls(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-B", "-c", _BOOT, str(_ROOT), isolation),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=environment,
                )
            )
        except OSError:
            raise EngineError("The grammar compiler could not be started.") from None
        try:
            async with asyncio.timeout(_START_S):
                sign = await started._read(len(READY))
        except TimeoutError:
            sign = b""
        except BaseException:
            await started.end()
            raise
        if sign != READY:
            await started.end()
            if sign == NO_WALL:
                raise SettingsError("The kernel grants no wall around native code.")
            raise EngineError("The grammar compiler could not be started.")
        return started

    async def ask(self, question: bytes) -> str:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            async with asyncio.timeout(_ANSWER_S):
                stdin.write(question)
                with contextlib.suppress(ConnectionError):
                    await stdin.drain()
                stdin.close()
                word = (await self._read(-1)).decode("ascii", "replace")
        except TimeoutError:
            return FAILED
        return word if word in _VERDICTS else FAILED

    async def end(self) -> None:
        """Kill it, if it still runs, and wait until the kernel has buried it."""
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.close(self._handle)
            self._handle = None
        await self._process.wait()

    async def _read(self, count: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was started with a pipe
        return await stdout.read(count)
