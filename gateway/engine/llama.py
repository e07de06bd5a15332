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
from dataclasses import replace
from typing import Literal

from gateway.domain import Chunk, Decoding, FinishReason, ModelCard, Prompt, Usage
from gateway.engine import translate, wire
from gateway.engine.constrain.dialects import CallReader
from gateway.engine.constrain.grammar import JSON_KINDS, Grammar, Grammars
from gateway.engine.keeper import Keeper, Limits
from gateway.engine.loading import Loader
from gateway.engine.memory import budget_bytes
from gateway.engine.model_file import ModelSpec
from gateway.engine.port import Embedded, Embedding, Generation
from gateway.engine.supervisor import Caller, Supervisor
from gateway.errors import EngineTimeoutError, UnknownModelError, UnsupportedParameterError

__all__ = ["Limits", "LlamaEngine", "ModelSpec", "check_prompt"]


class LlamaEngine:
    """The ``Engine`` of local GGUF files. Build it, ``await start()``, ``await aclose()``.

    ``specs``: models, in the order in which they are loaded, and adapters of them. ``shared``:
    system prompts whose beginning all users may share in the cache. ``budget``: bytes of memory.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        isolation: Literal["required", "none"] = "required",
        limits: Limits | None = None,
        shared: frozenset[str] = frozenset(),
        budget: int | None = None,
    ) -> None:
        limits = limits or Limits()
        adapters: dict[str, list[ModelSpec]] = {spec.name: [] for spec in specs if not spec.base}
        for spec in specs:
            if spec.base:
                adapters[spec.base].append(spec)
        self._models = {
            spec.name: Supervisor(spec, adapters[spec.name], isolation, limits)
            for spec in specs
            if not spec.base
        }
        self._places = {name: (name, -1) for name in self._models} | {
            adapter.name: (base, number)
            for base, changes in adapters.items()
            for number, adapter in enumerate(changes)
        }
        self._loader = Loader(self._models, budget_bytes(0) if budget is None else budget)
        self._grammars = Grammars(isolation)
        self._shared = shared

    async def start(self) -> None:
        """Load the models that fit the memory together, and wait until they are there.

        Raises:
            ModelFileError: a file that is corrupt or not the recorded one.
            MemoryRefusedError: a model that does not fit even alone.
            SettingsError: the kernel grants no wall.
        """
        await self._loader.preload()

    @property
    def names(self) -> frozenset[str]:
        """All models and adapters this engine was given, loaded or not."""
        return frozenset(self._places)

    @property
    def ready(self) -> bool:
        """Whether a model can answer now."""
        return any(model.keeper.child is not None for model in self._models.values())

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
        stands = {m.keeper.isolation for m in self._models.values() if m.keeper.isolation}
        return min(stands, key=len, default="")  # the weakest has the shortest name

    def models(self) -> tuple[ModelCard, ...]:
        return tuple(card for model in self._models.values() for card in model.keeper.cards)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        name, adapter = self._place(generation.model)
        deadline = asyncio.get_running_loop().time() + generation.deadline_s
        prompt = generation.prompt
        async with self._loader.using(name, deadline) as model:
            keeper = model.keeper
            check_prompt(prompt, keeper)
            grammar = None
            if not _quotes(prompt, keeper):
                grammar = await self._grammar(generation, keeper, deadline)
            manner = translate.Manner(
                decoding=keeper.spec.decoding,
                grammar=grammar.text if grammar else "",
                scope=generation.cache_scope,
                adapter=adapter,
                shared=self._shared,
            )

            def make(identity: int) -> wire.Generate:
                return translate.generate(identity, prompt, manner)

            caller = Caller(generation.lane, deadline, generation.again)
            answer = model.answer(make, prompt.sampling.n, caller)
            readers = [grammar.reader() if grammar else None for _ in range(prompt.sampling.n)]
            async with contextlib.aclosing(answer):
                async for chunk in answer:
                    reader = readers[chunk.index]
                    yield chunk if reader is None else _read(chunk, reader)

    async def _grammar(
        self, generation: Generation, keeper: Keeper, deadline: float
    ) -> Grammar | None:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._grammars.grammar_for(
                    generation.prompt, generation.placeholders, keeper.dialect
                )
        except TimeoutError:
            raise EngineTimeoutError from None

    async def embed(self, embedding: Embedding) -> Embedded:
        name, adapter = self._place(embedding.model)
        if adapter >= 0:
            raise UnsupportedParameterError("An adapter gives no vectors.", param="model")
        deadline = asyncio.get_running_loop().time() + embedding.deadline_s

        def make(identity: int) -> wire.Embed:
            return wire.Embed(identity, tuple(embedding.texts))

        async with self._loader.using(name, deadline) as model:
            found = await model.embed(make, Caller(embedding.lane, deadline, embedding.again))
        vectors = [_floats(packed) for packed in found.vectors]
        return Embedded(vectors, Usage(prompt_tokens=found.tokens, processor_s=found.processor_s))

    def flush(self) -> None:
        for model in self._models.values():
            model.forget()

    async def aclose(self) -> None:
        """End all children. Idempotent."""
        await asyncio.gather(
            self._grammars.aclose(), *(model.aclose() for model in self._models.values())
        )

    def _place(self, name: str) -> tuple[str, int]:
        """The model that answers to a name, and which of its adapters. Raises UnknownModelError."""
        place = self._places.get(name)
        if place is None:
            raise UnknownModelError
        return place


def _floats(packed: bytes) -> Sequence[float]:
    values = array.array("f", packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _read(chunk: Chunk, reader: CallReader) -> Chunk:
    """A piece of an answer that may hold calls: they come whole, with its end."""
    text = reader.feed(chunk.text)
    if chunk.finish is None:
        return replace(chunk, text=text)
    rest, calls = reader.finish()
    called = bool(calls) and chunk.finish is FinishReason.STOP
    finish = FinishReason.TOOL_CALLS if called else chunk.finish
    if reader.calling and not calls:
        finish = FinishReason.LENGTH  # a stop sequence cut the call: it is not whole
    return replace(chunk, text=text + rest, tool_calls=calls if called else (), finish=finish)


def _quotes(prompt: Prompt, keeper: Keeper) -> bool:
    kind = prompt.response_format.kind
    return keeper.spec.decoding is Decoding.EXTRACTIVE or kind == "extractive"


def check_prompt(prompt: Prompt, keeper: Keeper) -> None:
    """Refuse what this model cannot do, rather than ignore it.

    Raises:
        UnsupportedParameterError: naming the parameter.
    """
    if any(not card.writes for card in keeper.cards):
        raise UnsupportedParameterError("This model only gives vectors.", param="model")
    kind, choice = prompt.response_format.kind, prompt.tool_choice
    tools = bool(prompt.tools) and choice != "none"
    if _quotes(prompt, keeper):
        _check_quoting(prompt)
    elif tools and kind == "grounded":
        raise UnsupportedParameterError(
            "A grounded answer calls no tools: their arguments would not be held.", param="tools"
        )
    forced = tools and choice not in (None, "auto")
    if prompt.stop and (forced or kind in JSON_KINDS):
        raise UnsupportedParameterError(
            "A stop sequence could cut JSON in two: leave it out here.", param="stop"
        )


def _check_quoting(prompt: Prompt) -> None:
    """Raises: UnsupportedParameterError: what has no meaning where sentences are chosen."""
    if prompt.tools or prompt.tool_choice not in (None, "auto", "none"):
        param = "tools" if prompt.tools else "tool_choice"
        raise UnsupportedParameterError("An answer that only quotes calls no tools.", param=param)
    if prompt.response_format.kind in JSON_KINDS:
        raise UnsupportedParameterError(
            "An answer that only quotes is no JSON.", param="response_format"
        )
    sampling = prompt.sampling
    for param, neutral in (
        ("logprobs", sampling.logprobs is None),
        ("logit_bias", not sampling.logit_bias),
        ("frequency_penalty", not sampling.frequency_penalty),
        ("presence_penalty", not sampling.presence_penalty),
    ):
        if not neutral:
            raise UnsupportedParameterError(
                "An answer that only quotes is made of sentences, not of tokens.", param=param
            )
