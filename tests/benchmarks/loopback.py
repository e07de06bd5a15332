"""An instant model and a thin client over loopback, so that what is timed is the gateway.

``python -m tests.benchmarks.loopback`` serves an OpenAI-compatible upstream in a process of its
own and prints its port. Its model `INSTANT` answers at once, its model `SLOW` streams `PIECES`
pieces, `PIECE_S` apart. The client keeps its connection and parses no more than it must.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

INSTANT = "instant"
SLOW = "slow"
PIECES = 20
PIECE_S = 0.02

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANSWER = "The note says so."


# --- the upstream ---------------------------------------------------------------------------------


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_content_length(head))
            request = json.loads(body)
            if request.get("stream"):
                await _stream(writer, slow=request["model"] == SLOW)
            else:
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": ANSWER},
                    "finish_reason": "stop",
                }
                payload = json.dumps({**_envelope("chat.completion"), "choices": [choice]})
                _write_head(writer, "application/json", f"Content-Length: {len(payload)}")
                writer.write(payload.encode())
            await writer.drain()
    writer.close()


async def _stream(writer: asyncio.StreamWriter, *, slow: bool) -> None:
    _write_head(writer, "text/event-stream", "Transfer-Encoding: chunked")
    for piece in [f"word{index} " for index in range(PIECES)] if slow else [ANSWER]:
        delta = {"content": piece}
        _write_event(writer, [{"index": 0, "delta": delta, "finish_reason": None}])
        await writer.drain()
        await asyncio.sleep(PIECE_S * slow)
    _write_event(writer, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
    _write_event(writer, [])
    _write_chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _envelope(kind: str) -> dict[str, object]:
    return {"id": "up", "object": kind, "created": 0, "model": "m", "usage": USAGE}


def _write_head(writer: asyncio.StreamWriter, kind: str, length: str) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{length}\r\n\r\n".encode())


def _write_event(writer: asyncio.StreamWriter, choices: list[dict[str, object]]) -> None:
    event = {**_envelope("chat.completion.chunk"), "choices": choices}
    if choices:
        del event["usage"]
    _write_chunk(writer, b"data: " + json.dumps(event).encode() + b"\n\n")


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve() -> None:
    server = await asyncio.start_server(_serve_one, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # the parent reads it
    await server.serve_forever()


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run the upstream in a process of its own; yield its port."""
    command = [sys.executable, "-m", "tests.benchmarks.loopback"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline()) if process.stdout else 0
        finally:
            process.terminate()


# --- the client -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds from the first byte sent: to the first piece of the answer, and to its end."""

    first_s: float
    total_s: float


class Client:
    """One kept connection to a chat endpoint on 127.0.0.1."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._headers = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def chat(self, content: str, *, model: str, stream: bool = False) -> Timing:
        """Send one user message and read the whole answer.

        Raises:
            AssertionError: any status but 200.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        messages = [{"role": "user", "content": content}]
        body = json.dumps({"model": model, "messages": messages, "stream": stream}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{self._headers}\r\n"
        )
        started = time.perf_counter()
        writer.write(head.encode() + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in answer_head.lower():
            first = await _read_chunks(reader, started)
        else:
            answer = await reader.readexactly(_content_length(answer_head))
            first = time.perf_counter() - started
            if not answer_head.startswith(b"HTTP/1.1 200"):
                raise AssertionError(answer_head + answer)
        return Timing(first, time.perf_counter() - started)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_chunks(reader: asyncio.StreamReader, started: float) -> float:
    """Read a chunked answer to its end; return when its first text came."""
    first = None
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        if first is None and b'"content":' in chunk and b'"content":""' not in chunk:
            first = time.perf_counter() - started
    await reader.readexactly(2)
    if first is None:
        raise AssertionError("a stream without text")
    return first


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
