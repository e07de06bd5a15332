"""The gateway in front of the real servers: llama-server and llama_cpp.server (`make peers`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.domain import Chunk, FinishReason, Message, Prompt, ResponseFormat, Sampling
from gateway.engine.port import Embedding, Generation
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream
from gateway.errors import (
    ContextLengthExceededError,
    EngineError,
    RequestError,
    UnsupportedParameterError,
)
from tests import peers, running
from tests.scripted import text_of
from tests.tinymodel import write_tiny_gguf

pytestmark = pytest.mark.slow
CONTEXT = 512  # tokens, one for each byte
HI = Prompt((Message("user", "Say something about the weather."),))
SCHEMA = {
    "type": "object",
    "properties": {"wet": {"type": "boolean"}},
    "required": ["wet"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    mean = {"llama.pooling_type": 1}  # llama_cpp.server takes what the file says
    return write_tiny_gguf(path, context=CONTEXT, never_ends=True, metadata=mean)


@pytest.fixture(scope="module")
def llama_server(model: Path):
    slots = ("--parallel", "4", "--ctx-size", str(4 * CONTEXT), "--no-kv-unified")
    with peers.llama_server(model, *slots) as one:
        yield one


@pytest.fixture(scope="module")
def llama_cpp_server(model: Path):
    with peers.llama_cpp_server(model, "--n_ctx", str(CONTEXT), "--embedding", "true") as one:
        yield one


@pytest.fixture(params=["llama_server", "llama_cpp_server"])
def server(request: pytest.FixtureRequest):
    """Each of the two."""
    return request.getfixturevalue(request.param)


@contextlib.asynccontextmanager
async def engine(*servers: peers.Running, **settings) -> AsyncIterator[RemoteEngine]:
    urls = tuple(server.url for server in servers)
    one = RemoteEngine(Upstream("pool", urls, peers.NAME, CONTEXT, **settings))
    try:
        yield one
    finally:
        await one.aclose()


async def ask(one: RemoteEngine, prompt: Prompt = HI, **sampling) -> list[Chunk]:
    sampling = {"max_tokens": 12, "temperature": 0.0, "seed": 1} | sampling
    prompt = replace(prompt, sampling=Sampling(**sampling))
    return [chunk async for chunk in one.generate(Generation("pool", prompt, 60))]


async def test_an_answer_comes_in_pieces_and_the_same_again(server):
    """Greedy: twice the same text, cut off at the bound, with a reason."""
    async with engine(server) as one:
        first, second = await ask(one), await ask(one)
        assert len(first) > 2
        assert text_of(first) == text_of(second) != ""
        assert first[-1].finish is FinishReason.LENGTH


async def test_llama_server_counts_tokens_and_reuses_no_prefix(llama_server):
    """The same prompt is computed again, unless the operator shares."""
    async with engine(llama_server) as one, engine(llama_server, shared_cache=True) as shared:
        usages = [(await ask(one))[-1].usage for _ in range(2)]
        for usage in usages:
            assert usage is not None
            assert usage.prompt_tokens > 30
            assert (usage.completion_tokens, usage.cached_tokens) == (12, 0)
        await ask(shared)
        again = (await ask(shared))[-1].usage
        assert again is not None
        assert again.cached_tokens > 0


async def test_stop_and_bias_reach_the_server(server):
    """A bias that leaves one token gives it every time, until the stop."""
    async with engine(server) as one:
        biased = {"logit_bias": ((65, 100.0),), "max_tokens": 6}
        assert text_of(await ask(one, **biased)) == "AAAAAA"
        stopped = await ask(one, replace(HI, stop=("AAA",)), **biased)
        assert text_of(stopped) == ""
        assert stopped[-1].finish is FinishReason.STOP


async def test_llama_server_gives_several_answers(llama_server):
    """Each whole, told apart by its index, with a reason of its own."""
    async with engine(llama_server) as one:
        chunks = await ask(one, n=3, temperature=1.0, seed=None)
        texts = [text_of(chunks, index) for index in range(3)]
        assert all(texts)
        assert len(set(texts)) > 1
        assert sorted(chunk.index for chunk in chunks if chunk.finish) == [0, 1, 2]


async def test_llama_cpp_server_gives_one_answer_and_says_so(llama_cpp_server):
    """It ignores ``n``: the caller is told, rather than given fewer."""
    async with engine(llama_cpp_server) as one:
        with pytest.raises(UnsupportedParameterError) as caught:
            await ask(one, n=2)
        assert caught.value.param == "n"


@pytest.mark.parametrize("raw", [False, True])
async def test_log_probabilities_are_of_every_token(server, raw: bool):
    """Negative, the likeliest alternatives first, as many as were asked for."""
    async with engine(server) as one:
        told = [p for c in await ask(one, replace(HI, raw=raw), logprobs=3) for p in c.logprobs]
        assert told
        for token in told:
            assert token.logprob <= 0
            numbers = [number for _, number in token.top]
            assert 0 < len(numbers) <= 3
            assert numbers == sorted(numbers, reverse=True)


async def test_a_raw_prompt_is_continued_without_a_template(server):
    """The chat template adds tokens; a raw prompt is the text alone."""
    async with engine(server) as one:
        raw, chat = await ask(one, replace(HI, raw=True)), await ask(one)
        assert text_of(raw) not in ("", text_of(chat))
        short, long = raw[-1].usage, chat[-1].usage
        assert short is not None
        assert long is not None
        # llama_cpp.server counts nothing in streams
        assert (short.prompt_tokens, long.prompt_tokens) == (0, 0) or (
            0 < short.prompt_tokens < long.prompt_tokens
        )


async def test_json_is_valid_by_the_grammar_of_the_server(server):
    """A model of random weights writes JSON because it can write nothing else."""
    async with engine(server) as one:
        prompt = replace(HI, response_format=ResponseFormat("json_object"))
        text = text_of(await ask(one, prompt, logit_bias=((ord("}"), 5.0),), max_tokens=400))
        assert text.lstrip().startswith("{")


async def test_llama_server_holds_to_a_schema(llama_server):
    """The answer is one of the two that the schema admits."""
    async with engine(llama_server) as one:
        wanted = ResponseFormat("json_schema", "weather", schema=SCHEMA)
        text = text_of(await ask(one, replace(HI, response_format=wanted), max_tokens=200))
        assert json.loads(text) in ({"wet": True}, {"wet": False})
        odd = ResponseFormat("json_schema", "odd", schema={"type": "secret"})
        with pytest.raises(RequestError) as caught:
            await ask(one, replace(HI, response_format=odd))
        assert "secret" not in str(caught.value)


async def test_a_prompt_that_is_too_long_is_told(server):
    """Each server in its own words; nothing counts against it, however often it happens."""
    async with engine(server) as one:
        for raw in (False, True):
            long = Prompt((Message("user", "word " * CONTEXT),), raw=raw)
            for _ in range(2):
                with pytest.raises(ContextLengthExceededError):
                    await ask(one, long)
        assert text_of(await ask(one))


async def embedded(server: peers.Running) -> None:
    async with engine(server) as one:
        told = await one.embed(Embedding("pool", ["the lung", "the court", "the lung"], 60))
        assert len(told.vectors) == 3
        assert told.vectors[0] == pytest.approx(told.vectors[2], abs=1e-5)
        assert told.vectors[0] != pytest.approx(told.vectors[1], abs=1e-3)
        assert all(math.isclose(math.hypot(*v), 1, rel_tol=1e-6) for v in told.vectors)
        assert told.usage.prompt_tokens > 0


async def test_llama_server_embeds(model, llama_server):
    """In their order, 1 long; one that was started without it says that it cannot."""
    with peers.llama_server(model, "--embeddings", "--pooling", "mean") as other:
        await embedded(other)
    async with engine(llama_server) as one:
        with pytest.raises(UnsupportedParameterError):
            await one.embed(Embedding("pool", ["a"], 60))


async def test_llama_cpp_server_embeds(llama_cpp_server):
    """The same checks."""
    await embedded(llama_cpp_server)


async def killed(one: RemoteEngine, server: peers.Running) -> None:
    """Kill ``server`` with an answer under way: an error, and nobody else continues it."""
    # Letters only: what is no UTF-8 yet would wait in the server.
    prompt = replace(HI, sampling=Sampling(max_tokens=400, logit_bias=((65, 100.0),)))
    answer = one.generate(Generation("pool", prompt, 60))
    await anext(answer)
    server.process.send_signal(signal.SIGKILL)
    with pytest.raises(EngineError):
        async for _ in answer:
            pass
    await asyncio.to_thread(server.process.wait, 30)


@pytest.mark.parametrize("kind", [peers.llama_server, peers.llama_cpp_server])
async def test_a_server_killed_mid_stream_is_an_error_and_the_next_request_is_answered(model, kind):
    """By the other server of the pool, and the caller of that one sees nothing."""
    with kind(model) as first, kind(model) as second:
        async with engine(first, second) as one:
            await killed(one, first)
            for _ in range(4):
                assert text_of(await ask(one))


async def test_a_server_that_comes_back_is_used_again(model):
    """Dead, then left out at once, then back on its port after the pause."""
    with peers.llama_server(model) as first:
        port = first.port
        async with engine(first) as one:
            await killed(one, first)
            with pytest.raises(EngineError):
                await ask(one)
            with peers.llama_server(model, port=port):
                assert text_of(await ask(one))


def test_the_whole_gateway_speaks_to_both(tmp_path, llama_server, llama_cpp_server):
    """Over HTTP, with each real server behind it: stream, receipt, and too long a prompt as 400."""
    settings = running.upstream_settings(llama_server.url, name="one").replace(
        'model = "m"', f'model = "{peers.NAME}"'
    )
    settings += (
        f'[[upstream]]\nname = "other"\nurls = ["{llama_cpp_server.url}"]\nmodel = "{peers.NAME}"\n'
    )
    with running.running(tmp_path / "home", settings) as gateway:
        headers = {"Authorization": f"Bearer {gateway.keys['clinician']}"}
        with httpx.Client(
            base_url=gateway.url, headers=headers, timeout=60, trust_env=False
        ) as client:
            for name in ("one", "other"):
                body = {
                    "model": name,
                    "messages": [{"role": "user", "content": "Ms. Clara Oakfield is 45."}],
                    "max_tokens": 12,
                    "temperature": 0,
                }
                whole = client.post("/v1/chat/completions", json=body)
                assert whole.status_code == 200, whole.text
                assert whole.json()["choices"][0]["finish_reason"] == "length"
                assert whole.headers["X-Receipt-Id"]
                stream = client.post("/v1/chat/completions", json=body | {"stream": True})
                assert stream.text.rstrip().endswith("data: [DONE]")
                body["messages"] = [{"role": "user", "content": "word " * CONTEXT}]
                long = client.post("/v1/chat/completions", json=body)
                assert long.status_code == 400, long.text
                assert long.json()["error"]["code"] == "context_length_exceeded"
