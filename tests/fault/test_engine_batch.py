"""Many conversations in one batch of a real child: what each gets, and what it may build on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain import Chunk, Decoding, FinishReason, Message, Prompt, ResponseFormat, Sampling
from gateway.engine import wire
from gateway.engine.llama import Limits, LlamaEngine, ModelSpec
from gateway.engine.port import Embedding, Generation
from gateway.errors import (
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    RequestError,
)
from tests.tinymodel import write_tiny_gguf

GREEDY = Sampling(max_tokens=12, temperature=0)
NOTE = "The patient has flu. She takes aspirin 81 mg.\nShe is well. What does she take?"
ENDLESS = Sampling(max_tokens=3500, temperature=0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes noise and never ends by itself."""
    folder = tmp_path_factory.mktemp("m")
    return write_tiny_gguf(folder / "tiny.gguf", context=4096, never_ends=True)


def spec(path: Path, decoding: Decoding = Decoding.FREE) -> ModelSpec:
    return ModelSpec("m", path, hashlib.sha256(path.read_bytes()).hexdigest(), decoding)


@contextlib.asynccontextmanager
async def running(path: Path, shared: frozenset[str] = frozenset(), **limits):
    engine = LlamaEngine([spec(path)], limits=Limits(**{"threads": 1, **limits}), shared=shared)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


def said(text: str, sampling: Sampling = GREEDY, **fields) -> Prompt:
    return Prompt((Message("user", text),), sampling=sampling, **fields)


def ask(engine: LlamaEngine, prompt: Prompt, scope: str = "", lane: str = "", deadline_s=60.0):
    return engine.generate(Generation("m", prompt, deadline_s, cache_scope=scope, lane=lane))


async def answers(stream: AsyncIterator[Chunk]) -> list[tuple[str, Chunk]]:
    """The text and the last chunk of each answer, in the order of their index."""
    texts: dict[int, str] = {}
    lasts: dict[int, Chunk] = {}
    async for chunk in stream:
        assert chunk.index not in lasts
        texts[chunk.index] = texts.get(chunk.index, "") + chunk.text
        if chunk.finish is not None:
            lasts[chunk.index] = chunk
    assert texts.keys() == lasts.keys()
    return [(texts[index], lasts[index]) for index in sorted(texts)]


async def whole(engine: LlamaEngine, prompt: Prompt, scope: str = "") -> tuple[str, Chunk]:
    ((text, last),) = await answers(ask(engine, prompt, scope))
    return text, last


def cached(last: Chunk) -> int:
    assert last.usage is not None
    return last.usage.cached_tokens


# --- the batch ----------------------------------------------------------------------------------


async def test_a_crowd_changes_nothing_of_an_answer(tiny: Path):
    """Same prompt, same seed, same text: alone, and among others of every length and kind."""
    asked = [
        said("Hello"),
        said("Good morning " * 90),
        said("Hello", Sampling(max_tokens=20, temperature=1.0, seed=7)),
        said("Hello there", Sampling(max_tokens=20, temperature=0.8, top_p=0.9, seed=8)),
        said(NOTE, response_format=ResponseFormat("extractive")),
        said("x", Sampling(max_tokens=40, temperature=1.0, seed=9, frequency_penalty=1.0)),
    ]
    async with running(tiny, slots=4) as engine:
        alone = [(await whole(engine, prompt))[0] for prompt in asked]
        crowd = await asyncio.gather(*(whole(engine, prompt) for prompt in asked * 3))
        assert [text for text, _ in crowd] == alone * 3


async def test_a_long_prompt_lets_running_answers_go_on(tiny: Path):
    """While thousands of tokens are read, the answer that runs gets a token from every step."""
    async with running(tiny) as engine:
        stream = ask(engine, said("Hello", ENDLESS))
        await anext(stream)
        first = asyncio.create_task(anext(ask(engine, said("word " * 750, GREEDY))))
        between = 0
        async for _ in stream:
            between += 1
            if first.done():
                break
        assert between >= 750 * 5 // 512
        await first
        await stream.aclose()


async def test_more_answers_than_slots_are_all_given(tiny: Path):
    """Who waits gets a slot as soon as one is free."""
    async with running(tiny, slots=2, queue=100) as engine:
        texts = await asyncio.gather(*(whole(engine, said(f"Hello {n}")) for n in range(20)))
        assert all(last.finish is FinishReason.LENGTH for _, last in texts)
        assert (engine.running, engine.waiting) == (0, 0)


