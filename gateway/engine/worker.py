"""The child: one model behind the wall, spoken to over a pipe. Started by exec, never by fork.

It opens nothing: its model arrives as an open descriptor, its prompts on standard input. All it
needs is imported before the wall stands, and the wall stands before a byte of the model is read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import array

    from gateway.engine.embedder import Embedder
    from gateway.engine.native import Model

from gateway.engine import wall, wire
from gateway.engine.batch import Batcher, Job
from gateway.engine.channel import Channel
from gateway.engine.streams import Streams
from gateway.engine.template import TemplateFailedError, rehearse
from gateway.engine.tokenizing import Desk, UnfitError

_LIFETIME_S: Final = 600.0
"""How long what a conversation has computed may be reused (DESIGN §5)."""
_IDLE_S: Final = 15.0
_COMPILING_S: Final = 0.002
_NICE: Final = 5
"""The gateway needs a processor seldom and briefly, but then at once: it streams and records."""


class Worker:
    """A loaded model, and all that is asked of it."""

    def __init__(self, model: Model, load: wire.Load, channel: Channel) -> None:
        self._model = model
        self._channel = channel
        self._threads = load.threads
        self._desk = Desk(model, load)
        self._streams = Streams(load.streams, _LIFETIME_S, time.monotonic)
        self._batcher = Batcher(model, self._streams, time.monotonic, time.process_time)
        self._texts: deque[_Texts] = deque()
        self._embedder: Embedder | None = None
        self._pool = ThreadPoolExecutor(1)
        self._compiling: dict[int, Future[Job]] = {}
        self._clean = True
        channel.heard = self._hear

    def _hear(self, message: wire.ToChild | None) -> None:
        """Called by the channel's thread, while a step may be under way."""
        if message is None:
            self._model.abandon()
        elif isinstance(message, wire.Cancel):
            self._batcher.unwanted(message.id)

    def serve(self) -> None:
        """Answer until the gateway closes the pipe.

        Raises:
            EOFError: it has.
            NativeError: the context can no longer be relied on.
        """
        while True:
            for message in self._channel.receive(self._patience()):
                self._take(message)
            for identity in [one for one, job in self._compiling.items() if job.done()]:
                self._add(identity, self._compiling.pop(identity).result)
            if self._batcher.busy:
                self._clean = False
                self._channel.send(self._batcher.step())
            elif not self._clean and self._streams.expire():
                self._model.wipe()
                self._clean = True
            if self._texts:
                self._embed()

    def _patience(self) -> float:
        """How long, in seconds, there is nothing to do but listen."""
        if self._batcher.busy or self._texts:
            return 0
        return _COMPILING_S if self._compiling else _IDLE_S

    def _take(self, message: wire.ToChild) -> None:
        match message:
            case wire.Generate(grammar=""):
                self._add(message.id, lambda: self._desk.job(message))
            case wire.Generate():
                # Compiling takes up to a tenth of a second and needs no lock: others go on.
                self._compiling[message.id] = self._pool.submit(self._desk.job, message)
            case wire.Embed():
                self._read(message)
            case wire.Cancel():
                self._batcher.cancel(message.id)
                if self._compiling.pop(message.id, None) is not None:
                    self._refuse(message.id, UnfitError("grammar"))
                if any(one.id == message.id for one in self._texts):
                    self._texts = deque(one for one in self._texts if one.id != message.id)
                    self._refuse(message.id, UnfitError("native"))
            case wire.Forget():
                self._streams.forget()
            case wire.Load():
                raise wire.WireError("A model is loaded once.")

    def _add(self, identity: int, make: Callable[[], Job]) -> None:
        from gateway.engine import rows  # noqa: PLC0415 - see main

        try:
            self._batcher.add(make())
        except (rows.NativeError, UnfitError) as error:
            self._refuse(identity, error)

    def _read(self, message: wire.Embed) -> None:
        from gateway.engine import rows  # noqa: PLC0415 - see main

        try:
            texts = [self._desk.text(text) for text in message.texts]
        except (rows.NativeError, UnfitError) as error:
            self._refuse(message.id, error)
        else:
            self._texts.append(_Texts(message.id, texts))

    def _refuse(self, identity: int, error: Exception) -> None:
        """Say that a request gets no answer; of llama.cpp's refusals there is nothing to tell."""
        why = error.why if isinstance(error, UnfitError) else "native"
        self._channel.send(wire.Step(ended=(wire.Failed(identity, why),)))

    def _embed(self) -> None:
        """Go on with one text of one request; between two steps all others have their turn."""
        from gateway.engine import embedder, rows  # noqa: PLC0415 - see main

        texts = self._texts.popleft()
        started = time.process_time()
        try:
            if self._embedder is None:
                self._embedder = embedder.Embedder(self._model, self._threads)
            done = texts.go_on(self._embedder)
        except (rows.NativeError, UnfitError) as error:
            texts.close()
            self._refuse(texts.id, error)
            return
        texts.processor_s += time.process_time() - started
        if not done:
            # One text in the making at a time: the context holds one.
            self._texts.appendleft(texts) if texts.making else self._texts.append(texts)
            self._channel.send(wire.Step())  # a sign of life
            return
        vectors = tuple(texts.vectors)
        self._channel.send(wire.Vectors(texts.id, vectors, texts.tokens, texts.processor_s))


