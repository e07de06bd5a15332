"""A real server on loopback that answers as it should, and in every way it should not."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import zlib

import pytest

from gateway.domain import Chunk, FinishReason, ToolCall, Usage
from gateway.engine.port import Generation
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    RequestError,
    UnknownModelError,
)
from tests.scripted import (
    DONE,
    END,
    HELLO,
    OK,
    PROMPT,
    USAGE,
    collect,
    event,
    sends,
    upstream,
)


async def test_a_stream_is_passed_on_with_reason_and_usage():
    """Text as it comes; the last chunk says why and how much; comments and CRLF do not matter."""
    stream = (HELLO + b": ping\r\n\r\n" + END + USAGE + DONE).replace(b"\n", b"\r\n")
    async with upstream(sends(stream)) as engine:
        *texts, last = await collect(engine)
        assert [chunk.text for chunk in texts] == ["Hel", "lo"]
        assert last == Chunk(finish=FinishReason.STOP, usage=Usage(3, 2))


async def test_every_split_of_a_stream_gives_the_same_answer():
    """One byte at a time, inside a character too."""
    stream = event({"content": "Grüße 🙂"}).replace(b"\\u00fc", "ü".encode()) + END + USAGE + DONE
    async with upstream(sends(*(bytes([byte]) for byte in stream))) as engine:
        *texts, last = await collect(engine)
        assert "".join(chunk.text for chunk in texts) == "Grüße 🙂"
        assert last.usage == Usage(3, 2)


async def test_tool_calls_arrive_whole_with_the_last_chunk():
    """Pieces of several calls, interleaved, are put together by index."""
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 1, "function": {"arguments": "}"}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    stream = b"".join(event({"content": None, "tool_calls": [piece]}) for piece in pieces)
    async with upstream(sends(stream + event(finish="tool_calls") + DONE)) as engine:
        (last,) = await collect(engine)
        assert last.finish is FinishReason.TOOL_CALLS
        assert last.tool_calls == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"))


async def test_the_request_is_one_post_to_the_named_path(monkeypatch: pytest.MonkeyPatch):
    """The key in its header, the body in JSON, and no proxy from the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    seen: list[bytes] = []

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        await sends(HELLO + END + DONE)(request, writer)

    async with upstream(serve, api_key="sesame") as engine:
        await collect(engine)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: bearer sesame" in head.lower()
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Hi"}]