async def test_the_one_who_asks_once_is_not_behind_the_one_who_asked_often(tiny: Path):
    """With one slot: of ten from one lane and one from another, the other is second or third."""
    async with running(tiny, slots=1, queue=100) as engine:
        order: list[str] = []

        async def one(lane: str, number: int) -> None:
            await answers(ask(engine, said(f"{lane} {number}"), lane=lane))
            order.append(lane)

        flood = [asyncio.create_task(one("busy", number)) for number in range(10)]
        await asyncio.sleep(0)
        late = asyncio.create_task(one("calm", 0))
        await asyncio.gather(*flood, late)
        assert order.index("calm") <= 4


# --- several answers, and how they are drawn --------------------------------------------------


async def test_several_answers_to_one_prompt_read_it_once(tiny: Path):
    """Each ends by itself, each has its own draw, and the prompt is computed and counted once."""
    drawn = Sampling(max_tokens=15, temperature=1.0, seed=3, n=5)
    async with running(tiny, slots=3) as engine:
        found = await answers(ask(engine, said("tell me " * 30, drawn)))
        assert len(found) == 5
        assert len({text for text, _ in found}) == 5
        usages = [last.usage for _, last in found]
        assert all(usage is not None for usage in usages)
        assert [u.prompt_tokens > 0 for u in usages if u] == [True] + [False] * 4
        single = [
            await whole(engine, said("tell me " * 30, replace(drawn, n=1, seed=3 + index)))
            for index in range(5)
        ]
        assert [text for text, _ in single] == [text for text, _ in found]


async def test_log_probabilities_are_those_of_the_model(tiny: Path):
    """One for each token, never above 0; greedy takes the likeliest, which stands first."""
    sampling = Sampling(max_tokens=10, temperature=0, logprobs=3)
    async with running(tiny) as engine:
        told = [
            one async for chunk in ask(engine, said("Hello", sampling)) for one in chunk.logprobs
        ]
        text, _ = await whole(engine, said("Hello", replace(sampling, logprobs=None)))
    assert len(told) == 10
    assert b"".join(one.token for one in told).decode(errors="replace") == text
    for one in told:
        assert len(one.top) == 3
        assert one.top[0] == (one.token, one.logprob)
        assert 0 >= one.logprob == max(value for _, value in one.top)
        assert math.fsum(math.exp(value) for _, value in one.top) <= 1 + 1e-6


async def test_a_bias_forbids_or_forces_a_token(tiny: Path):
    """-100 and it is never written, +100 and nothing else is; an unknown token is refused."""
    async with running(tiny) as engine:
        forced = replace(GREEDY, logit_bias=((ord("a"), 100.0),))
        text, _ = await whole(engine, said("Hello", forced))
        assert set(text) == {"a"}
        usual, _ = await whole(engine, said("Hello"))
        gone = ord(next(c for c in usual if c.isascii()))
        text, _ = await whole(engine, said("Hello", replace(GREEDY, logit_bias=((gone, -100.0),))))
        assert chr(gone) not in text
        with pytest.raises(RequestError) as caught:
            await whole(engine, said("Hello", replace(GREEDY, logit_bias=((10**6, 1.0),))))
        assert caught.value.param == "logit_bias"


async def test_penalties_make_an_answer_less_repetitive(tiny: Path):
    """A model that would say one token for ever says others."""
    forced = replace(GREEDY, max_tokens=60, logit_bias=((70, 6.0),))
    async with running(tiny) as engine:
        plain, _ = await whole(engine, said("Hello", forced))
        text, _ = await whole(engine, said("Hello", replace(forced, frequency_penalty=2.0)))
        assert max(map(text.count, text)) < max(map(plain.count, plain))


async def test_a_raw_prompt_has_no_template(tiny: Path):
    """Its tokens are those of the text and nothing else."""
    async with running(tiny) as engine:
        _, last = await whole(engine, said("Hello", raw=True))
        assert last.usage is not None
        assert last.usage.prompt_tokens == len("Hello")


# --- what need not be computed again ----------------------------------------------------------


