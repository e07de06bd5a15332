"""Servers on loopback whose every byte a test writes, and what OpenAI-compatible ones send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace

from gateway.domain import Chunk, Message, Prompt, Sampling
from gateway.engine.port import Generation
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
PROMPT = Prompt((Message("user", "Hi"),))
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(delta: dict | None = None, finish: str | None = None, *, index: int = 0, **more) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


HELLO = event({"role": "assistant", "content": "Hel"}) + event({"content": "lo"})
END = event(finish="stop")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
WHOLE = HELLO + END + USAGE + DONE


def sends(*parts: bytes, head: bytes = OK) -> Serve:
    async def serve(_: bytes, writer: asyncio.StreamWriter) -> None:
        for part in (head, *parts):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return serve


def refuses(status: bytes, body: bytes = b"", *headers: bytes) -> Serve:
    more = b"".join(header + b"\r\n" for header in headers)
    head = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + more + b"\r\n"
    return sends(body, head=head)


class Server:
    """``serve`` may be changed at any time. ``seen``: the requests, GETs of health apart."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.seen: list[bytes] = []
        self.checks: list[bytes] = []
        self.health = b"200 OK"
        self.port = 0
        self._connections: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen; once more on the same port after ``stop``."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and refuse new ones."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # transports close on the loop's next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(asyncio.create_task(self._handle(reader, writer)))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)
        with contextlib.suppress(*lost), closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                self.checks.append(head)
                writer.write(b"HTTP/1.1 " + self.health + b"\r\nContent-Length: 0\r\n\r\n")
            else:
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                self.seen.append(head + await reader.readexactly(length))
                await self.serve(self.seen[-1], writer)
            await writer.drain()


@contextlib.asynccontextmanager
async def pool(
    *serves: Serve, tls: ssl.SSLContext | None = None, **settings
) -> AsyncIterator[tuple[RemoteEngine, list[Server]]]:
    """A server for each of ``serves``, and the engine that speaks to them."""
    servers = [Server(serve) for serve in serves]
    for server in servers:
        await server.start(tls)
    scheme = "https" if tls else "http"
    settings.setdefault("read_timeout_s", 5.0)
    clocks = {key: settings.pop(key) for key in ("clock", "chance") if key in settings}
    urls = tuple(f"{scheme}://127.0.0.1:{server.port}/v1/" for server in servers)
    engine = RemoteEngine(Upstream("pool", urls, "their-name", 4096, **settings), **clocks)
    try:
        yield engine, servers
    finally:
        await engine.aclose()
        for server in servers:
            await server.stop()


@contextlib.asynccontextmanager
async def upstream(serve: Serve, **settings) -> AsyncIterator[RemoteEngine]:
    """One server, and the engine that speaks to it."""
    async with pool(serve, **settings) as (engine, _):
        yield engine


async def collect(
    engine: RemoteEngine, deadline_s: float = 10, *, prompt: Prompt = PROMPT, **sampling
) -> list[Chunk]:
    prompt = replace(prompt, sampling=Sampling(**sampling))
    return [chunk async for chunk in engine.generate(Generation("pool", prompt, deadline_s))]


def text_of(chunks: list[Chunk], index: int = 0) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.index == index)


async def until(holds: Callable[[], object], seconds: float = 5) -> None:
    """Wait for what happens at the other end of a socket, which nothing announces."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
