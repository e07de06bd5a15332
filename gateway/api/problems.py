"""Errors -> HTTP, in OpenAI's shape. The one table; nothing else chooses a status code.

Whatever is not a :class:`GatewayError` becomes a constant: neither Litestar's messages (which
may quote a path or a value) nor those of an unforeseen exception reach the client or the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar.exceptions import HTTPException
from litestar.response import Response

from gateway import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from litestar.connection import Request

log = structlog.get_logger()

RECEIPT_HEADER = "X-Receipt-Id"
_INVALID = "invalid_request_error"
_PERMISSION = "permission_error"
_SERVER = "api_error"
_DOWN = "service_unavailable_error"

TABLE: dict[type[errors.GatewayError], tuple[HTTPStatus, str]] = {
    errors.GatewayError: (HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER),
    errors.RequestError: (HTTPStatus.BAD_REQUEST, _INVALID),
    errors.UnknownModelError: (HTTPStatus.NOT_FOUND, _INVALID),
    errors.NotFoundError: (HTTPStatus.NOT_FOUND, _INVALID),
    errors.RequestTimeoutError: (HTTPStatus.REQUEST_TIMEOUT, _INVALID),
    errors.BodyTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _INVALID),
    errors.AuthenticationError: (HTTPStatus.UNAUTHORIZED, "authentication_error"),
    errors.PermissionDeniedError: (HTTPStatus.FORBIDDEN, _PERMISSION),
    errors.PolicyDeniedError: (HTTPStatus.FORBIDDEN, _PERMISSION),
    errors.GuardRefusedError: (HTTPStatus.FORBIDDEN, _PERMISSION),
    # The prompt cannot be masked: sending it again as it is will not help, so not a 5xx.
    errors.TripwireError: (HTTPStatus.BAD_REQUEST, _INVALID),
    errors.BusyError: (HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error"),
    errors.SettingsError: (HTTPStatus.SERVICE_UNAVAILABLE, _DOWN),
    errors.AirGapError: (HTTPStatus.SERVICE_UNAVAILABLE, _DOWN),
    errors.UnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, _DOWN),
    errors.EngineTimeoutError: (HTTPStatus.GATEWAY_TIMEOUT, "timeout_error"),
}
"""A class that is not listed has the entry of its nearest base."""

_RETRY_AFTER_S = {HTTPStatus.TOO_MANY_REQUESTS: 1, HTTPStatus.SERVICE_UNAVAILABLE: 5}
"""Where the error itself does not say."""

# What Litestar itself refuses before a handler runs, by status; never its text.
_ROUTING = {
    HTTPStatus.NOT_FOUND: (errors.NotFoundError.code, "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address has no such method."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        errors.BodyTooLargeError.code,
        errors.BodyTooLargeError.default_message,
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it. Every text in it is a constant or a published name."""

    status: HTTPStatus
    kind: str
    code: str
    message: str
    param: str | None = None
    receipt_id: str | None = None
    retry_after_s: int | None = None

    def body(self) -> bytes:
        """Return the JSON body: also the data of an error event in a stream."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})

    def headers(self) -> dict[str, str]:
        headers = {RECEIPT_HEADER: self.receipt_id} if self.receipt_id else {}
        if self.status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        if retry := self.retry_after_s or _RETRY_AFTER_S.get(self.status):
            headers["Retry-After"] = str(retry)
        return headers


INTERNAL = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    _SERVER,
    errors.GatewayError.code,
    errors.GatewayError.default_message,
)


def to_problem(error: BaseException) -> Problem:
    """Return what the client is told of ``error``."""
    if isinstance(error, errors.GatewayError):
        status, kind = next(TABLE[base] for base in type(error).__mro__ if base in TABLE)
        again = error.retry_after_s if isinstance(error, errors.BusyError) else None
        told = (error.message, error.param, error.receipt_id, again)
        return Problem(status, kind, error.code, *told)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status = HTTPStatus(error.status_code)
        code, message = _ROUTING.get(
            status, (errors.RequestError.code, errors.RequestError.default_message)
        )
        return Problem(status, _INVALID, code, message)
    log.error("request_failed_unexpectedly", error=type(error).__name__)
    return INTERNAL


def exception_handler(
    count: Callable[[str], None],
) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Return the application's only exception handler; ``count`` gets the code of each problem."""

    def handle(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        problem = to_problem(error)
        count(problem.code)
        return answer(problem)

    return handle


def answer(problem: Problem) -> Response[bytes]:
    headers: Mapping[str, str] = problem.headers()
    return Response(
        problem.body(),
        status_code=problem.status,
        media_type="application/json",
        headers=headers,
    )
