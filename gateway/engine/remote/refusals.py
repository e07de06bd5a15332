"""What the status of a server's answer means here."""

from __future__ import annotations

from typing import Final

import httpx

from gateway.engine.remote.answers import says_too_long
from gateway.engine.remote.requests import EMBEDDINGS
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    GatewayError,
    RequestError,
    UnsupportedParameterError,
)

_MAX_ERROR_BODY: Final = 64 * 1024
_LONGEST_PAUSE_S: Final = 60


class ProvokedError(Exception):
    """A failure that a request can provoke, a 500 or a 200 without a byte.

    Another server is asked, and this one for a while after all others; but it is never left out,
    or one user could take a model away from all.
    """


async def check_status(response: httpx.Response, path: str) -> None:
    """Return for a 200 that is not compressed.

    Raises:
        ProvokedError: a 500.
        BusyError: a 429 or 503, with the pause that it asks for.
        RequestError: the request is at fault (ContextLengthExceededError and
            UnsupportedParameterError are such).
        EngineError: anything else.
    """
    if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
        raise ProvokedError
    plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
    if response.status_code != httpx.codes.OK or not plain:
        raise await _refusal(response, path, plain=plain)


async def _refusal(response: httpx.Response, path: str, *, plain: bool) -> GatewayError:
    """Translate a refusal. The server's message may quote the prompt: only its code is read."""
    status = response.status_code
    if status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return BusyError(retry_after_s=_pause(response.headers.get("Retry-After", "")))
    if path == EMBEDDINGS and status in (httpx.codes.NOT_FOUND, httpx.codes.NOT_IMPLEMENTED):
        return UnsupportedParameterError("This model gives no embeddings.", param="model")
    if plain and status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        if says_too_long(await _beginning(response)):
            return ContextLengthExceededError()
        return RequestError("The model's server does not accept this request.")
    return EngineError("The upstream refused the request.")


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for data in response.aiter_raw():
        body += data
        if len(body) > _MAX_ERROR_BODY:
            break
    return body


def _pause(retry_after: str) -> int:
    """Whole seconds, 1 to 60; a date (RFC 9110, 10.2.3) would take a clock that agrees: 1."""
    seconds = int(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1
    return max(1, min(seconds, _LONGEST_PAUSE_S))
