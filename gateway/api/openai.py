"""``/v1/chat/completions`` and ``/v1/models``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from gateway.api.completions import events, whole
from gateway.api.problems import RECEIPT_HEADER
from gateway.api.prompts import to_prompt
from gateway.api.schemas import Metadata, decode_chat
from gateway.api.services import ApiRequest, Given, Services, authorise, read_body
from gateway.api.stream import EventStream, unless_gone
from gateway.domain import Ask, ModelCard
from gateway.errors import EngineTimeoutError, GatewayError, UnknownModelError

if TYPE_CHECKING:
    from gateway.pipeline import Answering

AUTO = "auto"
_ROUTE = "/v1/chat/completions"


@post("/chat/completions", status_code=200, opt={"route": _ROUTE})
async def chat(request: ApiRequest, services: Given) -> ASGIResponse:
    """Answer a conversation; OpenAI's ``POST /v1/chat/completions``."""
    deadline = asyncio.get_running_loop().time() + services.limits.request_s
    body = decode_chat(await read_body(request, services.limits), depth_limit=services.limits.depth)
    prompt = to_prompt(body)
    metadata = body.metadata or Metadata()
    ask = Ask(
        principal=request.user,
        purpose=await authorise(request, services, metadata, metadata.matter),
        prompt=prompt,
        model=None if body.model == AUTO else body.model,
        matter=metadata.matter,
        subject=metadata.subject,
        stream=bool(body.stream),
    )
    if not ask.stream:
        return await _whole(request, services, ask, deadline)
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    return await _streamed(request, services, ask, deadline, include_usage=include_usage)


async def _whole(
    request: ApiRequest, services: Services, ask: Ask, deadline: float
) -> ASGIResponse:
    async def work() -> ASGIResponse:
        answering = await _admit(services, ask, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                body = await whole(answering)
        except TimeoutError:
            raise _with_receipt(EngineTimeoutError(), answering) from None
        except GatewayError as error:
            raise _with_receipt(error, answering) from None
        finally:
            await answering.aclose()
        return ASGIResponse(body=body, headers={RECEIPT_HEADER: answering.receipt_id})

    end = services.metrics.begin(_ROUTE)
    try:
        return await unless_gone(request.receive, work())
    finally:
        end()


async def _streamed(
    request: ApiRequest, services: Services, ask: Ask, deadline: float, *, include_usage: bool
) -> ASGIResponse:
    end = services.metrics.begin(_ROUTE)
    try:
        answering = await unless_gone(request.receive, _admit(services, ask, deadline))
    except BaseException:
        end()
        raise

    async def close() -> None:
        end()
        await answering.aclose()

    return EventStream(
        events(answering, include_usage=include_usage),
        close=close,
        failed=services.metrics.failed,
        deadline=deadline,
        headers={RECEIPT_HEADER: answering.receipt_id},
    )


async def _admit(services: Services, ask: Ask, deadline: float) -> Answering:
    started = time.perf_counter()
    try:
        async with asyncio.timeout_at(deadline):
            answering = await services.pipeline.chat(ask)
    except TimeoutError:
        raise EngineTimeoutError from None
    services.metrics.admitted(time.perf_counter() - started)
    return answering


def _with_receipt(error: GatewayError, answering: Answering) -> GatewayError:
    error.receipt_id = error.receipt_id or answering.receipt_id
    return error


@get("/models", opt={"route": "/v1/models"})
async def list_models(services: Given) -> ASGIResponse:
    """List the models that can answer now."""
    cards = [_card(card) for card in services.pipeline.models()]
    return ASGIResponse(body=msgspec.json.encode({"object": "list", "data": cards}))


@get("/models/{name:path}", opt={"route": "/v1/models/{id}"})
async def show_model(services: Given, name: FromPath[str]) -> ASGIResponse:
    """Describe one model. Names may contain slashes.

    Raises:
        UnknownModelError: no such model.
    """
    wanted = name.removeprefix("/")
    for card in services.pipeline.models():
        if card.name == wanted:
            return ASGIResponse(body=msgspec.json.encode(_card(card)))
    raise UnknownModelError


def _card(card: ModelCard) -> dict[str, object]:
    """OpenAI's fields, of which ``created`` is not known here, and what Cloister knows."""
    return {
        "id": card.name,
        "object": "model",
        "created": 0,
        "owned_by": "local",
        "cloister": {
            "digest": card.digest,
            "context": card.context,
            "decoding": card.decoding.value,
            "tags": sorted(card.tags),
            "zone": card.zone,
            "license": card.license,
        },
    }
