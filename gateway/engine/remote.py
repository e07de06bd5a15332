"""``RemoteEngine``: an OpenAI-compatible server on the premises (DESIGN §6).

It sends masked prompts to one address that the settings name and to no other: no proxy from the
environment, no redirect, no name that a resolver could turn elsewhere. Beyond loopback it speaks
TLS. Whatever the server says is data: garbage, half an event or an early end is ``EngineError``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from gateway.domain import Chunk, ModelCard
from gateway.engine.completions import CompletionStream, request_body
from gateway.engine.port import Generation
from gateway.engine.sse import StreamError
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    SettingsError,
    UnknownModelError,
)

# Loopback and what RFC 1918, 4193 and 6598 set aside. Not link-local: clouds keep secrets there.
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
_MAX_ERROR_BODY: Final = 64 * 1024
_DRAIN_S: Final = 0.01
# Compressed answers are refused: two layers of gzip make gigabytes of two kilobytes.
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """One model of one server. ``url`` ends before ``/chat/completions``.

    Its host is an IP literal or ``localhost``. ``api_key`` "" sends none; ``ca_file`` None trusts
    the system's store.
    """

    name: str
    url: str
    model: str
    context: int
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    size_bytes: int = 0
    api_key: str = field(repr=False, default="")
    ca_file: Path | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0


def check_address(url: str) -> None:
    """Check that ``url`` is on the premises.

    Raises:
        SettingsError: no http(s) URL, a host that is neither loopback nor a private IP literal,
            or plain http beyond loopback.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
        host = parts.hostname or ""
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise SettingsError(
            "An upstream's host is an IP address or localhost: a name could lead elsewhere."
        ) from None
    if parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise SettingsError("An upstream's url is http(s)://HOST:PORT/PATH and nothing more.")
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_loopback:
        return
    if not any(address in network for network in _PRIVATE):
        raise SettingsError("An upstream's address must be loopback or private.")
    if parts.scheme != "https":
        raise SettingsError("An upstream beyond loopback needs https.")


class RemoteEngine:
    """One upstream.

    Raises:
        SettingsError: an address that is not on the premises, or an unreadable CA file.
    """

    def __init__(self, upstream: Upstream) -> None:
        check_address(upstream.url)
        self._upstream = upstream
        self._card = ModelCard(
            name=upstream.name,
            digest="",  # the weights are not here to be hashed
            backend="remote",
            size_bytes=upstream.size_bytes,
            context=upstream.context,
            tags=upstream.tags,
            zone=upstream.zone,
        )
        headers = {"Authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}
        self._client = httpx.AsyncClient(
            verify=_tls(upstream),
            headers=headers,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(upstream.read_timeout_s, connect=upstream.connect_timeout_s),
        )

    def models(self) -> tuple[ModelCard, ...]:
        return (self._card,)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        if generation.model != self._card.name:
            raise UnknownModelError
        body = request_body(generation, self._upstream.model)
        answer = CompletionStream()
        deadline = asyncio.get_running_loop().time() + generation.deadline_s
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._open(body)
            try:
                stream = response.aiter_raw()
                while not answer.done:
                    async with asyncio.timeout_at(deadline):
                        data = await anext(stream, b"")
                    if not data:
                        raise EngineError("The upstream ended its answer early.")
                    for chunk in answer.feed(data):
                        yield chunk
                yield answer.last()
                await _drain(stream)
            finally:
                await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise EngineTimeoutError from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, StreamError):
            raise EngineError("The upstream failed or broke the protocol.") from None

    async def _open(self, body: bytes) -> httpx.Response:
        """Send the request; return the response at its first byte.

        Raises:
            BusyError, ContextLengthExceededError, EngineError: what the status means here.
        """
        request = self._client.build_request(
            "POST",
            f"{self._upstream.url.rstrip('/')}/chat/completions",
            content=body,
            headers=_HEADERS,
        )
        response = await self._client.send(request, stream=True)
        plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
        if response.status_code == httpx.codes.OK and plain:
            return response
        try:
            raise await _refusal(response)
        finally:
            await response.aclose()


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read the end of a response whose answer is complete, so that its connection is used again."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError, httpx.StreamError):
        async with asyncio.timeout(_DRAIN_S):
            await anext(stream, b"")


def _tls(upstream: Upstream) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=upstream.ca_file)
    except (OSError, ssl.SSLError):
        raise SettingsError("The CA file of an upstream cannot be read.") from None


async def _refusal(response: httpx.Response) -> Exception:
    """Translate a refusal. The server's message may quote the prompt: only its code is read."""
    if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return BusyError()
    if response.status_code == httpx.codes.BAD_REQUEST:
        body = b""
        async for data in response.aiter_raw():
            body += data
            if len(body) > _MAX_ERROR_BODY:
                break
        if b"context_length_exceeded" in body or b"maximum context length" in body:
            return ContextLengthExceededError()
    return EngineError("The upstream refused the request.")
