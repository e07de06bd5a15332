"""Several models within a budget, and adapters of one: real children, real weights."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain import FinishReason, Message, Prompt, Sampling
from gateway.engine.llama import Limits, LlamaEngine, ModelSpec
from gateway.engine.port import Embedding, Generation
from gateway.engine.shelf import MemoryRefusedError
from gateway.errors import (
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    ModelFileError,
    UnknownModelError,
    UnsupportedParameterError,
)
from tests.sizedmodel import ABOUT_1M, write_adapter, write_model
from tests.tinymodel import write_tiny_bert, write_tiny_gguf

MIB = 1 << 20
HELLO = Prompt((Message("user", "Hello"),), sampling=Sampling(max_tokens=8, temperature=0))
ENDLESS = replace(HELLO, sampling=Sampling(max_tokens=3500, temperature=0))


def spec(path: Path, name: str, **more) -> ModelSpec:
    return ModelSpec(name, path, hashlib.sha256(path.read_bytes()).hexdigest(), **more)


@contextlib.asynccontextmanager
async def running(specs, budget: int | None = None, **limits) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(specs, limits=Limits(**{"threads": 1, **limits}), budget=budget)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


async def whole(engine: LlamaEngine, model: str, prompt: Prompt = HELLO, deadline_s=60.0) -> str:
    chunks = [chunk async for chunk in engine.generate(Generation(model, prompt, deadline_s))]
    assert chunks[-1].finish is FinishReason.LENGTH
    return "".join(chunk.text for chunk in chunks)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[ModelSpec]:
    """Three models that write different noise, alike in size."""
    folder = tmp_path_factory.mktemp("m")
    return [
        spec(
            write_tiny_gguf(folder / f"{name}.gguf", context=4096, seed=seed, never_ends=True), name
        )
        for seed, name in enumerate("abc", 1)
    ]


def need(engine: LlamaEngine, name: str) -> int:
    return engine._models[name].keeper.need.total


def loaded(engine: LlamaEngine) -> set[str]:
    return {name for name, model in engine._models.items() if model.keeper.loaded}


# --- the budget ---------------------------------------------------------------------------------


async def test_what_fits_is_loaded_and_the_rest_when_somebody_asks(three):
    """All are offered; the one used longest ago goes when another comes."""
    async with running(three) as engine:
        texts = {name: await whole(engine, name) for name in "abc"}
        assert loaded(engine) == set("abc")
        room = int(need(engine, "a") * 2.5)
    assert len(set(texts.values())) == 3
    async with running(three, budget=room) as engine:
        assert {card.name for card in engine.models()} == set("abc")
        assert loaded(engine) == {"a", "b"}
        assert await whole(engine, "a") == texts["a"]
        assert await whole(engine, "c") == texts["c"]
        assert loaded(engine) == {"a", "c"}
        assert await whole(engine, "b") == texts["b"]
        assert loaded(engine) == {"b", "c"}


async def test_a_model_that_answers_is_not_unloaded(three):
    """Who wants another model waits until it is idle, or until the deadline."""
    async with running(three[:1]) as engine:
        room = int(need(engine, "a") * 1.5)
    async with running(three[:2], budget=room) as engine:
        stream = engine.generate(Generation("a", ENDLESS, 60))
        await anext(stream)
        with pytest.raises(EngineTimeoutError):
            await whole(engine, "b", deadline_s=0.3)
        other = asyncio.create_task(whole(engine, "b"))
        await asyncio.sleep(0.1)
        assert loaded(engine) == {"a"}
        await stream.aclose()
        await other
        assert loaded(engine) == {"b"}


async def test_who_waits_for_room_holds_nobody_else_up(three):
    """One waits until another is idle; a third, which fits beside it, is loaded meanwhile."""
    specs = [three[0], three[1], replace(three[2], context=256)]
    async with running(specs) as engine:
        a, b, c = (need(engine, name) for name in "abc")
    assert c < b
    room = a + b - 1
    async with running(specs, budget=room) as engine:
        await whole(engine, "a")
        stream = engine.generate(Generation("a", ENDLESS, 60))
        await anext(stream)
        waiting = asyncio.create_task(whole(engine, "b"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            await whole(engine, "c")
        assert not waiting.done()
        await stream.aclose()
        await waiting


async def test_models_come_and_go_under_everybody_and_all_are_answered(three):
    """Room for one and a half, forty requests at random: nobody hangs and nobody is dropped."""
    async with running(three[:1]) as engine:
        room = int(need(engine, "a") * 1.5)
    async with running(three, budget=room, queue=100) as engine:
        texts = {name: await whole(engine, name) for name in "abc"}
        order = [name for _ in range(8) for name in "abcab"]
        async with asyncio.timeout(100):
            found = await asyncio.gather(*(whole(engine, name) for name in order))
        assert found == [texts[name] for name in order]


async def test_a_model_that_never_fits_is_refused_at_the_start(three):
    """With the numbers; nothing is loaded."""
    engine = LlamaEngine(three, budget=30 * MIB)
    with pytest.raises(MemoryRefusedError) as caught:
        await engine.start()
    assert "engine.memory_mib allows 30" in caught.value.message
    await engine.aclose()


async def test_a_file_that_changed_while_it_was_unloaded_is_not_loaded(three, tmp_path: Path):
    """The digest decides at every load; the other model goes on."""
    changing = write_tiny_gguf(tmp_path / "d.gguf", context=4096, never_ends=True)
    specs = [three[0], spec(changing, "d")]
    async with running(specs) as engine:
        room = int(need(engine, "a") * 1.5)
    async with running(specs, budget=room) as engine:
        data = bytearray(changing.read_bytes())
        data[-1] ^= 1
        changing.write_bytes(data)
        with pytest.raises(ModelFileError):
            await whole(engine, "d")
        assert await whole(engine, "a")


# --- adapters -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> list[ModelSpec]:
    """A base, an adapter at two strengths, and another one."""
    folder = tmp_path_factory.mktemp("m")
    base = spec(write_model(folder / "base.gguf", ABOUT_1M), "base")
    notes = write_adapter(folder / "notes.gguf", ABOUT_1M)
    letters = write_adapter(folder / "letters.gguf", ABOUT_1M, parts=("ffn_up", "attn_output"))
    on_base = {"base": "base", "base_sha256": base.sha256}
    return [
        base,
        spec(notes, "notes", scale=400.0, **on_base),
        spec(letters, "letters", scale=400.0, **on_base),
        spec(notes, "off", scale=0.0, **on_base),
    ]


async def test_adapters_are_switched_by_request(family):
    """Each answers by its own name, in one child; asked together they say what they say alone."""
    async with running(family) as engine:
        names = ("base", "notes", "letters", "off")
        alone = {name: await whole(engine, name) for name in names}
        assert len({alone["base"], alone["notes"], alone["letters"]}) == 3
        assert alone["off"] == alone["base"]
        together = await asyncio.gather(*(whole(engine, name) for name in names * 3))
        assert list(together) == [alone[name] for name in names] * 3


async def test_an_adapters_card_names_its_base(family):
    """Both digests, so that a record can tell what answered."""
    async with running(family[:2]) as engine:
        cards = {card.name: card for card in engine.models()}
        assert (cards["notes"].base, cards["notes"].base_digest) == ("base", cards["base"].digest)
        assert cards["notes"].digest == family[1].sha256
        assert engine.names == {"base", "notes"}
        with pytest.raises(UnknownModelError):
            await whole(engine, "letters")


async def test_an_adapter_that_is_not_the_recorded_one_stops_its_base(family, tmp_path: Path):
    """Neither is loaded: what would answer is not what was added."""
    path = tmp_path / "a.gguf"
    path.write_bytes(family[1].path.read_bytes()[:-1] + b"\0")
    engine = LlamaEngine([family[0], replace(family[1], path=path)])
    with pytest.raises(ModelFileError):
        await engine.start()
    await engine.aclose()
    with pytest.raises(EngineError):
        await engine.embed(Embedding("base", ("x",), 5))


# --- encoders -----------------------------------------------------------------------------------


async def test_an_encoder_gives_vectors_and_nothing_else(tmp_path: Path):
    """Its card says so; asked to write it refuses by name, and goes on."""
    async with running([spec(write_tiny_bert(tmp_path / "e.gguf"), "e")]) as engine:
        assert [card.writes for card in engine.models()] == [False]
        found = await engine.embed(Embedding("e", ("a b c", "x y", "a b c"), 30))
        assert list(found.vectors[0]) == list(found.vectors[2]) != list(found.vectors[1])
        with pytest.raises(UnsupportedParameterError) as caught:
            await whole(engine, "e")
        assert caught.value.param == "model"
        with pytest.raises(ContextLengthExceededError):
            await engine.embed(Embedding("e", ("a " * 200,), 30))


async def test_an_adapter_gives_no_vectors(family):
    """They would be its base's."""
    async with running(family[:2]) as engine:
        with pytest.raises(UnsupportedParameterError):
            await engine.embed(Embedding("notes", ("x",), 30))
