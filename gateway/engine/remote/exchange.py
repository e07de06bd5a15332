"""``Exchanges``: requests to a pool of servers, over connections that go nowhere else.

No proxy from the environment, no redirect, no resolver, no cookie. A request goes to one server
after the other until the first byte of an answer; after it, never to another one: what a model
said twice is not one answer. Whatever a server says is data.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import urlsplit

import httpx
import structlog

from gateway.engine.port import Again
from gateway.engine.remote.pool import Outcome, Peer, Pool
from gateway.engine.remote.refusals import ProvokedError, check_status
from gateway.engine.remote.requests import Call
from gateway.engine.remote.sse import StreamError
from gateway.engine.remote.upstream import Upstream, health_url
from gateway.errors import (
    BusyError,
    EngineError,
    EngineTimeoutError,
    GatewayError,
)

_DRAIN_S: Final = 0.01
# Servers of this kind (uvicorn, cpp-httplib) close a connection that is idle for five seconds;
# one that is closed while it is being used again looks like a failure.
_KEEP_ALIVE_S: Final = 2.0
# Compressed answers are refused: two layers of gzip make gigabytes of two kilobytes.
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
}
# TLS gives its own errors where a certificate is refused after the handshake.
_BROKEN: Final = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError)

log = structlog.get_logger()


class Answer:
    """The body of a 200, from its first byte on. ``async with`` gives its server back."""

    def __init__(
        self,
        first: bytes,
        stream: AsyncIterator[bytes],
        deadline: float,
        leave: Callable[[Outcome], object],
        response: httpx.Response,
    ) -> None:
        self._first = first
        self._stream = stream
        self._deadline = deadline
        self._leave = leave
        self._response = response
        self._outcome = Outcome.UNTOLD

    async def read(self) -> bytes:
        """Return what came next, b"" at the end.

        Raises:
            EngineTimeoutError, EngineError: silence, the request's deadline, or a broken answer.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(self._stream, b"")
        except TimeoutError:
            raise EngineTimeoutError from None  # a long answer says nothing against the server
        except httpx.TimeoutException:
            self._outcome = Outcome.FAILED
            raise EngineTimeoutError from None
        except _BROKEN:
            self._fail()

    def _fail(self) -> NoReturn:
        self._outcome = Outcome.FAILED
        raise EngineError("The upstream failed or broke the protocol.") from None

    async def succeed(self) -> None:
        """The answer is complete: read its end, so that its connection is used again."""
        self._outcome = Outcome.SUCCEEDED
        with contextlib.suppress(TimeoutError, *_BROKEN):
            async with asyncio.timeout(_DRAIN_S):
                await anext(self._stream, b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is StreamError:
            self._outcome = Outcome.FAILED
        self._leave(self._outcome)
        await self._response.aclose()
        if kind is StreamError:
            self._fail()


class Exchanges:
    """The servers of one upstream.

    Raises:
        SettingsError: see ``Upstream.tls``.
    """

    def __init__(self, upstream: Upstream, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._pool = Pool(upstream.urls, upstream.breaker, clock)
        key = {"Authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}
        self._client = httpx.AsyncClient(
            verify=upstream.tls(),
            headers=_HEADERS | key,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # they would tie users
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            timeout=httpx.Timeout(upstream.read_timeout_s, connect=upstream.connect_timeout_s),
        )

    @property
    def peers(self) -> tuple[Peer, ...]:
        return self._pool.peers

    async def open(self, call: Call, deadline: float, again: Again) -> Answer:
        """Send ``call`` to the servers in turn; return the first answer that begins.

        ``again`` is awaited before each but the first.

        Raises:
            BusyError: every server that could be asked is.
            RequestError, ContextLengthExceededError, UnsupportedParameterError: a server refused
                the request, and the others would.
            EngineTimeoutError, EngineError: none answered, or none may be asked for now.
        """
        tried: list[Peer] = []
        pauses: list[int] = []
        last = EngineError("No server of this model answers now.")
        while (peer := self._pool.take(tried)) is not None:
            try:
                if tried:
                    await again()
            except BaseException:
                self._leave(peer, Outcome.UNTOLD)
                raise
            tried.append(peer)
            try:
                return await self._begin(peer, call, deadline)
            except BusyError as error:
                pauses.append(error.retry_after_s)
            except EngineError as error:
                last = error
                if asyncio.get_running_loop().time() >= deadline:
                    break
        if pauses:
            raise BusyError(retry_after_s=min(pauses))
        raise last

    async def _begin(self, peer: Peer, call: Call, deadline: float) -> Answer:
        """Return the answer at its first byte; a server that gives none is given back."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._send(peer, call, deadline)
        except BusyError as error:
            self._leave(peer, Outcome.UNTOLD, rest_s=error.retry_after_s)
            raise
        except (TimeoutError, httpx.TimeoutException):
            self._leave(peer, Outcome.FAILED)
            raise EngineTimeoutError from None
        except _BROKEN:
            self._leave(peer, Outcome.FAILED)
            raise EngineError("The upstream failed or broke the protocol.") from None
        except ProvokedError:
            self._leave(peer, Outcome.UNTOLD, rest_s=self._upstream.breaker.cool_down_s)
            raise EngineError("The upstream failed or broke the protocol.") from None
        except BaseException as error:
            self._leave(peer, Outcome.FAILED if isinstance(error, EngineError) else Outcome.UNTOLD)
            raise

    async def _send(self, peer: Peer, call: Call, deadline: float) -> Answer:
        response = await self._post(peer, call)
        try:
            await check_status(response, call.path)
            stream = response.aiter_raw()
            first = await anext(stream, b"")
            if not first:
                await self._ask_why(peer, call)
        except BaseException:
            await response.aclose()
            raise
        return Answer(first, stream, deadline, lambda told: self._leave(peer, told), response)

    async def _ask_why(self, peer: Peer, call: Call) -> NoReturn:
        """Ask once more for what a 200 without a byte did not say.

        llama_cpp.server ends a stream like this when a prompt is too long.

        Raises:
            GatewayError: see ``check_status``.
            ProvokedError: no refusal either.
        """
        response = await self._post(peer, call.in_one_piece())
        try:
            await check_status(response, call.path)
        finally:
            await response.aclose()
        raise ProvokedError

    async def _post(self, peer: Peer, call: Call) -> httpx.Response:
        """Send; once more for each connection that was kept open here and closed over there."""
        fresh = False

        async def trace(event: str, _: object) -> None:
            nonlocal fresh
            fresh = fresh or event.startswith("connection.connect")

        while True:
            request = self._request("POST", peer.url.rstrip("/") + call.path, call.body)
            request.extensions["trace"] = trace
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if fresh:
                    raise

    def _request(self, method: str, url: str, body: bytes | None = None) -> httpx.Request:
        """``localhost`` is asked for in TLS, and never looked up."""
        parts = httpx.URL(url)
        extensions = {"sni_hostname": parts.host} if parts.host == "localhost" else {}
        if extensions:
            parts = parts.copy_with(host="127.0.0.1")
        return self._client.build_request(method, parts, content=body, extensions=extensions)

    def _leave(self, peer: Peer, outcome: Outcome, *, rest_s: float = 0.0) -> None:
        before = peer.answers
        self._pool.give_back(peer, outcome, rest_s=rest_s)
        _tell(peer, before)

    async def check(self, peer: Peer) -> None:
        """Ask a server how it is, and note it. Its answer is not read."""
        limit = self._upstream.connect_timeout_s
        before = peer.answers
        try:
            request = self._request("GET", health_url(peer.url, self._upstream.health_path))
            async with asyncio.timeout(limit):
                response = await self._client.send(request, stream=True)
                await response.aclose()
            peer.healthy = response.is_success
        except (TimeoutError, GatewayError, *_BROKEN):
            peer.healthy = False
        _tell(peer, before)

    async def aclose(self) -> None:
        await self._client.aclose()


def _tell(peer: Peer, before: bool) -> None:
    if peer.answers is not before:
        parts = urlsplit(peer.url)
        event = "upstream_answers" if peer.answers else "upstream_left_out"
        log.warning(event, host=parts.hostname, port=parts.port)
