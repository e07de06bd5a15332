"""One model's child, kept running: started, watched, started again when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from gateway.domain import ModelCard
from gateway.engine import extractive, wire
from gateway.engine.adapters import check_adapter
from gateway.engine.child import Child, check_isolation
from gateway.engine.constrain.dialects import DESCRIBED, dialect_of
from gateway.engine.gguf_header import GgufHeader, Kind, read_header
from gateway.engine.memory import UBATCH, Estimate, estimate
from gateway.engine.model_file import (
    ModelSpec,
    adapter_card,
    card,
    check_file,
    context_of,
    declared,
    label_form,
)
from gateway.errors import EngineError, EngineTimeoutError, GatewayError, ModelFileError

_LOAD_S: Final = 120.0
_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 10.0
_STARTS: Final = 4
"""Deaths in a row, each before the model was loaded, after which a model is given up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``slots``: answers at once. ``queue``: requests that may wait. ``threads`` 0: all processors.

    ``stall_s``: seconds without a sign of life after which a child is killed.
    """

    slots: int = 8
    queue: int = 32
    threads: int = 0
    stall_s: float = 60.0


class Keeper:
    """A model with its ``adapters``, loaded or not.

    ``changed`` is called when a child is there, and when there will be none.
    """

    def __init__(
        self,
        spec: ModelSpec,
        adapters: Sequence[ModelSpec],
        isolation: str,
        limits: Limits,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._adapters = tuple(adapters)
        self._isolation = check_isolation(isolation)
        self._limits = limits
        self._tell = changed
        self._settled = asyncio.Event()  # there is a child, or never will be
        self._task: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self.broken: GatewayError | None = None
        self.cards: tuple[ModelCard, ...] = ()
        self.need = Estimate(0, 0, 0, 0)
        self.dialect = DESCRIBED
        self.isolation = ""

    @property
    def child(self) -> Child | None:
        """The child that may be asked now."""
        return self._child if self._child is not None and not self._child.gone.is_set() else None

    @property
    def loaded(self) -> bool:
        """Whether there is a child, or one is being started."""
        return self._task is not None

    async def inspect(self) -> None:
        """Read the headers: what the model and its adapters are, and what they take of memory.

        Raises:
            ModelFileError: a file that is not what was added.
        """
        await asyncio.to_thread(self._inspect)

    def _inspect(self) -> None:
        header = _header(self.spec)
        own = card(self.spec, header, self.spec.sha256)
        slots = self._limits.slots
        context = context_of(self.spec, header)
        need = estimate(header, context, UBATCH, sequences=slots, outputs=slots)
        cards = [own]
        for adapter in self._adapters:
            found = _header(adapter)
            check_adapter(found, header)
            need += estimate(found, 0, 0)
            cards.append(adapter_card(adapter, found.size_bytes, own))
        self.cards, self.need = tuple(cards), need
        self.dialect = dialect_of(header.template)

    async def start(self) -> None:
        """Load the model, unless it is; wait until it is.

        Raises:
            GatewayError: it cannot be loaded.
        """
        if self._task is None:
            self.broken = None
            self._task = asyncio.create_task(self._keep())
        await self._settled.wait()
        if self.broken is not None:
            raise self.broken

    async def stop(self) -> None:
        """Unload the model; whatever was asked of it ends. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._child is not None:
            await self._child.kill()
        self._child = None
        self._settled.clear()

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                child = await self._launch()
            except EngineTimeoutError:
                failures += 1
            except GatewayError as error:
                # A file or kernel that refuses once refuses again; a death at start may not.
                if type(error) is not EngineError or failures >= _STARTS:
                    self.broken, self.cards = error, ()
                    self._settled.set()
                    self._tell()
                    return
                failures += 1
            else:
                await self._serve(child)
                failures = 0 if child.answered else failures + 1
            if failures:
                await asyncio.sleep(min(_BACKOFF_S * 2**failures, _MAX_BACKOFF_S))

    async def _serve(self, child: Child) -> None:
        """Be there until the child is gone; end it when it owes an answer and shows no life."""
        self._child, self.isolation = child, child.isolation
        self._settled.set()
        self._tell()
        while not child.gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stall_s / 4):
                    await child.gone.wait()
            silent = asyncio.get_running_loop().time() - child.heard
            if child.asked and silent >= self._limits.stall_s:
                child.stalled = True
                await child.kill()
        self._settled.clear()
        self._child = None

    async def _launch(self) -> Child:
        """Check the recorded digests and start a child on what was checked."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(await asyncio.to_thread(_open, self.spec))
            header, _ = await asyncio.to_thread(check_file, file, self.spec.sha256)
            files = [file]
            for adapter in self._adapters:
                other = stack.enter_context(await asyncio.to_thread(_open, adapter))
                found, _ = await asyncio.to_thread(check_file, other, adapter.sha256, Kind.ADAPTER)
                check_adapter(found, header)
                files.append(other)
            descriptors = [one.fileno() for one in files]
            return await Child.start(descriptors, self._load(header), self._isolation, _LOAD_S)

    def _load(self, header: GgufHeader) -> wire.Load:
        return wire.Load(
            context=context_of(self.spec, header),
            streams=self._limits.slots,
            threads=self._limits.threads or len(os.sched_getaffinity(0)),
            form=label_form(header.metadata),
            abstention=declared(header.metadata, "abstention", extractive.ABSTENTION),
            separator=declared(header.metadata, "separator", extractive.SEPARATOR),
            adapters=tuple(adapter.scale for adapter in self._adapters),
            writes=not header.embeds,
        )


def _open(spec: ModelSpec) -> BinaryIO:
    try:
        return spec.path.open("rb")
    except OSError:
        raise ModelFileError("The model file cannot be read.") from None


def _header(spec: ModelSpec) -> GgufHeader:
    with _open(spec) as file:
        try:
            return read_header(file, os.fstat(file.fileno()).st_size)
        except OSError:
            raise ModelFileError("The model file cannot be read.") from None
