"""Several servers of one model: what the caller sees when some or all of them fail."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from gateway.domain import Ask, Message, Principal, Prompt, Purpose, Role
from gateway.engine.llama import LlamaEngine
from gateway.engine.port import Embedding, Generation
from gateway.engine.registry import Registry
from gateway.engine.remote.breaker import BreakerLimits
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    LedgerUnavailableError,
    RequestError,
    UnknownModelError,
    UnsupportedParameterError,
)
from tests import echo
from tests.scripted import (
    DONE,
    END,
    HELLO,
    OK,
    PROMPT,
    WHOLE,
    Serve,
    Server,
    collect,
    event,
    pool,
    refuses,
    sends,
    text_of,
    until,
    upstream,
)

GOOD = sends(WHOLE)


class Hand:
    """A clock that stands until it is turned."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3)


# --- each attempt is on record --------------------------------------------------------------------


def attempts(ward: echo.Ward, receipt_id: str) -> list[tuple[str, object]]:
    found = ward.ledger.find(receipt_id.partition("-")[0])
    return [(record.event, record.features.get("attempt")) for record in found]


async def test_an_intent_for_each_server_that_gets_the_prompt(tmp_path):
    """Before the second one is asked, that is on record; one outcome ends both."""
    principal = Principal("p-1", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
    bad = refuses(b"500 Oops")
    async with pool(bad, GOOD) as (engine, servers):
        with echo.ward(tmp_path, engine=engine) as ward:
            answering = await ward.pipeline.chat(Ask(principal, Purpose.TREATMENT, PROMPT))
            assert text_of([chunk async for chunk in answering.chunks]) == "Hello"
            again = await ward.pipeline.chat(Ask(principal, Purpose.TREATMENT, PROMPT))
            assert text_of([chunk async for chunk in again.chunks]) == "Hello"
            told = [attempts(ward, one.receipt_id) for one in (answering, again)]
    assert sum(len(server.seen) for server in servers) == 3
    assert sorted(told, key=len) == [
        [("intent", 1), ("outcome", None)],
        [("intent", 1), ("intent", 2), ("outcome", None)],
    ]


async def test_an_attempt_that_cannot_be_recorded_is_not_made():
    """The second server gets nothing, and the first slot is free again."""

    async def unwritable() -> None:
        raise LedgerUnavailableError

    async with pool(refuses(b"500 Oops"), refuses(b"500 Oops")) as (engine, servers):
        for _ in range(3):
            before = sum(len(server.seen) for server in servers)
            with pytest.raises(LedgerUnavailableError):
                async for _ in engine.generate(Generation("pool", PROMPT, 5, again=unwritable)):
                    pass
            assert sum(len(server.seen) for server in servers) == before + 1


# --- one of two fails: nothing of it is seen ------------------------------------------------------

BEFORE_THE_FIRST_BYTE = {
    "ends without a word": sends(head=b""),
    "ends in its head": sends(head=b"HTTP/1.1 200 OK\r\nContent-"),
    "ends after its head": sends(head=OK),
    "speaks another protocol": sends(head=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "hangs": silent,
    "fails": refuses(b"500 Oops", b"secret"),
    "is too busy": refuses(b"429 Too Many Requests"),
    "loads its model": refuses(b"503 Unavailable"),
    "knows no such key": refuses(b"401 Unauthorized"),
    "knows no such model": refuses(b"404 Not Found"),
    "leads elsewhere": refuses(b"307 Go", b"", b"Location: http://127.0.0.2:1/"),
    "compresses": refuses(b"200 OK", b"not gzip", b"Content-Encoding: gzip"),
}


@pytest.mark.parametrize("name", BEFORE_THE_FIRST_BYTE)
async def test_one_of_two_that_fails_before_its_first_byte_is_not_noticed(name: str):
    """Whichever of them is asked first, every caller has a whole answer."""
    bad = BEFORE_THE_FIRST_BYTE[name]
    async with pool(bad, GOOD, read_timeout_s=0.3) as (engine, (first, second)):
        for _ in range(2):
            assert text_of(await collect(engine)) == "Hello"
        assert first.seen
        assert len(second.seen) == 2


async def test_one_of_two_that_is_gone_is_not_noticed_and_soon_not_asked():
    """Its connections are refused: three in a row, and it is left out."""
    limits = BreakerLimits(failures=3, cool_down_s=60)
    async with pool(GOOD, GOOD, breaker=limits) as (engine, (first, second)):
        await first.stop()
        for _ in range(10):
            assert text_of(await collect(engine)) == "Hello"
        assert len(second.seen) == 10
        await first.start()
        assert text_of(await collect(engine)) == "Hello"
        assert first.seen == []


@pytest.mark.parametrize(
    "broken", [sends(HELLO), sends(HELLO, b'data: {"choi'), sends(b"data: {oops\n\n")]
)
async def test_after_the_first_byte_nobody_else_is_asked(broken):
    """Half an answer of one and half of another are no answer: the caller is told."""
    async with pool(broken, GOOD) as (engine, (_, second)):
        with pytest.raises(EngineError):
            await collect(engine)
        assert second.seen == []


async def test_a_hang_after_the_first_byte_is_a_timeout_and_nobody_else_is_asked():
    """What was said already stays said."""

    async def stalls(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + HELLO)
        await writer.drain()
        await asyncio.sleep(3)

    async with pool(stalls, GOOD, read_timeout_s=0.2) as (engine, (_, second)):
        with pytest.raises(EngineTimeoutError):
            await collect(engine)
        assert second.seen == []


REFUSALS = [
    (refuses(b"400 Bad Request", b"secret"), RequestError),
    (refuses(b"400 Bad Request", b'{"error":{"code":"context_length_exceeded"}}'),
     ContextLengthExceededError),
]  # fmt: skip


@pytest.mark.parametrize(("refusal", "error"), REFUSALS)
async def test_what_is_wrong_with_the_request_is_not_asked_twice(refusal, error: type):
    """The others would say the same, and it says nothing against this one."""
    limits = BreakerLimits(failures=1, cool_down_s=60)
    async with pool(refusal, GOOD, breaker=limits) as (engine, (first, second)):
        with pytest.raises(error) as caught:
            await collect(engine)
        assert type(caught.value) is error
        assert second.seen == []
        await collect(engine)  # the second's turn
        with pytest.raises(error):
            await collect(engine)
        assert len(first.seen) == 2


async def test_the_deadline_of_a_request_holds_over_all_attempts():
    """Two servers that hang do not take twice as long."""
    async with pool(silent, silent, read_timeout_s=0.4) as (engine, servers):
        began = asyncio.get_running_loop().time()
        with pytest.raises(EngineTimeoutError):
            await collect(engine, 0.6)
        assert asyncio.get_running_loop().time() - began < 0.8
        assert [len(server.seen) for server in servers] == [1, 1]


async def test_concurrent_requests_are_spread_by_what_each_server_has_to_do():
    """Eight that wait are four each; while one still has its four, the other gets what comes."""
    waits = [asyncio.Event(), asyncio.Event()]

    def holds(wait: asyncio.Event) -> Serve:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            await wait.wait()
            await GOOD(request, writer)

        return serve

    async with pool(*map(holds, waits)) as (engine, (first, second)):
        asked = [asyncio.create_task(collect(engine)) for _ in range(8)]
        await until(lambda: len(first.seen) + len(second.seen) == 8)
        assert [len(first.seen), len(second.seen)] == [4, 4]
        waits[1].set()
        await until(lambda: sum(task.done() for task in asked) == 4)
        for _ in range(3):
            await collect(engine)
        assert [len(first.seen), len(second.seen)] == [4, 7]
        waits[0].set()
        assert [text_of(answer) for answer in await asyncio.gather(*asked)] == ["Hello"] * 8


async def test_a_connection_that_was_kept_and_is_closed_by_now_is_no_failure():
    """The only server answers the request on a new one."""
    chunk = b"%x\r\n" % len(WHOLE) + WHOLE + b"\r\n0\r\n\r\n"
    kept = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    requests: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            requests.append(count)
            if count:  # the second of a connection
                break
            writer.write(kept)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    engine = RemoteEngine(Upstream("pool", (url,), "m", 9, breaker=BreakerLimits(failures=1)))
    for _ in range(3):
        assert text_of(await collect(engine)) == "Hello"
    assert requests == [0, 1, 0, 1, 0]
    await engine.aclose()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)


async def test_a_failure_that_a_user_can_provoke_never_takes_a_server_away():
    """A 500, or a 200 without a byte: others come first for a while, and that is all."""
    limits = BreakerLimits(failures=1, cool_down_s=60)
    for provoked in (refuses(b"500 Oops", b"secret"), sends(head=OK)):
        async with pool(provoked, breaker=limits) as (engine, (server,)):
            for _ in range(3):
                with pytest.raises(EngineError):
                    await collect(engine)
            server.serve = GOOD
            assert text_of(await collect(engine)) == "Hello"
        async with pool(provoked, GOOD, breaker=limits) as (engine, (server, _)):
            for _ in range(4):
                await collect(engine)
            posts = {json.loads(r.partition(b"\r\n\r\n")[2]).get("stream") for r in server.seen}
            assert len(server.seen) == len(posts)  # once, and once more in one piece


async def test_what_a_stream_does_not_say_is_asked_for_in_one_piece():
    """As llama_cpp.server refuses a prompt that is too long: a 200 without a byte, then a 400."""

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        told = b'{"error":{"code":"context_length_exceeded"}}'
        await (sends(head=OK) if body.get("stream") else refuses(b"400 Bad", told))(request, writer)

    async with pool(serve, GOOD) as (engine, (first, second)):
        with pytest.raises(ContextLengthExceededError):
            await collect(engine, max_tokens=9, n=2)
        assert second.seen == []
        streamed, whole = asked_for(first)
        assert whole == {
            key: 1 if key == "max_tokens" else value
            for key, value in streamed.items()
            if key not in ("stream", "stream_options", "n")
        }


# --- all of them fail -----------------------------------------------------------------------------


async def test_all_dead_is_an_error_then_a_quick_one_then_an_answer_again():
    """The circuit opens, asks nobody for its pause, tries one, and closes."""
    clock = Hand()
    limits = BreakerLimits(failures=2, cool_down_s=5, longest_s=60)
    async with pool(GOOD, GOOD, breaker=limits, clock=clock) as (engine, servers):
        for server in servers:
            await server.stop()
        for _ in range(3):
            with pytest.raises(EngineError):
                await collect(engine)
        for server in servers:
            await server.start()
        with pytest.raises(EngineError):
            await collect(engine)
        assert [server.seen for server in servers] == [[], []]
        clock.now += 5
        assert text_of(await collect(engine)) == "Hello"
        assert text_of(await collect(engine)) == "Hello"
        assert [len(server.seen) for server in servers] == [1, 1]


async def test_a_garbled_answer_counts_against_its_server():
    """A wrong page with status 200 must not draw all requests because it is so quick."""
    limits = BreakerLimits(failures=2, cool_down_s=60)
    garbled = sends(b"data: {oops\n\n")
    async with pool(garbled, GOOD, breaker=limits) as (engine, (first, second)):
        failed = 0
        for _ in range(8):
            try:
                await collect(engine)
            except EngineError:
                failed += 1
        assert failed == 2
        assert (len(first.seen), len(second.seen)) == (2, 6)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (((b"Retry-After: 7",), (b"Retry-After: 9",)), 7),
        (((), ()), 1),
        (((b"Retry-After: 0",), (b"Retry-After: 0",)), 1),
        (((b"Retry-After: 86400",), (b"Retry-After: 86400",)), 60),
        (((b"Retry-After: -5",), (b"Retry-After: soon",)), 1),
        (((b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT",), (b"Retry-After: 30",)), 1),
    ],
)
async def test_all_busy_is_busy_for_as_long_as_the_first_of_them(headers, told: int):
    """Whole seconds from 1 to 60, whatever a server says."""
    serves = [refuses(b"429 Too Many Requests", b"", *more) for more in headers]
    async with pool(*serves) as (engine, servers):
        with pytest.raises(BusyError) as caught:
            await collect(engine)
        assert caught.value.retry_after_s == told
        assert [len(server.seen) for server in servers] == [1, 1]


async def test_one_busy_and_one_dead_is_busy():
    """Asking again is worth it; the dead one alone would say otherwise."""
    busy = refuses(b"503 Unavailable", b"", b"Retry-After: 4")
    async with pool(busy, refuses(b"500 Oops")) as (engine, _):
        with pytest.raises(BusyError) as caught:
            await collect(engine)
        assert caught.value.retry_after_s == 4


async def test_a_busy_server_is_asked_last_until_its_pause_is_over():
    """It refuses so quickly that it would always have the least to do."""
    clock = Hand()
    busy = refuses(b"429 Too Many Requests", b"", b"Retry-After: 30")
    async with pool(busy, GOOD, clock=clock) as (engine, (first, _)):
        for _ in range(4):
            await collect(engine)
        assert len(first.seen) == 1
        clock.now += 31
        for _ in range(2):
            await collect(engine)
        assert len(first.seen) == 2


async def test_a_client_that_leaves_gives_its_place_back():
    """Before the first byte and in the middle of an answer: neither counts as a failure."""
    limits = BreakerLimits(failures=1, cool_down_s=60)

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        while True:
            writer.write(event({"content": "x"}))
            await writer.drain()
            await asyncio.sleep(0.001)

    async with pool(silent, breaker=limits) as (engine, (server,)):
        asked = asyncio.create_task(collect(engine))
        await until(lambda: server.seen)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        server.serve = endless
        answer = engine.generate(Generation("pool", PROMPT, 10))
        assert (await anext(answer)).text == "x"
        await answer.aclose()
        server.serve = GOOD
        assert text_of(await collect(engine)) == "Hello"
        assert [peer.outstanding for peer in engine._exchanges.peers] == [0]


# --- health ---------------------------------------------------------------------------------------


async def test_a_server_that_is_unwell_is_asked_last_and_comes_back():
    """No request has to find out; the checks go to the named path, with the key, and are spread."""
    settings = {"health_path": "/health", "health_interval_s": 0.02, "api_key": "sesame"}
    async with pool(GOOD, GOOD, chance=lambda: 0.5, **settings) as (engine, (first, second)):
        first.health = b"503 Unavailable"
        engine.start()
        await until(lambda: len(first.checks) > 2 and second.checks)
        for _ in range(4):
            await collect(engine)
        assert (len(first.seen), len(second.seen)) == (0, 4)
        first.health = b"200 OK"
        seen = len(first.checks)
        await until(lambda: len(first.checks) > seen + 1)
        for _ in range(4):
            await collect(engine)
        assert len(first.seen) >= 2
    assert first.checks[0].startswith(b"GET /health HTTP/1.1\r\n")
    assert b"authorization: bearer sesame" in first.checks[0].lower()
    checks = len(first.checks)
    await asyncio.sleep(0.1)
    assert len(first.checks) == checks  # they end with the engine


@pytest.mark.parametrize("health", [b"404 Not Found", b"307 Go\r\nLocation: http://127.0.0.2:1/"])
async def test_with_every_server_unwell_requests_are_tried_all_the_same(health: bytes):
    """A check can be wrong about a path; a redirect is not followed."""
    async with pool(GOOD, health_interval_s=0.02) as (engine, (server,)):
        server.health = health
        engine.start()
        await until(lambda: len(server.checks) > 2)
        assert text_of(await collect(engine)) == "Hello"


async def test_a_check_that_hangs_is_given_up_and_repeated():
    """Otherwise one silence would be the last check of all."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()
        writer.close()

    asked: list[bytes] = []
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    engine = RemoteEngine(
        Upstream("pool", (url,), "m", 9, connect_timeout_s=0.05, health_interval_s=0.01)
    )
    engine.start()
    await until(lambda: len(asked) > 2)
    await engine.aclose()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)
    assert asked[0].startswith(b"GET /v1/models ")


async def test_nothing_is_asked_where_no_path_is_named():
    """An operator may leave the checks out; starting twice starts them once."""
    async with pool(GOOD, health_path="", health_interval_s=0.01) as (engine, (server,)):
        engine.start()
        engine.start()
        assert text_of(await collect(engine)) == "Hello"
        assert server.checks == []


# --- names, adapters, embeddings ------------------------------------------------------------------


def asked_for(server: Server) -> list[dict]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.seen]


async def test_an_adapter_is_asked_for_by_its_own_name():
    """As vLLM serves LoRA: a model beside its base; a name that is not listed is unknown."""
    async with pool(GOOD, adapters=("letters",)) as (engine, (server,)):
        calls = [
            Generation("pool", PROMPT, 10),
            Generation("letters", PROMPT, 10),
            Generation("pool", PROMPT, 10, adapter="letters"),
        ]
        for call in calls:
            assert text_of([chunk async for chunk in engine.generate(call)]) == "Hello"
        assert [body["model"] for body in asked_for(server)] == ["their-name", "letters", "letters"]
        for unknown in (
            Generation("their-name", PROMPT, 10),
            Generation("pool", PROMPT, 10, adapter="other"),
        ):
            with pytest.raises(UnknownModelError):
                await anext(engine.generate(unknown))


async def test_prefixes_are_shared_with_nobody_unless_the_operator_says_so():
    """A scope is the salt; without one each request has its own; llama-server reuses nothing."""
    async with pool(GOOD) as (engine, (server,)):
        for scope in ("abc", "", ""):
            call = Generation("pool", PROMPT, 10, cache_scope=scope)
            assert [chunk async for chunk in engine.generate(call)]
        first, second, third = asked_for(server)
        assert first["cache_salt"] == "abc"
        assert len({first["cache_salt"], second["cache_salt"], third["cache_salt"]}) == 3
        assert first["cache_prompt"] is False
    async with pool(GOOD, shared_cache=True) as (engine, (server,)):
        await collect(engine)
        assert "cache_prompt" not in asked_for(server)[0]


async def test_several_answers_and_their_probabilities_come_through():
    """As the server interleaves them."""
    probable = {"content": [{"token": "x", "logprob": -0.5}]}
    choice = {"index": 1, "delta": {"content": "x"}, "logprobs": probable}
    data = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    whole = HELLO + data + event(finish="stop", index=1) + END + DONE
    async with pool(sends(whole)) as (engine, (server,)):
        chunks = await collect(engine, n=2, logprobs=0)
        assert [text_of(chunks, index) for index in (0, 1)] == ["Hello", "x"]
        assert [c.index for c in chunks if c.finish] == [1, 0]
        assert [p.logprob for c in chunks for p in c.logprobs] == [-0.5]
        assert asked_for(server)[0]["n"] == 2


async def test_a_raw_prompt_goes_to_completions():
    """The text as it stands, and the text of the answer."""
    told = b'data: {"choices":[{"index":0,"text":"lo","finish_reason":"stop"}]}\n\n' + DONE
    async with pool(sends(told)) as (engine, (server,)):
        prompt = Prompt((Message("user", "Hel"),), raw=True)
        assert text_of(await collect(engine, prompt=prompt)) == "lo"
        assert server.seen[0].startswith(b"POST /v1/completions HTTP/1.1\r\n")
        assert asked_for(server)[0]["prompt"] == "Hel"


VECTOR = b'{"data":[{"index":0,"embedding":[3,4]}],"usage":{"prompt_tokens":2}}'
NO_VECTORS = [
    (refuses(b"501 Not Implemented"), UnsupportedParameterError),
    (refuses(b"404 Not Found"), UnsupportedParameterError),
    (refuses(b"400 Bad", b'{"error":{"type":"exceed_context_size_error"}}'),
     ContextLengthExceededError),
    (refuses(b"429 Too Many Requests"), BusyError),
    (refuses(b"500 Oops"), EngineError),
    (refuses(b"200 OK", b"<html>"), EngineError),
    (refuses(b"200 OK", VECTOR, b"Content-Length: 9999"), EngineError),
    (refuses(b"200 OK", b"x", b"Content-Encoding: gzip"), EngineError),
    (silent, EngineTimeoutError),
]  # fmt: skip


async def test_embeddings_come_from_whichever_server_answers():
    """The first one fails, the second is asked; the vector is one long."""
    async with pool(refuses(b"500 Oops"), refuses(b"200 OK", VECTOR)) as (engine, (_, second)):
        told = await engine.embed(Embedding("pool", ["a"], 10))
        assert told.vectors == [[0.6, 0.8]]
        assert told.usage.prompt_tokens == 2
        assert second.seen[0].startswith(b"POST /v1/embeddings HTTP/1.1\r\n")


@pytest.mark.parametrize(("serve", "error"), NO_VECTORS)
async def test_no_embedding_is_a_clear_error(serve, error: type):
    """What a server cannot do is told from what it failed to do."""
    async with upstream(serve, read_timeout_s=0.3) as engine:
        with pytest.raises(error) as caught:
            await engine.embed(Embedding("pool", ["a"], 10))
        assert type(caught.value) is error
    with pytest.raises(UnknownModelError):
        await engine.embed(Embedding("other", ["a"], 10))


async def test_the_registry_finds_the_engine_by_the_name_of_a_model():
    """Answers and embeddings of remote models and their adapters; an unknown name is told."""
    async with upstream(refuses(b"200 OK", VECTOR), adapters=("letters",)) as engine:
        registry = Registry(LlamaEngine([]), [engine])
        await registry.start()
        assert {card.name for card in registry.models()} == {"pool", "letters"}
        assert (await registry.embed(Embedding("letters", ["a"], 10))).vectors == [[0.6, 0.8]]
        with pytest.raises(UnknownModelError):
            await registry.embed(Embedding("other", ["a"], 10))
        with contextlib.suppress(EngineError):
            await anext(registry.generate(Generation("pool", PROMPT, 10)))
        await registry.aclose()
