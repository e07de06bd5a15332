"""The HTTP application over a pipeline."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.response import Response

from gateway.api import deidentify, embeddings, health, legacy, openai, receipts, responses
from gateway.api.auditor.routes import auditor_router
from gateway.api.auth import AuthFailures, require_key
from gateway.api.metrics import OTHER, Metrics
from gateway.api.problems import exception_handler
from gateway.api.services import Limits, Readiness, Services
from gateway.api.stream import ClientGoneError
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from litestar.connection import Request
    from litestar.types import ControllerRouterHandler, Message, Scope

    from gateway.api.auditor.desk import Desk
    from gateway.api.keyfile import KeyFile, Refusal
    from gateway.pipeline import Pipeline

log = structlog.get_logger()

_CLIENT_CLOSED_REQUEST = 499  # nginx's number; nobody is left to read it
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def create_api(  # noqa: PLR0913 - the parts of an application, named one by one
    pipeline: Pipeline,
    keys: KeyFile,
    failures: AuthFailures,
    readiness: Readiness,
    *,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    desk: Desk | None = None,
    pages: Sequence[ControllerRouterHandler] = (),
    lifespan: Sequence[Callable[[Litestar], Any]] = (),
) -> Litestar:
    """Return the application. ``pages`` are handlers served without a key (the console).

    ``desk``: where auditors read the log; without one there is no ``/audit/v1``.

    While it runs it puts ``failures`` on record once a minute, and once more at its end.
    """
    limits = limits or Limits()
    metrics = metrics or Metrics()
    services = Services(pipeline, limits, metrics, readiness)

    def refused(reason: Refusal) -> None:
        failures.note(reason)
        metrics.refused(reason)

    guard = require_key(keys, refused)
    auditing = [auditor_router(guard, pipeline, desk)] if desk else []
    serving = [_serving(desk)] if desk else []
    v1 = Router(
        "/v1",
        guards=[guard],
        route_handlers=[
            openai.chat,
            legacy.complete,
            embeddings.embed,
            responses.respond,
            openai.list_models,
            openai.show_model,
            deidentify.deidentify,
            receipts.receipt,
            receipts.report,
        ],
    )
    return Litestar(
        route_handlers=[v1, *auditing, health.live, health.ready, health.metrics, *pages],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        exception_handlers={
            ClientGoneError: _gone,
            Exception: exception_handler(metrics.failed),
        },
        before_send=[_finish_headers(metrics)],
        # Left in reverse: the last failures go on record before the ledger of the others closes,
        # and nobody reads it any more.
        lifespan=[*lifespan, *serving, _recording(failures)],
        request_max_body_size=limits.body_bytes,
        # Nothing of a request may reach a log, and the default documentation pages load scripts
        # from elsewhere.
        logging_config=None,
        openapi_config=None,
        debug=False,
    )


def _finish_headers(metrics: Metrics) -> Callable[[Message, Scope], Any]:
    """Return a hook that counts each answer and forbids its storage, whoever made it."""

    async def finish(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        handler = scope.get("route_handler")
        metrics.answered(handler.opt.get("route", OTHER) if handler else OTHER, message["status"])
        present = {name for name, _ in message["headers"]}
        message["headers"] = [
            *message["headers"],
            *(header for header in _HEADERS if header[0] not in present),
        ]

    return finish


def _gone(_request: Request[Any, Any, Any], _error: Exception) -> Response[bytes]:
    return Response(b"", status_code=_CLIENT_CLOSED_REQUEST)


def _serving(desk: Desk) -> Callable[[Litestar], Any]:
    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(desk.close)

    return running


def _recording(failures: AuthFailures) -> Callable[[Litestar], Any]:
    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        task = asyncio.create_task(failures.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            try:
                await failures.flush()
            except GatewayError as error:  # the end of the process cannot be refused
                log.error("auth_failures_not_recorded", code=error.code)  # noqa: TRY400

    return running