async def test_a_second_turn_computes_only_what_is_new(tiny: Path):
    """The first turn and its answer are there already, and the text is what it would have been."""
    async with running(tiny) as engine:
        first = said("tell me about " * 60)
        text, last = await whole(engine, first, "scope")
        assert cached(last) == 0
        assert last.usage is not None
        before = last.usage.prompt_tokens
        turn = (*first.messages, Message("assistant", text), Message("user", "And then?"))
        second = Prompt(turn, sampling=GREEDY)
        fresh, last = await whole(engine, second, "another")
        assert cached(last) == 0
        again, last = await whole(engine, second, "scope")
        assert again == fresh
        assert last.usage is not None
        assert cached(last) >= before  # noise need not be read as it was written
        assert last.usage.prompt_tokens - cached(last) < 50


async def test_nobody_can_tell_what_another_has_asked(tiny: Path):
    """The same prompt under another scope, or none, computes everything."""
    prompt = said("a secret " * 60)
    async with running(tiny) as engine:
        await whole(engine, prompt, "mine")
        for scope in ("yours", "", ""):
            assert cached((await whole(engine, prompt, scope))[1]) == 0
        assert cached((await whole(engine, prompt, "mine"))[1]) > 500


async def test_after_a_flush_everything_is_computed_anew(tiny: Path):
    """A policy was applied or a key revoked: what was computed before is gone."""
    prompt = said("a secret " * 60)
    async with running(tiny) as engine:
        await whole(engine, prompt, "mine")
        engine.flush()
        assert cached((await whole(engine, prompt, "mine"))[1]) == 0


async def test_a_declared_system_prompt_is_shared_by_all(tiny: Path):
    """Its tokens are computed once for everybody; one that nobody declared is not shared."""
    public, private = "Answer in one line. " * 30, "Answer in verse.... " * 30

    def asked(system: str, text: str) -> Prompt:
        return Prompt((Message("system", system), Message("user", text)), sampling=GREEDY)

    async with running(tiny, shared=frozenset({public})) as engine:
        await whole(engine, asked(public, "one"), "mine")
        last = (await whole(engine, asked(public, "one"), "yours"))[1]
        assert len(public) - 2 <= cached(last) <= len(public) + 1
        await whole(engine, asked(private, "one"), "mine")
        assert cached((await whole(engine, asked(private, "one"), "yours"))[1]) == 0


# --- ends and faults ----------------------------------------------------------------------------


async def test_two_hundred_who_leave_at_once_leave_no_trace(tiny: Path):
    """Every slot is free within a tenth of a second, and the next is answered as before."""
    async with running(tiny, slots=8, queue=400) as engine:
        text, _ = await whole(engine, said("Hello"))
        streams = [ask(engine, said(f"Hello {n}", ENDLESS), lane=str(n % 7)) for n in range(200)]
        tasks = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(stream.aclose() for stream in streams))
        async with asyncio.timeout(5):  # the figure itself is the benchmark's
            while engine.running or engine.waiting:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.005)
        assert (await whole(engine, said("Hello")))[0] == text


async def test_of_those_in_a_child_that_dies_the_unanswered_are_asked_again(tiny: Path):
    """Who had received something is told of the failure; who had not never learns of it.

    Those who were in the child already are on record again before they go to the next one.
    """
    again = []

    async def recorded() -> None:
        again.append(1)

    async def patient(engine: LlamaEngine, text: str) -> Chunk:
        generation = Generation("m", said(text), 60.0, again=recorded)
        return [chunk async for chunk in engine.generate(generation)][-1]

    async with running(tiny, slots=2) as engine:
        told = [ask(engine, said(f"Hello {n}", ENDLESS)) for n in range(2)]
        for stream in told:
            await anext(stream)
        waiting = [asyncio.create_task(patient(engine, f"Bye {n}")) for n in range(4)]
        await asyncio.sleep(0.05)
        child = engine._models["m"].keeper.child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        for stream in told:
            with pytest.raises(EngineError):
                async for _ in stream:
                    pass
        found = await asyncio.gather(*waiting)
        assert all(last.finish is FinishReason.LENGTH for last in found)
        assert len(again) == 2


async def test_a_prompt_fills_the_context_to_the_last_token_and_no_further(tiny: Path):
    """One under: one token of answer. At it, and one over: context_length_exceeded."""
    async with running(tiny) as engine:
        for length, fits in ((4095, True), (4096, False), (4097, False)):
            prompt = said("x" * length, Sampling(temperature=0), raw=True)
            if fits:
                _, last = await whole(engine, prompt)
                assert last.usage is not None
                assert last.usage.completion_tokens == 1
            else:
                with pytest.raises(ContextLengthExceededError):
                    await whole(engine, prompt)


