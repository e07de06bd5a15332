"""``LlamaEngine``: GGUF models, each in a child of its own behind the wall (DESIGN §5).

What it promises:

- A model is read only after its header was checked and its SHA-256 is the recorded one. The bytes
  hashed and the bytes loaded come through the same open file.
- Up to ``slots`` answers at once per model, in one batch; up to ``queue`` requests wait, each in
  the lane of whoever asked. The next is told ``BusyError``.
- Closing the iterator frees the slot within one step.
- A child that dies fails the answers of which something was sent, with ``EngineError``; one that
  shows no life for ``stall_s`` seconds is killed, with ``EngineTimeoutError``. It is started again,
  and what had not begun is asked anew, once.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from gateway.domain import Chunk, ModelCard, Prompt, Usage
from gateway.engine import translate, wire
from gateway.engine.model_file import ModelSpec
from gateway.engine.port import Embedded, Embedding, Generation
from gateway.engine.supervisor import Limits, Supervisor
from gateway.errors import UnknownModelError, UnsupportedParameterError

__all__ = ["Limits", "LlamaEngine", "ModelSpec", "check_prompt"]


class LlamaEngine:
    """The ``Engine`` of local GGUF files. Build it, ``await start()``, ``await aclose()``.

    ``shared``: system prompts whose beginning all users may share in the cache.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        isolation: Literal["required", "none"] = "required",
        limits: Limits | None = None,
        shared: frozenset[str] = frozenset(),
    ) -> None:
        limits = limits or Limits()
        self._specs = {spec.name: spec for spec in specs}
        self._models = {spec.name: Supervisor(spec, isolation, limits) for spec in specs}
        self._shared = shared

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
    def running(self) -> int:
        """Answers that are being made now."""
        return sum(model.running for model in self._models.values())

    @property
    def waiting(self) -> int:
        """Answers and requests that wait now."""
        return sum(model.waiting for model in self._models.values())

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
        prompt = generation.prompt
        check_prompt(prompt)
        manner = translate.Manner(
            decoding=self._specs[generation.model].decoding,
            scope=generation.cache_scope,
            shared=self._shared,
        )

        def make(identity: int) -> wire.Generate:
            return translate.generate(identity, prompt, manner)

        answer = model.answer(make, prompt.sampling.n, generation.lane, deadline)
        async with contextlib.aclosing(answer):
            async for chunk in answer:
                yield chunk

    async def embed(self, embedding: Embedding) -> Embedded:
        model = self._models.get(embedding.model)
        if model is None:
            raise UnknownModelError
        deadline = asyncio.get_running_loop().time() + embedding.deadline_s

        def make(identity: int) -> wire.Embed:
            return wire.Embed(identity, tuple(embedding.texts))

        found = await model.embed(make, embedding.lane, deadline)
        vectors = [_floats(packed) for packed in found.vectors]
        return Embedded(vectors, Usage(prompt_tokens=found.tokens, processor_s=found.processor_s))

    def flush(self) -> None:
        for model in self._models.values():
            model.forget()

    async def aclose(self) -> None:
        """End all children. Idempotent."""
        await asyncio.gather(*(model.aclose() for model in self._models.values()))


def _floats(packed: bytes) -> Sequence[float]:
    values = array.array("f", packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values


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
