"""``/health/live``, ``/health/ready`` and ``/metrics``: no key needed, no data in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog
from litestar import get
from litestar.response.base import ASGIResponse

from gateway.api.metrics import CONTENT_TYPE
from gateway.api.services import Given

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

CHECK_FAILED = "readiness_check_failed"
_OK = 200
_NOT_READY = 503


@get("/health/live", opt={"route": "/health/live"})
async def live() -> ASGIResponse:
    """Tell that the process answers. It says nothing of its parts."""
    return ASGIResponse(body=b'{"status":"live"}')


@get("/health/ready", opt={"route": "/health/ready"})
async def ready(services: Given) -> ASGIResponse:
    """Tell whether a prompt could be answered now, and if not, why, in constants."""
    reasons: Sequence[str]
    try:
        reasons = await services.readiness()
    except Exception as error:  # noqa: BLE001 - a check that fails is a reason, whatever it is
        log.error("readiness_check_failed", error=type(error).__name__)  # noqa: TRY400
        reasons = (CHECK_FAILED,)
    status = "unready" if reasons else "ready"
    return ASGIResponse(
        body=msgspec.json.encode({"status": status, "reasons": list(reasons)}),
        status_code=_NOT_READY if reasons else _OK,
    )


@get("/metrics", opt={"route": "/metrics"})
async def metrics(services: Given) -> ASGIResponse:
    """Show the metrics in Prometheus' text format."""
    return ASGIResponse(body=services.metrics.render(), media_type=CONTENT_TYPE)
