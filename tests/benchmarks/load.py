"""A load client for streamed chat completions, cheap enough to share two cores with a server.

``python -m tests.benchmarks.load`` reads one `Job` as JSON on standard input, runs it and prints
its `Outcome`: a process of its own, so that what it costs is the same beside every server. What
comes in is kept as bytes and parsed when the answer is over.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.harness import percentile

_FIRST_TEXT = re.compile(rb'"content": ?"[^"]')
_TEXT = re.compile(rb'"content": ?("(?:[^"\\]|\\.)*")')
_USAGE = re.compile(rb'"usage": ?\{')
_END = b"\r\n0\r\n\r\n"  # the last chunk behind another; within JSON no line end is bare
_OK = b"HTTP/1.1 200"
_LONGEST_S = 300.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, in seconds from the first byte sent. Without text it begins at its end."""

    first_s: float
    total_s: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None  # None: the server does not tell


@dataclass(frozen=True, slots=True)
class Job:
    """``bodies`` are sent in order, by ``parallel`` clients that each wait for an answer's end."""

    port: int
    parallel: int
    bodies: Sequence[Mapping[str, object]] = field(repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``wall_s``: from the first byte sent to the last byte received."""

    wall_s: float
    answers: tuple[Answer, ...]

    @property
    def tokens_per_s(self) -> float:
        return sum(answer.completion_tokens for answer in self.answers) / self.wall_s

    @property
    def first_s(self) -> float:
        return percentile([answer.first_s for answer in self.answers], 0.5)

    @property
    def prompt_tokens(self) -> float:
        """Of one prompt, on average."""
        return sum(answer.prompt_tokens for answer in self.answers) / len(self.answers)


class RefusedError(AssertionError):
    """Any status but 200. ``status`` is its number, 0 where the connection ended early."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[-300:]!r}")
        self.status = status


def chat_body(
    messages: str | Sequence[Mapping[str, str]], *, model: str, tokens: int, **more: object
) -> dict[str, object]:
    """The body of a greedy, streamed request; a text alone is one message of the user."""
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return {
        "model": model,
        "messages": turns,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


class Connection(asyncio.Protocol):
    """One kept connection. ``begun`` is done at an answer's first text, ``ended`` at its end."""

    def __init__(self, key: str = "") -> None:
        self._authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._tail = b""  # the last bytes, for an end that arrives in two pieces
        self._times = [0.0, 0.0, 0.0]  # sent, first text, end
        self._lost = asyncio.Event()
        self.begun: asyncio.Future[None]
        self.ended: asyncio.Future[None]

    @classmethod
    async def open(cls, port: int, key: str = "") -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(key), "127.0.0.1", port)
        return connection

    def send(self, body: Mapping[str, object]) -> None:
        loop = asyncio.get_running_loop()
        self.begun, self.ended = loop.create_future(), loop.create_future()
        data = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
            f"{self._authorization}\r\n"
        )
        self._received.clear()
        self._times[0] = time.perf_counter()
        assert self._transport is not None
        self._transport.write(head.encode() + data)

    async def chat(self, body: Mapping[str, object]) -> Answer:
        """Send a request and read its whole answer.

        Raises:
            RefusedError: any status but 200.
        """
        self.send(body)
        await self.ended
        return self.answer()

    def answer(self) -> Answer:
        received = b"".join(self._received)
        if not received.startswith(_OK):
            status = received.split(b" ", 2)[1] if b" " in received else b"0"
            raise RefusedError(int(status), received)
        usage = _usage(received)
        details = usage.get("prompt_tokens_details")
        return Answer(
            self._times[1] - self._times[0],
            self._times[2] - self._times[0],
            usage["prompt_tokens"],
            usage["completion_tokens"],
            details["cached_tokens"] if isinstance(details, dict) else None,
        )

    def text(self) -> str:
        """The text of the answer that has ended."""
        deltas = _TEXT.findall(b"".join(self._received))
        return "".join(json.loads(delta) for delta in deltas)

    def told(self) -> str:
        """The end of what has come so far, for a failure."""
        return repr(b"".join(self._received)[-300:])

    def vanish(self) -> None:
        """Be gone, without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Be gone, and wait until the socket is closed."""
        self.vanish()
        await self._lost.wait()

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        if not self.begun.done() and _FIRST_TEXT.search(data):
            self._times[1] = time.perf_counter()
            self.begun.set_result(None)
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END or (len(self._received) == 1 and not data.startswith(_OK)):
            self._times[2] = time.perf_counter()
            self._times[1] = self._times[1] if self.begun.done() else self._times[2]
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        if hasattr(self, "ended"):
            self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _usage(received: bytes) -> dict[str, object]:
    """The usage of the last event that has one."""
    places = list(_USAGE.finditer(received))
    if not places:
        raise AssertionError(f"an answer without usage: {received[-300:]!r}")
    usage, _ = json.JSONDecoder().raw_decode(received[places[-1].end() - 1 :].decode())
    assert isinstance(usage, dict)
    return usage


async def perform(job: Job) -> Outcome:
    """Run a job in this process.

    Raises:
        RefusedError: a request was refused.
    """
    waiting = iter(job.bodies)
    connections = [await Connection.open(job.port, job.key) for _ in range(job.parallel)]
    answers: list[Answer] = []
    started = time.perf_counter()
    async with asyncio.timeout(_LONGEST_S):
        for told in await asyncio.gather(*(_work(job, one, waiting) for one in connections)):
            answers += told
    return Outcome(time.perf_counter() - started, tuple(answers))


async def _work(
    job: Job, connection: Connection, waiting: Iterator[Mapping[str, object]]
) -> list[Answer]:
    """One client. A server that hangs up between two requests is called again, as an SDK would."""
    answers: list[Answer] = []
    try:
        for body in waiting:
            try:
                answer = await connection.chat(body)
            except RefusedError as refused:
                if refused.status or not answers:
                    raise
                await connection.close()
                connection = await Connection.open(job.port, job.key)
                answer = await connection.chat(body)
            answers.append(answer)
    finally:
        await connection.close()
    return answers


def run(job: Job) -> Outcome:
    """Run a job in a process of its own.

    Raises:
        AssertionError: a request was refused, or the client failed otherwise.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=json.dumps(asdict(job)).encode(),
        cwd=_ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr.decode(errors="replace")[-1000:])
    outcome = json.loads(done.stdout)
    return Outcome(outcome["wall_s"], tuple(Answer(**answer) for answer in outcome["answers"]))


def main() -> None:
    outcome = asyncio.run(perform(Job(**json.load(sys.stdin))))
    print(json.dumps(asdict(outcome)))  # noqa: T201  # the parent reads it


if __name__ == "__main__":
    main()
