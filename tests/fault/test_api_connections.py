"""What clients do to connections, over a real socket: leave, dawdle, send too much."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
import uvicorn

from gateway.serving import BoundedHttp
from tests.fakes import House

CHAT = "/v1/chat/completions"
CHUNKED = b"POST /v1/models HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def serving(house):
    """Serve the API with uvicorn on a free port and yield a way to connect."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(house.app, log_config=None, access_log=False, http=BoundedHttp)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield lambda: asyncio.open_connection(*listener.getsockname())
    finally:
        server.should_exit = True
        await task
        listener.close()


def request(house, order: str, *, stream: bool, path: str = CHAT) -> bytes:
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": order}],
            "stream": stream,
        }
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: {house.headers()['Authorization']}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "api-keys.json", body_bytes=1000, body_s=0.2)


@pytest.mark.parametrize(
    ("order", "stream"),
    [
        ("SLOW", True),
        ("SLOW", False),
        ("SLOW START", True),
        ("SLOW START", False),
    ],
)
async def test_a_client_that_leaves_frees_its_slot(house, order, stream):
    """Streaming or not, before the first byte or after it, the answer is closed."""
    async with serving(house) as connect:
        reader, writer = await connect()
        writer.write(request(house, order, stream=stream))
        if order == "SLOW" and stream:
            await reader.readuntil(b"SLOW")
        await asyncio.wait_for(house.pipeline.begun.wait(), 5)
        assert not house.pipeline.closed.is_set()
        writer.close()
        await asyncio.wait_for(house.pipeline.closed.wait(), 5)
        assert house.pipeline.running == 0


async def test_a_stream_arrives_as_it_is_made(house):
    """The first piece is there while the answer is still being written."""
    async with serving(house) as connect:
        reader, writer = await connect()
        writer.write(request(house, "SLOW", stream=True))
        seen = await asyncio.wait_for(reader.readuntil(b'"content":"SLOW"'), 5)
        assert b"text/event-stream" in seen
        assert b"x-receipt-id: r1" in seen.lower()
        assert house.pipeline.running == 1
        writer.close()


async def test_a_body_that_does_not_arrive_is_not_waited_for(house):
    """408 after the time for bodies."""
    async with serving(house) as connect:
        reader, writer = await connect()
        writer.write(request(house, "hello", stream=False)[:-5])
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in answer
        writer.close()


async def test_a_client_that_leaves_within_its_body_is_no_error(house):
    """Nothing is asked of the pipeline, and nothing is counted as a failure of the gateway."""
    async with serving(house) as connect:
        _, writer = await connect()
        writer.write(request(house, "hello", stream=False)[:-5])
        await writer.drain()
        writer.close()
        reader, writer = await connect()
        writer.write(request(house, "hello", stream=False))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert len(house.pipeline.asked) == 1
    assert b'code="internal_error"' not in house.metrics.render()


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_not_read(house, announced):
    """413, whether its length was announced or it comes in chunks without end."""
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: {house.headers()['Authorization']}\r\n"
    )
    async with serving(house) as connect:
        reader, writer = await connect()
        if announced:
            writer.write(f"{head}Content-Length: 10000000\r\n\r\n".encode())
        else:
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 5)
        assert answer.startswith(b"HTTP/1.1 413")
        writer.close()


async def test_without_a_key_the_body_is_not_read(house):
    """401 comes before the first byte of the body, so that strangers cost nothing."""
    async with serving(house) as connect:
        reader, writer = await connect()
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 5)
        assert answer.startswith(b"HTTP/1.1 401")
        writer.close()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 65536),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n", b"a:b\r\n" * 13000),
        (b"GET /" + b"a" * 9, b"a" * 65536),
        (
            b"POST /v1/models HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"a:b\r\n" * 13000,
        ),
    ],
    ids=["one header", "many headers", "address", "trailers"],
)
async def test_a_head_without_end_is_not_kept(house, start, more):
    """Nobody without a key can fill the memory: the connection is closed within a megabyte."""
    async with serving(house) as connect:
        _, writer = await connect()
        writer.write(start)
        with pytest.raises(ConnectionError):  # noqa: PT012 - the system's buffers take the first
            for _ in range(500):
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
