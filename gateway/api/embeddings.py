"""``/v1/embeddings``: a vector for each text, of the text as the policy in force masks it.

All texts of a request are masked together: a value has one placeholder in all of them. So the
vector of a text can depend on what else stands in its request; ask for what is to be compared
together, or for one text at a time.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import TYPE_CHECKING

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from gateway.api.completions import extension
from gateway.api.problems import RECEIPT_HEADER
from gateway.api.runs import Surface
from gateway.api.schemas_embeddings import decode_embedding
from gateway.api.services import ApiRequest, Given, read_body, to_ask
from gateway.api.stream import unless_gone
from gateway.domain import Message, Prompt
from gateway.errors import EngineTimeoutError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.pipeline import Embeddings

EMBEDDINGS = Surface("/v1/embeddings", {"messages[": "input"})


@post("/embeddings", status_code=200, opt={"route": EMBEDDINGS.route})
async def embed(request: ApiRequest, services: Given) -> ASGIResponse:
    """Return a vector for each text; OpenAI's ``POST /v1/embeddings``."""
    deadline = asyncio.get_running_loop().time() + services.limits.request_s
    body = decode_embedding(
        await read_body(request, services.limits), depth_limit=services.limits.depth
    )
    prompt = Prompt(tuple(Message("user", text) for text in body.texts()))
    ask = await to_ask(request, services, body, prompt)
    end = services.metrics.begin(EMBEDDINGS.route)
    try:
        async with asyncio.timeout_at(deadline):
            done = await unless_gone(request.receive, services.pipeline.embed(ask))
    except TimeoutError:
        raise EngineTimeoutError from None
    except GatewayError as error:
        EMBEDDINGS.name(error)
        raise
    finally:
        end()
    return ASGIResponse(
        body=msgspec.json.encode(_answer(done, packed=body.encoding_format == "base64")),
        headers={RECEIPT_HEADER: done.receipt_id},
    )


def _answer(done: Embeddings, *, packed: bool) -> dict[str, object]:
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if packed else list(vector),
            }
            for index, vector in enumerate(done.vectors)
        ],
        "model": done.model,
        "usage": {
            "prompt_tokens": done.usage.prompt_tokens,
            "total_tokens": done.usage.prompt_tokens,
        },
        "cloister": extension(done.receipt_id, done.annotations),
    }


def _packed(vector: Sequence[float]) -> str:
    """Base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
