"""``Registry``: the one ``Engine`` the pipeline sees; it finds the engine that has a model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Literal

from gateway.domain import Chunk, ModelCard
from gateway.engine import models
from gateway.engine.llama import LlamaEngine
from gateway.engine.port import Embedded, Embedding, Engine, Generation
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.supervisor import Limits
from gateway.errors import SettingsError, UnknownModelError


class Registry:
    """Local and remote models under one set of names.

    Raises:
        SettingsError: a name that two engines claim.
    """

    def __init__(self, local: LlamaEngine, remote: Sequence[RemoteEngine] = ()) -> None:
        self._local = local
        self._remote = tuple(remote)
        self._engines: tuple[Engine, ...] = (local, *remote)
        names = [*local.names, *(card.name for one in self._remote for card in one.models())]
        if len(set(names)) != len(names):
            raise SettingsError("Two models have the same name.")

    async def start(self) -> None:
        """Load the local models; see ``LlamaEngine.start`` for what it raises."""
        for engine in self._remote:
            engine.start()
        await self._local.start()

    @property
    def ready(self) -> bool:
        """Whether a model can answer now.

        Servers elsewhere count, whether they answer or not: half of the gateway needs no model.
        """
        return bool(self._remote) or self._local.ready

    @property
    def isolation(self) -> str:
        """What stands around native code here: see ``LlamaEngine.isolation``."""
        return self._local.isolation

    def models(self) -> tuple[ModelCard, ...]:
        remote = (card for engine in self._remote for card in engine.models())
        return (*self._local.models(), *remote)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        engine = self._find(generation.model)
        async with contextlib.aclosing(engine.generate(generation)) as answer:
            async for chunk in answer:
                yield chunk

    async def embed(self, embedding: Embedding) -> Embedded:
        return await self._find(embedding.model).embed(embedding)

    def flush(self) -> None:
        for engine in self._engines:
            engine.flush()

    def _find(self, name: str) -> Engine:
        if name in self._local.names:
            return self._engines[0]
        for engine in self._remote:
            if any(card.name == name for card in engine.models()):
                return engine
        raise UnknownModelError

    async def aclose(self) -> None:
        """End children and connections. Idempotent."""
        await asyncio.gather(self._local.aclose(), *(one.aclose() for one in self._remote))


def open_registry(
    home: Path,
    remote: Sequence[RemoteEngine] = (),
    *,
    bundled: bool = True,
    isolation: Literal["required", "none"] = "required",
    limits: Limits | None = None,
) -> Registry:
    """Return the registry of a home's models and ``remote``; nothing runs before ``start``.

    Raises:
        SettingsError: the list of models is not valid, an adapter lacks its base, or there is no
            model at all.
        ModelFileError: the card of the bundled model is missing.
    """
    records = models.list_models(home, bundled=bundled)
    models.check_bases(records)
    specs = [record.spec for record in records if not record.spec.base]
    if not specs and not remote:
        raise SettingsError("There is no model: add one with `gateway models add FILE`.")
    return Registry(LlamaEngine(specs, isolation=isolation, limits=limits), remote)
