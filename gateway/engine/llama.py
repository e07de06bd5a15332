"""``LlamaEngine``: GGUF models, each in a child of its own behind the wall (DESIGN §5).

What it promises:

- A model is read only after its header was checked and its SHA-256 is the recorded one. The bytes
  hashed and the bytes loaded come through the same open file.
- One sequence at a time per model; up to ``queue`` requests wait, the next is told ``BusyError``.
- Closing the iterator frees the slot within one token (or one batch of a long prompt).
- A child that dies fails the one generation with ``EngineError``; one that shows no life for
  ``stall_s`` seconds is killed, with ``EngineTimeoutError``. Either is started again for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from gateway.domain import Chunk, ModelCard, Prompt
from gateway.engine.model_file import ModelSpec
from gateway.engine.port import Generation
from gateway.engine.supervisor import Limits, Supervisor
from gateway.errors import UnknownModelError, UnsupportedParameterError

__all__ = ["Limits", "LlamaEngine", "ModelSpec", "check_prompt"]


class LlamaEngine:
    """The ``Engine`` of local GGUF files. Build it, ``await start()``, ``await aclose()``."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        isolation: Literal["required", "none"] = "required",
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._models = {spec.name: Supervisor(spec, isolation, limits) for spec in specs}

    async def start(self) -> None:
        """Start every child at once and wait until all have loaded.

        Raises:
            ModelFileError: a file that is corrupt or not the recorded one.
            SettingsError: the kernel grants no wall.
        """
        await asyncio.gather(*(model.start() for model in self._models.values()))

    @property
    def names(self) -> frozenset[str]:
        """All models this engine was given, loaded or not."""
        return frozenset(self._models)

    @property
    def ready(self) -> bool:
        """Whether a model can answer now."""
        return any(model.ready for model in self._models.values())

    @property
    def isolation(self) -> str:
        """What stands around native code: ``seccomp+landlock``, ``seccomp``, ``none``, or ""."""
        stands = {model.isolation for model in self._models.values() if model.isolation}
        return min(stands, key=len, default="")  # the weakest has the shortest name

    def models(self) -> tuple[ModelCard, ...]:
        cards = (model.card for model in self._models.values())
        return tuple(card for card in cards if card is not None)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        model = self._models.get(generation.model)
        if model is None:
            raise UnknownModelError
        if generation.adapter is not None:
            raise UnsupportedParameterError(param="model")
        deadline = asyncio.get_running_loop().time() + generation.deadline_s
        check_prompt(generation.prompt)
        async with contextlib.aclosing(model.answer(generation.prompt, deadline)) as answer:
            async for chunk in answer:
                yield chunk

    async def aclose(self) -> None:
        """End all children. Idempotent."""
        await asyncio.gather(*(model.aclose() for model in self._models.values()))


def check_prompt(prompt: Prompt) -> None:
    """Refuse what this engine cannot do, rather than ignore it.

    Raises:
        UnsupportedParameterError: tools, or a format that needs a grammar.
    """
    if prompt.tools:
        raise UnsupportedParameterError("This model cannot call tools.", param="tools")
    if prompt.tool_choice not in (None, "auto", "none"):
        raise UnsupportedParameterError("This model cannot call tools.", param="tool_choice")
    if prompt.response_format.kind not in ("text", "extractive"):
        raise UnsupportedParameterError(
            "This model cannot be held to a JSON format.", param="response_format"
        )