async def test_text_is_whole_characters_however_tokens_are_cut(tiny: Path):
    """A model that writes bytes at random: what arrives is what the whole decodes to."""
    sampling = Sampling(max_tokens=400, temperature=2.0, seed=5, logprobs=0)
    async with running(tiny) as engine:
        chunks = [chunk async for chunk in ask(engine, said("Hello", sampling))]
    raw = b"".join(one.token for chunk in chunks for one in chunk.logprobs)
    text = "".join(chunk.text for chunk in chunks)
    assert text.startswith(raw.decode(errors="replace")[:-4])


# --- vectors ------------------------------------------------------------------------------------


def dot(one, other) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


async def test_vectors_have_length_one_and_depend_on_the_text_alone(tiny: Path):
    """Equal texts, equal vectors, in one request or two, beside running answers."""
    async with running(tiny) as engine:
        stream = ask(engine, said("Hello", ENDLESS))
        await anext(stream)
        texts = ("The patient sleeps.", "A contract of sale.", "The patient sleeps.")
        found = await engine.embed(Embedding("m", texts, 60))
        assert len(found.vectors) == 3
        assert all(abs(dot(v, v) - 1) < 1e-5 for v in found.vectors)
        assert list(found.vectors[0]) == list(found.vectors[2])
        assert dot(found.vectors[0], found.vectors[1]) < 0.9999
        assert found.usage.prompt_tokens == sum(map(len, texts))
        alone = await engine.embed(Embedding("m", texts[:1], 60))
        assert list(alone.vectors[0]) == list(found.vectors[0])
        await stream.aclose()


async def test_a_text_that_gives_no_vector_is_refused(tiny: Path):
    """Longer than what is evaluated in one go, or empty."""
    async with running(tiny) as engine:
        for text in ("x" * 2049, ""):
            with pytest.raises(ContextLengthExceededError):
                await engine.embed(Embedding("m", ("fine", text), 60))
        assert (await engine.embed(Embedding("m", ("x" * 2048,), 60))).usage.prompt_tokens == 2048


async def test_a_model_that_quotes_quotes_in_every_one_of_several_answers(tmp_path: Path):
    """Several quotations of one prompt, each made of its sentences."""
    path = write_tiny_gguf(tmp_path / "l.gguf", context=2048, labels=20)
    engine = LlamaEngine([spec(path, Decoding.EXTRACTIVE)])
    try:
        await engine.start()
        found = await answers(ask(engine, said(NOTE, Sampling(temperature=1.0, n=4, seed=1))))
        assert len(found) == 4
        for text, _ in found:
            assert all(
                line in NOTE or line == "The text does not say." for line in text.split("\n")
            )
    finally:
        await engine.aclose()


# --- what one user must not be able to do to others ---------------------------------------------


@pytest.mark.parametrize("pre", ["tekken", "gpt-4o", "llama4", "default", "smollm"])
async def test_a_run_of_letters_ends_nobodys_answer(tmp_path: Path, pre: str):
    """llama.cpp's regular expressions would overflow the stack on it: texts are cut before."""
    path = write_tiny_gguf(
        tmp_path / "m.gguf",
        context=4096,
        never_ends=True,
        metadata={"tokenizer.ggml.pre": pre},
    )
    async with running(path) as engine:
        child = engine._models["m"].keeper.child
        for text in ("a" * 100_000, "7" * 100_000, "é" * 50_000):
            with pytest.raises(ContextLengthExceededError):
                await whole(engine, said(text))
            with pytest.raises(ContextLengthExceededError):
                await engine.embed(Embedding("m", (text,), 60))
        assert engine._models["m"].keeper.child is child


