"""The gateway's side of one child: start it, load its model, ask it, end it.

A child has an empty environment, three pipes (its standard error leads nowhere) and the open
descriptor of its model. Nothing else is inherited, and nothing else is ever given to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from gateway.engine import wall, wire
from gateway.errors import EngineError, EngineTimeoutError, ModelFileError, SettingsError

_ROOT: Final = Path(__file__).resolve().parents[2]
# -I ignores the environment and the working directory, so the package's place is an argument.
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from gateway.engine.worker import main; main()"
)
# What a Python built with shared libraries off the default path cannot start without.
_INHERITED: Final = ("LD_LIBRARY_PATH",)

# More than any model writes within a deadline. Beyond it the child is flooding the gateway.
_MAX_WAITING: Final = 1 << 18  # events that nobody has taken yet
_DRAIN_S: Final = 1.0
_MAX_ANSWER: Final = 64 * 1024 * 1024  # characters of one answer


class Gone:
    """Stands in the queue of a generation whose child has died."""


Event = wire.Progress | wire.Piece | wire.Done | wire.Failed | Gone


class Child:
    """One running child. ``gone`` is set when it has ended, for whatever reason."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(process.pid)
        self._events: asyncio.Queue[Event] | None = None
        self._generation = 0
        self._said = 0
        self._first: asyncio.Future[wire.Ready | wire.LoadFailed] = (
            asyncio.get_running_loop().create_future()
        )
        self._listener = asyncio.create_task(self._listen())
        self.gone = asyncio.Event()
        self.answered = False
        self.isolation = ""

    @classmethod
    async def start(
        cls, descriptor: int, load: wire.Load, isolation: str, within_s: float
    ) -> Child:
        """Start a child on the open model ``descriptor`` and wait until it has loaded it.

        Raises:
            SettingsError: the kernel grants no wall and the settings do not waive it.
            ModelFileError: llama.cpp or the template refused the model.
            EngineError: the child died or took longer than ``within_s`` seconds.
        """
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-B", "-c", _BOOT),
                *(str(_ROOT), str(descriptor), isolation),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                pass_fds=(descriptor,),
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
        self._send(load)
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

    def ask(self, request: wire.Generate) -> asyncio.Queue[Event]:
        """Send a request; its events arrive in the queue. One at a time."""
        self._events, self._generation, self._said = asyncio.Queue(), request.id, 0
        if self.gone.is_set():
            self._events.put_nowait(Gone())
        else:
            self._send(request)
        return self._events

    def cancel(self, generation: int) -> None:
        self._send(wire.Cancel(generation))

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

    def _send(self, message: wire.ToChild) -> None:
        # A dead child's pipe swallows this; its death is told through ``gone``.
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(wire.pack(message))

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
        if isinstance(message, wire.Ready | wire.LoadFailed):
            if not self._first.done():
                self._first.set_result(message)
        elif self._events is not None and message.id == self._generation:
            self._hand_on(self._events, message)

    def _hand_on(self, events: asyncio.Queue[Event], message: Event) -> None:
        """Raises: WireError: more than an answer is; nothing may pile up in the gateway."""
        if isinstance(message, wire.Progress) and not events.empty():
            return  # who has something to take knows that the child lives
        self._said += len(message.text) if isinstance(message, wire.Piece) else 0
        if self._said > _MAX_ANSWER or events.qsize() >= _MAX_WAITING:
            raise wire.WireError("The engine's child says too much.")
        self.answered = self.answered or isinstance(message, wire.Done)
        events.put_nowait(message)
        if isinstance(message, wire.Done | wire.Failed):
            self._events = None  # whatever follows belongs to nobody

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
        if self._events is not None:
            self._events.put_nowait(Gone())

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
