"""The gateway's side of one child: start it, load its model, ask it, end it.

A child has three pipes (its standard error leads nowhere) and the open descriptors of its model and
adapters. Nothing else is inherited, and nothing else is ever given to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.engine import wall, wire
from gateway.errors import EngineError, EngineTimeoutError, ModelFileError, SettingsError

_ROOT: Final = Path(__file__).resolve().parents[2]
# -I ignores the environment and the working directory, so the package's place is an argument.
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from gateway.engine.worker import main; main()"
)
# What a Python built with shared libraries off the default path cannot start without.
_INHERITED: Final = ("LD_LIBRARY_PATH",)
# Threads of a matrix product wait for each other hundreds of times a token. By default libgomp has
# them spin as long as there are cores for all: where a neighbour takes one, the others
# spin for a whole time slice, and a token takes ten times as long. Some microseconds of spinning
# cost nothing on a quiet machine, and hardly more than none on a busy one (docs/adr/0014).
_MANNERS: Final = {"GOMP_SPINCOUNT": "3000"}

# More than any model writes within a deadline. Beyond it the child is flooding the gateway.
_MAX_WAITING: Final = 1 << 18  # events that nobody has taken yet
_MAX_SAID: Final = 64 * 1024 * 1024  # characters of one request
_DRAIN_S: Final = 1.0


class Gone:
    """Stands in the queue of a generation whose child has died."""


Event = wire.Said | wire.Done | wire.Failed | wire.Vectors | Gone
Asked = wire.Generate | wire.Embed
Events = asyncio.Queue[Any]
"""Holds ``Event``; who asked may put values of its own among them."""


class Child:
    """One running child. ``gone`` is set when it has ended, for whatever reason."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(process.pid)
        self._events: dict[int, Events] = {}
        self._said: dict[int, int] = {}  # characters, by request
        self._first: asyncio.Future[wire.Ready | wire.LoadFailed] = (
            asyncio.get_running_loop().create_future()
        )
        self._listener = asyncio.create_task(self._listen())
        self.gone = asyncio.Event()
        self.answered = False
        self.stalled = False
        self.heard = asyncio.get_running_loop().time()
        self.isolation = ""

    @classmethod
    async def start(
        cls, descriptors: Sequence[int], load: wire.Load, isolation: str, within_s: float
    ) -> Child:
        """Start a child on an open model and its adapters; wait until it has loaded them.

        Raises:
            SettingsError: the kernel grants no wall and the settings do not waive it.
            ModelFileError: llama.cpp or the template refused the model.
            EngineError: the child died or took longer than ``within_s`` seconds.
        """
        kept = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-B", "-c", _BOOT),
                *(str(_ROOT), isolation, *map(str, descriptors)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_MANNERS | kept,
                pass_fds=descriptors,
            )
        except OSError:
            raise EngineError("The engine's child could not be started.") from None
        child = cls(process)
        try:
            await child._load(load, within_s)
        except BaseException:
            await child.kill()
            raise
        return child

    async def _load(self, load: wire.Load, within_s: float) -> None:
        self._write(wire.pack(load))
        try:
            async with asyncio.timeout(within_s):
                first = await asyncio.shield(self._first)
        except TimeoutError:
            raise EngineTimeoutError("The engine's child did not load its model in time.") from None
        if isinstance(first, wire.Ready):
            self.isolation = first.isolation
        elif first.why == "wall":
            raise SettingsError(
                'The kernel grants no wall around native code. Set engine.isolation = "none" to '
                "run without it; every record will say so."
            )
        else:
            raise ModelFileError("llama.cpp refused the model file or its chat template.")

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Asked) -> Events:
        """Send a request; its events arrive in the queue until ``release``.

        Raises:
            UnicodeEncodeError: a text holds half a surrogate pair.
        """
        events: Events = asyncio.Queue()
        packed = wire.pack(request)
        if not self._events:
            self.heard = asyncio.get_running_loop().time()  # it had nothing to say until now
        self._events[request.id] = events
        if self.gone.is_set():
            events.put_nowait(Gone())
        else:
            self._write(packed)
        return events

    @property
    def asked(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._events)

    def cancel(self, identity: int) -> None:
        """Tell the child that nobody wants the rest; it answers with the end of each answer."""
        self._write(wire.pack(wire.Cancel(identity)))

    def forget(self) -> None:
        self._write(wire.pack(wire.Forget()))

    def release(self, identity: int) -> None:
        """What the child still says of a request belongs to nobody."""
        self._events.pop(identity, None)
        self._said.pop(identity, None)

    async def kill(self) -> None:
        """End the child and wait until the kernel has buried it. Idempotent."""
        self._signal()
        await self._process.wait()
        await self._listener

    def _signal(self) -> None:
        # By descriptor: a number may be another process's by now, and Process.kill() may reap
        # the child behind asyncio's back.
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def _write(self, packed: bytes) -> None:
        # A dead child's pipe swallows this; its death is told through ``gone``.
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(packed)

    async def _listen(self) -> None:
        """Hand out what the child says until it ends or breaks the protocol."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it was started with a pipe
        try:
            while True:
                header = await stream.readexactly(wire.HEADER_BYTES)
                self._take(wire.read_from_child(await stream.readexactly(wire.length(header))))
        except (asyncio.IncompleteReadError, wire.WireError, OSError):
            self._signal()
        finally:
            await self._bury()

    def _take(self, message: wire.FromChild) -> None:
        self.heard = asyncio.get_running_loop().time()
        match message:
            case wire.Ready() | wire.LoadFailed():
                if not self._first.done():
                    self._first.set_result(message)
            case wire.Vectors():
                self.answered = True
                self._hand_on(message)
            case wire.Step():
                for said in message.said:
                    self._hand_on(said)
                for end in message.ended:
                    self.answered = self.answered or isinstance(end, wire.Done)
                    self._hand_on(end)

    def _hand_on(self, event: wire.Said | wire.Done | wire.Failed | wire.Vectors) -> None:
        """Raises: WireError: more than an answer is; nothing may pile up in the gateway."""
        events = self._events.get(event.id)
        if events is None:
            return  # whoever asked has gone
        if isinstance(event, wire.Said):
            self._said[event.id] = self._said.get(event.id, 0) + len(event.text)
        if events.qsize() >= _MAX_WAITING or self._said.get(event.id, 0) > _MAX_SAID:
            raise wire.WireError("The engine's child says too much.")
        events.put_nowait(event)

    async def _bury(self) -> None:
        await self._drain()  # first: asyncio's wait() does not end while a pipe is open
        await self._process.wait()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not self._first.done():
            self._first.set_exception(EngineError("The engine's child died while it started."))
            self._first.exception()  # retrieved, so that nobody warns when no one waits
        self.gone.set()
        for events in self._events.values():
            events.put_nowait(Gone())

    async def _drain(self) -> None:
        """Read what a dead child left in its pipe: one that is not at its end is never closed."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it was started with a pipe
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_DRAIN_S):
                while await stream.read(1 << 16):
                    pass


def check_isolation(isolation: str) -> str:
    """Return the argument a child understands. Empty and unknown values keep the wall."""
    return wall.NONE if isolation == wall.NONE else "required"
