"""``RemoteEngine``: OpenAI-compatible servers on the premises (DESIGN §6).

It sends masked prompts to the addresses that the settings name and to no other: no proxy from the
environment, no redirect, no name that a resolver could turn elsewhere. Beyond loopback it speaks
TLS. Whatever a server says is data: garbage, half an event or an early end is ``EngineError``.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator, Callable

from gateway.domain import Chunk, ModelCard
from gateway.engine.port import Embedded, Embedding, Generation
from gateway.engine.remote.answers import MAX_ANSWER, AnswerStream
from gateway.engine.remote.embeddings import read_embeddings
from gateway.engine.remote.exchange import Answer, Exchanges
from gateway.engine.remote.pool import Peer
from gateway.engine.remote.requests import embedding_call, generation_call
from gateway.engine.remote.sse import StreamError
from gateway.engine.remote.upstream import Upstream
from gateway.errors import UnknownModelError


class RemoteEngine:
    """One model and its adapters, on one or several servers. ``start`` begins the health checks.

    ``clock`` gives monotonic seconds; ``chance`` a number in [0, 1), which spreads the checks of
    several gateways.

    Raises:
        SettingsError: an address that is not on the premises, or an unreadable file.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        upstream.check()
        self._upstream = upstream
        self._cards = upstream.cards()
        self._served = {upstream.name: upstream.model} | {a: a for a in upstream.adapters}
        self._exchanges = Exchanges(upstream, clock)
        self._chance = chance
        self._watches: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Check each server from now on. Without it only requests tell which of them answer."""
        if self._upstream.health_path and not self._watches:
            watches = map(self._watch, self._exchanges.peers)
            self._watches = [asyncio.create_task(watch) for watch in watches]

    async def _watch(self, peer: Peer) -> None:
        while True:
            await self._exchanges.check(peer)
            await asyncio.sleep(self._upstream.health_interval_s * (0.8 + 0.4 * self._chance()))

    def models(self) -> tuple[ModelCard, ...]:
        return self._cards

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        sampling = generation.prompt.sampling
        call = generation_call(
            generation,
            self._find(generation.model, generation.adapter),
            # No scope: nothing may be used again, so no other request has this salt.
            salt=generation.cache_scope or secrets.token_hex(16),
            reuse=self._upstream.shared_cache,
        )
        stream = AnswerStream(sampling.n, sampling.logprobs)
        deadline = _deadline(generation.deadline_s)
        async with await self._exchanges.open(call, deadline, generation.again) as answer:
            while not stream.done:
                data = await answer.read()
                if not data:
                    raise StreamError
                for chunk in stream.feed(data):
                    yield chunk
            for chunk in stream.last():
                yield chunk
            await answer.succeed()

    async def embed(self, embedding: Embedding) -> Embedded:
        call = embedding_call(embedding, self._find(embedding.model))
        deadline = _deadline(embedding.deadline_s)
        async with await self._exchanges.open(call, deadline, embedding.again) as answer:
            told = read_embeddings(await _whole(answer), len(embedding.texts))
            await answer.succeed()
        return told

    def _find(self, model: str, adapter: str | None = None) -> str:
        """The name under which the servers know it."""
        served = self._served.get(adapter or model)
        if model not in self._served or served is None:
            raise UnknownModelError
        return served

    def flush(self) -> None:
        """Nothing to do: whatever changes a policy or a key changes the scope, and so the salt.

        A prefix of another salt is never found again, and the server drops it in time.
        """

    async def aclose(self) -> None:
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await self._exchanges.aclose()


def _deadline(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _whole(answer: Answer) -> bytes:
    body = bytearray()
    while data := await answer.read():
        body += data
        if len(body) > MAX_ANSWER:
            raise StreamError
    return bytes(body)