class _Texts:
    """A request for vectors on its way. ``making``: a text has been begun."""

    def __init__(self, identity: int, texts: Sequence[Sequence[int]]) -> None:
        self.id = identity
        self.tokens = sum(map(len, texts))
        self.vectors: list[bytes] = []
        self.processor_s = 0.0
        self._left = deque(texts)
        self.making: Generator[None, None, array.array[float]] | None = None

    def go_on(self, embedder: Embedder) -> bool:
        """Take one step; return whether all vectors are there."""
        if self.making is None:
            self.making = embedder.embed(self._left.popleft())
        try:
            next(self.making)
        except StopIteration as end:
            self.vectors.append(end.value.tobytes())
            self.making = None
        return self.making is None and not self._left

    def close(self) -> None:
        if self.making is not None:
            self.making.close()


def enclose(isolation: str) -> str:
    """Harden this process and raise the wall; return what stands."""
    os.nice(_NICE)
    wall.die_first()
    wall.harden_process()
    wall.die_with_parent()
    return wall.NONE if isolation == wall.NONE else wall.raise_wall()


def bind_library() -> None:
    """Make ``llama_cpp.llama_cpp`` importable without its package's ``__init__``.

    That would bring numpy, sockets, SQLite and a thread pool into the child, and a third of a
    second; the binding needs none of them.
    """
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("llama_cpp")
    package = types.ModuleType("llama_cpp")
    package.__path__ = found.submodule_search_locations
    sys.modules["llama_cpp"] = package


def main() -> None:
    """Serve until the gateway closes the pipe.

    Arguments: root, isolation, and the descriptors of the model and its adapters.
    """
    isolation, descriptors = sys.argv[2], [int(text) for text in sys.argv[3:]]
    bind_library()
    from gateway.engine import embedder, native  # noqa: F401, PLC0415 - after the line above

    native.silence()
    rehearse()
    files = [native.open_stream(descriptor) for descriptor in descriptors]
    channel = Channel()
    with contextlib.suppress(EOFError):
        serve(channel, lambda: enclose(isolation), files)


def serve(channel: Channel, raise_wall: Callable[[], str], files: Sequence[int]) -> None:
    """Raise the wall, load, say so, then answer."""
    from gateway.engine import native, rows  # noqa: PLC0415 - see main

    try:
        stands = raise_wall()
    except wall.WallError:
        channel.send(wire.LoadFailed("wall"))
        return
    channel.listen()
    load = channel.receive(None)[0]
    if not isinstance(load, wire.Load):
        return
    try:
        model = native.Model(files, load)
        worker = Worker(model, load, channel)
    except (rows.NativeError, TemplateFailedError):
        channel.send(wire.LoadFailed("model"))
        return
    channel.send(wire.Ready(stands, model.context))
    worker.serve()
