"""Which models are loaded: as many as fit the memory, the others when somebody asks for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from gateway.engine.memory import check_fits
from gateway.engine.shelf import Loaded, make_room
from gateway.engine.supervisor import Supervisor
from gateway.errors import EngineTimeoutError


@dataclass(slots=True)
class _Use:
    users: int = 0
    last: float = 0.0


class Loader:
    """``budget``: bytes that all models together may take, by the estimate of each."""

    def __init__(self, models: Mapping[str, Supervisor], budget: int) -> None:
        self._models = models
        self._budget = budget
        self._uses = {name: _Use() for name in models}
        self._loading = asyncio.Lock()
        self._idle = asyncio.Event()

    async def preload(self) -> None:
        """Read all headers, and load models in their order as long as they fit.

        Raises:
            ModelFileError: a file that is corrupt or not the recorded one.
            MemoryRefusedError: a model that does not fit even alone.
            SettingsError: the kernel grants no wall.
        """
        await asyncio.gather(*(model.keeper.inspect() for model in self._models.values()))
        left, first = self._budget, []
        for name, model in self._models.items():
            check_fits(name, model.keeper.need, self._budget)
            if model.keeper.need.total <= left:
                left -= model.keeper.need.total
                first.append(model)
        await asyncio.gather(*(model.keeper.start() for model in first))

    @contextlib.asynccontextmanager
    async def using(self, name: str, deadline: float) -> AsyncIterator[Supervisor]:
        """Load a model, if it is not; it stays as long as somebody uses it.

        Raises:
            EngineTimeoutError: the memory was taken until ``deadline``, in the time of the loop.
            GatewayError: it cannot be loaded.
        """
        use = self._uses[name]
        use.users += 1
        try:
            if not self._models[name].keeper.loaded:
                async with asyncio.timeout_at(deadline):
                    await self._load(name)
            yield self._models[name]
        except TimeoutError:
            raise EngineTimeoutError from None
        finally:
            use.users -= 1
            use.last = asyncio.get_running_loop().time()
            if not use.users:
                self._idle.set()

    async def _load(self, name: str) -> None:
        """Make room and load. While it waits for others to be idle it holds nobody up."""
        wanted = self._models[name].keeper
        while not wanted.loaded:
            async with self._loading:  # what one makes room for, another must not take
                self._idle.clear()
                if wanted.loaded or await self._made_room(wanted.need.total):
                    await wanted.start()
                    return
            await self._idle.wait()

    async def _made_room(self, wanted_bytes: int) -> bool:
        """Unload what must go; False where that is in use."""
        while (gone := make_room(wanted_bytes, self._shelf(), self._budget)) is not None:
            if not gone:
                return True
            # One at a time: by the time it is gone somebody may have come for the next.
            await self._models[gone[0]].keeper.stop()
        return False

    def _shelf(self) -> list[Loaded]:
        """What takes memory now; a model that was given up takes none."""
        return [
            self._shelved(name)
            for name, model in self._models.items()
            if model.keeper.loaded and model.keeper.broken is None
        ]

    def _shelved(self, name: str) -> Loaded:
        use = self._uses[name]
        return Loaded(name, self._models[name].keeper.need.total, use.last, use.users > 0)
