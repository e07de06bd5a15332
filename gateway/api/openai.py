"""``/v1/chat/completions`` and ``/v1/models``."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from gateway.api.completions import events, whole
from gateway.api.prompts import to_prompt
from gateway.api.runs import Asks, Surface, answer_streamed, answer_whole
from gateway.api.schemas import decode_chat
from gateway.api.services import ApiRequest, Given, read_body, to_ask
from gateway.domain import ModelCard
from gateway.errors import UnknownModelError

CHAT = Surface("/v1/chat/completions")


@post("/chat/completions", status_code=200, opt={"route": CHAT.route})
async def chat(request: ApiRequest, services: Given) -> ASGIResponse:
    """Answer a conversation; OpenAI's ``POST /v1/chat/completions``."""
    deadline = asyncio.get_running_loop().time() + services.limits.request_s
    body = decode_chat(await read_body(request, services.limits), depth_limit=services.limits.depth)
    ask = await to_ask(request, services, body, to_prompt(body), stream=bool(body.stream))
    asks = Asks(services, CHAT, (ask,), deadline)
    if not ask.stream:
        return await answer_whole(request, services, asks, whole)
    usage = bool(body.stream_options and body.stream_options.include_usage)
    write = partial(events, count=ask.prompt.sampling.n, include_usage=usage)
    return await answer_streamed(request, services, asks, write)


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
            "quantization": card.quantization,
            "base": card.base,
            "license": card.license,
        },
    }