TOO_MANY = {"index": 128, "id": "a", "function": {"name": "f", "arguments": ""}}
BROKEN = {
    "an early end": HELLO,
    "an end in the middle of an event": HELLO + b'data: {"choi',
    "an end without [DONE]": HELLO + END,
    "[DONE] without a reason": HELLO + DONE,
    "no JSON": b"data: {oops\n\n" + END + DONE,
    "JSON of another kind": b"data: [1]\n\n" + END + DONE,
    "an error event": HELLO + b'data: {"error":{"message":"secret"}}\n\n' + DONE,
    "no UTF-8": b"data: \xff\xfe\n\n" + END + DONE,
    "a number for a text": event({"content": 5}) + END + DONE,
    "a second choice": HELLO.replace(b'"index": 0', b'"index": 1') + END + DONE,
    "text after the reason": END + HELLO + DONE,
    "a negative choice": HELLO.replace(b'"index": 0', b'"index": -1') + END + DONE,
    "a negative count": HELLO + END + USAGE.replace(b"3", b"-3") + DONE,
    "an event without an end": HELLO + b"data: " + b"x" * (9 * 1024 * 1024),
    "a call without a name": event({"tool_calls": [{"index": 0, "id": "a"}]}) + END + DONE,
    "too many calls": event({"tool_calls": [TOO_MANY]}) + END + DONE,
    "HTML": b"<html>Bad gateway</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_breaks_the_protocol_is_an_engine_error(name: str):
    """Half an answer is never taken for a whole one, and nothing of it stands in the message."""
    async with upstream(sends(BROKEN[name])) as engine:
        with pytest.raises(EngineError) as caught:
            await collect(engine)
        assert "secret" not in str(caught.value)
        assert type(caught.value) is EngineError


CONTEXT = b'{"error":{"message":"the prompt was secret","code":"context_length_exceeded"}}'
CONTEXT_LLAMA = b'{"error":{"code":400,"message":"secret","type":"exceed_context_size_error"}}'
CONTEXT_VLLM = (
    b'{"error":{"message":"This model\'s maximum context length is 8 tokens. secret",'
    b'"type":"BadRequestError","param":null,"code":400}}'
)
STATUS = [
    (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", BusyError),
    (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", BusyError),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret", EngineError),
    (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", EngineError),
    (b"HTTP/1.1 400 Bad\r\nContent-Length: 6\r\n\r\nsecret", RequestError),
    (b"HTTP/1.1 422 Bad\r\nContent-Length: 6\r\n\r\nsecret", RequestError),
    (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + CONTEXT_LLAMA, ContextLengthExceededError),
    (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + CONTEXT_VLLM, ContextLengthExceededError),
    (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + CONTEXT, ContextLengthExceededError),
    (
        b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.2:1/\r\nContent-Length: 0\r\n\r\n",
        EngineError,
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + HELLO, EngineError),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip", EngineError),
    (b"SSH-2.0-OpenSSH_9.2\r\n", EngineError),
    (b"", EngineError),
]


@pytest.mark.parametrize(("answer", "error"), STATUS)
async def test_a_refusal_is_translated_and_its_text_discarded(answer: bytes, error: type):
    """No redirect is followed; what a server writes about a prompt reaches nobody."""
    async with upstream(sends(head=answer)) as engine:
        with pytest.raises(error) as caught:
            await collect(engine)
        assert type(caught.value) is error
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
async def test_a_compressed_answer_is_never_unpacked(status: bytes):
    """Neither asked for nor read: a small answer of two layers would fill the memory."""
    packer = zlib.compressobj(1, wbits=31)
    inner = b"".join(packer.compress(bytes(1 << 20)) for _ in range(128)) + packer.flush()
    bomb = gzip.compress(inner)
    asked: list[bytes] = []

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        head = (
            b"HTTP/1.1 " + status + b"\r\nContent-Encoding: gzip, gzip\r\nConnection: close\r\n\r\n"
        )
        writer.write(head + bomb)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with upstream(serve) as engine:
        with pytest.raises(EngineError):
            await collect(engine)
    assert b"accept-encoding: identity" in asked[0].lower()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


async def test_a_server_that_says_nothing_is_a_timeout():
    """Silence before the answer and in the middle of it; and one that drips past the deadline."""

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)

    async def stalls(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + HELLO)
        await writer.drain()
        await asyncio.sleep(3)

    async def drips(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        for _tick in range(300):
            writer.write(b": ping\n\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    for serve, read, deadline in ((silent, 0.2, 10), (stalls, 0.2, 10), (drips, 5, 0.3)):
        async with upstream(serve, read_timeout_s=read) as engine:
            with pytest.raises(EngineTimeoutError):
                await collect(engine, deadline)


async def test_nobody_there_is_an_engine_error():
    """A port that nothing listens on, and a model that this upstream is not."""
    engine = RemoteEngine(Upstream("pool", ("http://127.0.0.1:9/v1",), "m", 4096))
    with pytest.raises(EngineError):
        await collect(engine)
    with pytest.raises(UnknownModelError):
        async for _ in engine.generate(Generation("other", PROMPT, 1)):
            pass
    await engine.aclose()


async def test_closing_an_answer_closes_the_connection():
    """The upstream sees the client go, so its slot is free as well."""
    gone = asyncio.Event()

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        try:
            while True:
                writer.write(event({"content": "x"}))
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            gone.set()

    async with upstream(endless) as engine:
        answer = engine.generate(Generation("pool", PROMPT, 10))
        assert (await anext(answer)).text == "x"
        await answer.aclose()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_remote_card_claims_no_digest():
    """The weights are elsewhere: nothing is recorded that was not checked."""
    engine = RemoteEngine(
        Upstream(
            "pool",
            ("http://127.0.0.1:1/",),
            "m",
            99,
            adapters=("letters",),
            tags=frozenset({"t"}),
            zone="ward",
            size_bytes=5,
        )
    )
    cards = engine.models()
    assert [(card.name, card.base) for card in cards] == [("pool", ""), ("letters", "pool")]
    for card in cards:
        assert (card.digest, card.base_digest, card.backend) == ("", "", "remote")
        assert (card.context, card.tags, card.zone, card.size_bytes) == (99, {"t"}, "ward", 5)
    await engine.aclose()