async def test_a_long_word_that_fits_is_quoted_and_held_to(tmp_path: Path):
    """Sentences to choose from and texts of a grammar are cut into tokens in parts, too."""
    path = write_tiny_gguf(
        tmp_path / "m.gguf", context=120_000, metadata={"tokenizer.ggml.pre": "tekken"}
    )
    word = "a" * 40_000
    schema = {"const": "b" * 40_000}
    held = ResponseFormat("json_schema", "x", schema=schema)
    engine = LlamaEngine([replace(spec(path), context=120_000)], limits=Limits(1, threads=2))
    try:
        await engine.start()
        child = engine._models["m"].keeper.child
        for prompt in (
            said(f"{word}. So it is. What?", response_format=ResponseFormat("extractive")),
            said("Hello", replace(GREEDY, max_tokens=3), response_format=held),
        ):
            with contextlib.suppress(EngineTimeoutError, RequestError):
                await answers(ask(engine, prompt, deadline_s=3.0))
            assert engine._models["m"].keeper.child is child
    finally:
        await engine.aclose()


async def test_a_request_for_vectors_that_is_given_up_leaves_its_slot(tiny: Path):
    """The child answers the cancellation, and lives on."""
    async with running(tiny, stall_s=2.0) as engine:
        child = engine._models["m"].keeper.child
        texts = ("word " * 300,) * 200
        with pytest.raises(EngineTimeoutError):
            await engine.embed(Embedding("m", texts, 0.2))
        asked = asyncio.create_task(engine.embed(Embedding("m", texts, 60)))
        await asyncio.sleep(0.1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert (await engine.embed(Embedding("m", ("short",), 5))).vectors
        assert (engine.running, engine.waiting) == (0, 0)
        assert engine._models["m"].keeper.child is child


async def test_vectors_of_many_texts_hold_up_neither_answers_nor_others_vectors(tiny: Path):
    """An answer goes on between their steps, and a second request takes its turn."""
    async with running(tiny) as engine:
        many = asyncio.create_task(engine.embed(Embedding("m", ("word " * 300,) * 200, 60)))
        await asyncio.sleep(0.05)
        await whole(engine, said("Hello"))
        await engine.embed(Embedding("m", ("short",), 30))
        assert not many.done()
        many.cancel()
        await asyncio.gather(many, return_exceptions=True)


@pytest.mark.parametrize("text", ["a" * 200_000 + " b. C. D?", "dr. A " * 40_000 + "?"])
async def test_a_text_without_sentences_is_cut_into_them_in_time(tiny: Path, text: str):
    """Whatever is quoted from: the time grows with the text and not with its square."""
    async with running(tiny, stall_s=10.0) as engine:
        with pytest.raises(ContextLengthExceededError):
            await whole(engine, said(text, response_format=ResponseFormat("extractive")))


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**32 - 2, 2**63 - 1, 0])
async def test_every_seed_repeats(tiny: Path, seed: int):
    """Also the number by which llama.cpp means "any"."""
    prompt = said("Hello", Sampling(max_tokens=16, temperature=1.0, seed=seed, n=3))
    async with running(tiny) as engine:
        first, second = [await answers(ask(engine, prompt)) for _ in range(2)]
        assert [text for text, _ in first] == [text for text, _ in second]


async def test_many_answers_to_one_prompt_hold_up_no_free_slot(tiny: Path):
    """Beside a long answer, more answers are asked for than there are places: all go on."""
    async with running(tiny, slots=4, queue=100) as engine:
        long = ask(engine, said("Hello", ENDLESS), lane="a")
        await anext(long)
        many = asyncio.create_task(
            answers(ask(engine, said("Hi", replace(GREEDY, n=16)), lane="b"))
        )
        await asyncio.sleep(0)
        short = [asyncio.create_task(answers(ask(engine, said("x"), lane=lane))) for lane in "cde"]
        async with asyncio.timeout(20):
            await asyncio.gather(many, *short)
        await long.aclose()


async def test_an_empty_prompt_is_refused(tiny: Path):
    """There is nothing to continue."""
    async with running(tiny) as engine:
        with pytest.raises(RequestError):
            await whole(engine, said("", raw=True))
        await whole(engine, said("Hello"))


async def test_nothing_on_the_pipe_shows_its_texts():
    """A repr in a log or a traceback names the message and no more."""
    secret = "Zephyrina"
    said_so = wire.Said(1, 0, secret, (wire.Logprob(secret.encode(), 0.0, ()),))
    for message in (
        wire.Generate(
            id=1, turns=(wire.Turn("user", secret),), tools=(wire.ToolText(secret),), stop=(secret,)
        ),
        wire.Embed(1, (secret,)),
        wire.Step((said_so,)),
        said_so,
        wire.Vectors(1, (secret.encode(),), 1, 0.0),
    ):
        assert secret not in repr(message)
        assert wire.pack(message)
