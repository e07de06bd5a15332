"""What every handler is given, and how a handler reads a body and checks a grant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from litestar.connection import Request
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import SkipValidation

from gateway.api.auth import PURPOSE_HEADER, check_grant, wanted_purpose
from gateway.api.metrics import Metrics
from gateway.api.stream import ClientGoneError
from gateway.api.wire import AskBody, Metadata, PurposeMetadata
from gateway.domain import Ask, Principal, Prompt, Purpose
from gateway.errors import BodyTooLargeError, PermissionDeniedError, RequestTimeoutError
from gateway.pipeline import Pipeline

AUTO = "auto"
_TOO_LARGE = 413
_SERVER_ERROR = 500

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Returns why the gateway cannot answer now, as constants; empty when it can."""

ApiRequest = Request[Principal, Any, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """``body_bytes`` in bytes; ``depth`` in open arrays and objects; times in seconds.

    ``request_s`` bounds a request from its first byte to the last of its answer, ``body_s`` the
    arrival of its body.
    """

    body_bytes: int = 2 * 1024 * 1024
    depth: int = 64
    request_s: float = 300.0
    body_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Services:
    pipeline: Pipeline
    limits: Limits
    metrics: Metrics
    readiness: Readiness


Given = NamedDependency[SkipValidation[Services]]


async def read_body(request: ApiRequest, limits: Limits) -> bytes:
    """Return the body.

    Raises:
        BodyTooLargeError: more than ``limits.body_bytes``, announced or sent.
        RequestTimeoutError: it did not arrive within ``limits.body_s``.
        ClientGoneError: the client left before the end of it.
    """
    try:
        async with asyncio.timeout(limits.body_s):
            return await request.body()
    except TimeoutError:
        raise RequestTimeoutError from None
    except HTTPException as error:
        if error.status_code == _TOO_LARGE:
            raise BodyTooLargeError from None
        if error.status_code < _SERVER_ERROR:
            raise
        raise ClientGoneError from None  # all that Litestar says when the body breaks off


async def authorise(
    request: ApiRequest,
    services: Services,
    metadata: PurposeMetadata | None,
    matter: str | None = None,
) -> Purpose:
    """Return the purpose of a request whose holder may have it for the matter it names.

    Raises:
        RequestError: the purpose is none, or named twice differently.
        PermissionDeniedError: not granted; the refusal is on record.
        LedgerUnavailableError: not granted, and the refusal could not be put on record.
    """
    wanted = wanted_purpose(request.headers.getall(PURPOSE_HEADER, []), metadata)
    purpose = wanted or request.user.default_purpose
    try:
        check_grant(request.user, purpose, matter)
    except PermissionDeniedError as error:
        error.receipt_id = await services.pipeline.refuse(error, request.user, purpose)
        raise
    return purpose


async def to_ask(
    request: ApiRequest, services: Services, body: AskBody, prompt: Prompt, *, stream: bool = False
) -> Ask:
    """Return what the pipeline is asked, by a holder who may.

    Raises: as ``authorise``.
    """
    metadata = body.metadata or Metadata()
    return Ask(
        principal=request.user,
        purpose=await authorise(request, services, metadata, metadata.matter),
        prompt=prompt,
        model=None if body.model == AUTO else body.model,
        matter=metadata.matter,
        subject=metadata.subject,
        record_numbers=metadata.numbers,
        stream=stream,
    )
