"""``POST /v1/deidentify``: mask a text as the policy in force demands, without a model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from gateway.api.problems import RECEIPT_HEADER
from gateway.api.schemas_deidentify import decode_deidentify
from gateway.api.services import ApiRequest, Given, authorise, read_body
from gateway.api.stream import unless_gone
from gateway.errors import UnavailableError
from gateway.pipeline import DeidentifyAsk

if TYPE_CHECKING:
    from gateway.pii.mask import Replacement
    from gateway.pipeline import Deidentified

_ROUTE = "/v1/deidentify"


@post("/deidentify", status_code=200, opt={"route": _ROUTE})
async def deidentify(request: ApiRequest, services: Given) -> ASGIResponse:
    """Return the masked text and what was found; ``policy`` can only add to those in force."""
    body = decode_deidentify(
        await read_body(request, services.limits), depth_limit=services.limits.depth
    )
    ask = DeidentifyAsk(
        principal=request.user,
        purpose=await authorise(request, services, body.metadata),
        text=body.text,
        language=body.language,
        policies=(body.policy,) if isinstance(body.policy, str) else tuple(body.policy or ()),
    )
    end = services.metrics.begin(_ROUTE)
    try:
        async with asyncio.timeout(services.limits.request_s):
            done = await unless_gone(request.receive, services.pipeline.deidentify(ask))
    except TimeoutError:
        raise UnavailableError from None
    finally:
        end()
    return ASGIResponse(
        body=msgspec.json.encode(_answer(done)), headers={RECEIPT_HEADER: done.receipt_id}
    )


def _answer(done: Deidentified) -> dict[str, object]:
    return {
        "text": done.text,
        "entities": [_entity(entity) for entity in done.entities],
        "policy": {
            "in_force": [
                {"name": policy.name, "version": policy.version, "digest": policy.digest}
                for policy in done.policies
            ]
        },
        **({"language": done.language} if done.language else {}),
    }


def _entity(replacement: Replacement) -> dict[str, object]:
    """``start`` and ``end`` are code points of the text that was sent."""
    return {
        "entity_type": replacement.entity_type,
        "start": replacement.start,
        "end": replacement.end,
        "score": replacement.score,
        "operator": replacement.operator.name.lower(),
        "replacement": replacement.text,
    }
