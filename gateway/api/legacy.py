"""``/v1/completions``, OpenAI's older interface: a text is continued, without a chat template.

Several prompts are several asks, answered one after the other: each has an intent and an outcome of
its own, and a receipt. ``X-Receipt-Id`` is the first one's; ``cloister.receipt_ids`` has all of
them, in the order of the prompts. Choices ``k * n`` to ``k * n + n - 1`` are those of prompt k.
A stream admits a prompt when the one before is answered, so its last events know all receipts.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from gateway.answer import total
from gateway.api.completions import extension, finite, readable, usage_body
from gateway.api.prompts import sampling, stops
from gateway.api.runs import Asks, Surface, answer_streamed, answer_whole, usage_of
from gateway.api.schemas_legacy import DEFAULT_MAX_TOKENS, CompletionBody, decode_completion
from gateway.api.services import ApiRequest, Given, read_body, to_ask
from gateway.api.stream import event
from gateway.domain import Chunk, Message, Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gateway.api.runs import Whole
    from gateway.domain import TokenLogprob, Usage
    from gateway.pipeline import Answering

COMPLETIONS = Surface("/v1/completions", {"messages[": "prompt", "response_format": "model"})
_encode = msgspec.json.Encoder().encode


@post("/completions", status_code=200, opt={"route": COMPLETIONS.route})
async def complete(request: ApiRequest, services: Given) -> ASGIResponse:
    """Continue one text or several; OpenAI's ``POST /v1/completions``."""
    deadline = asyncio.get_running_loop().time() + services.limits.request_s
    body = decode_completion(
        await read_body(request, services.limits), depth_limit=services.limits.depth
    )
    prompts = to_prompts(body)
    first = await to_ask(request, services, body, prompts[0], stream=bool(body.stream))
    asks = [replace(first, prompt=prompt) for prompt in prompts]
    running = Asks(services, COMPLETIONS, asks, deadline)
    echoes = body.prompts() if body.echo else ("",) * len(prompts)
    if not first.stream:
        return await answer_whole(request, services, running, partial(_whole, echoes=echoes))
    usage = bool(body.stream_options and body.stream_options.include_usage)
    write = partial(_events, echoes=echoes, count=body.n or 1, include_usage=usage)
    return await answer_streamed(request, services, running, write)


def to_prompts(body: CompletionBody) -> tuple[Prompt, ...]:
    """Return a prompt for each text, to be continued as it stands.

    Raises:
        RequestError: values that contradict each other.
        UnsupportedParameterError: a prompt that is not text.
    """
    limit = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    drawn = sampling(body, max_tokens=limit, logprobs=body.logprobs)
    return tuple(
        Prompt((Message("user", text),), stop=stops(body), sampling=drawn, raw=True)
        for text in body.prompts()
    )


def _whole(answers: Sequence[Whole], *, echoes: Sequence[str]) -> bytes:
    choices = [
        _choice(choice.index + i * len(answer.choices), echo + choice.text, choice.finish.value)
        | {"logprobs": _logprobs(choice.logprobs, 0)}
        for i, (answer, echo) in enumerate(zip(answers, echoes, strict=True))
        for choice in answer.choices
    ]
    return _encode(
        {
            **_head(answers[0], answers[0].receipt_id),
            "choices": choices,
            "usage": usage_body(total([answer.usage for answer in answers])),
            "cloister": {
                **extension(
                    answers[0].receipt_id, (v for answer in answers for v in answer.verdicts)
                ),
                "receipt_ids": [answer.receipt_id for answer in answers],
            },
        }
    )


async def _events(
    turns: AsyncGenerator[Answering, None],
    *,
    echoes: Sequence[str],
    count: int,
    include_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of the answers, without ``[DONE]``.

    Raises:
        EngineError: an answer ended without its last chunk.
    """
    receipts: list[str] = []
    counted: list[Usage] = []
    head: dict[str, object] = {}
    async with contextlib.aclosing(turns):
        async for answering in turns:
            turn = len(receipts)
            receipts.append(answering.receipt_id)
            head = head or _head(answering, answering.receipt_id)
            if include_usage:
                head["usage"] = None
            writer = _Turn(head, turn * count, echoes[turn])
            ends: list[Chunk] = []
            async for piece in answering.chunks:
                more: dict[str, object] = {}
                if piece.finish is not None:
                    ends.append(piece)
                    told = extension(answering.receipt_id, answering.annotations)
                    more = {"cloister": {**told, "receipt_ids": list(receipts)}}
                if data := writer.event(piece, more):
                    yield data
            counted.append(usage_of(ends, count))
    if include_usage:
        yield event(_encode({**head, "choices": [], "usage": usage_body(total(counted))}))


class _Turn:
    """Writes the chunks of one prompt's answers; each begins with the echo, where one is wanted."""

    def __init__(self, head: dict[str, object], first: int, echo: str) -> None:
        self._head = head
        self._first = first
        self._echo = echo
        self._begun: set[int] = set()
        self._offsets: dict[int, int] = {}

    def event(self, piece: Chunk, more: dict[str, object]) -> bytes:
        """The event of a chunk; empty where it says nothing."""
        text = piece.text
        if piece.index not in self._begun:
            self._begun.add(piece.index)
            text = self._echo + text
        if not (text or piece.logprobs or piece.finish):
            return b""
        offset = self._offsets.get(piece.index, 0)
        length = sum(len(readable(told.token)) for told in piece.logprobs)
        self._offsets[piece.index] = offset + length
        finish = piece.finish.value if piece.finish else None
        choice = _choice(self._first + piece.index, text, finish)
        choice["logprobs"] = _logprobs(piece.logprobs, offset)
        return event(_encode({**self._head, "choices": [choice], **more}))


def _head(answer: Answering | Whole, receipt_id: str) -> dict[str, object]:
    return {
        "id": f"cmpl-{receipt_id}",
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
    }


def _choice(index: int, text: str, finish: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _logprobs(told: Sequence[TokenLogprob], offset: int) -> dict[str, object] | None:
    """Of the masked answer's tokens. ``text_offset`` counts in it, not in the restored text."""
    if not told:
        return None
    tokens = [readable(each.token) for each in told]
    offsets = list(accumulate(map(len, tokens), initial=offset))[:-1]
    tops = [
        {readable(token): finite(logprob) for token, logprob in each.top} if each.top else None
        for each in told
    ]
    return {
        "tokens": tokens,
        "token_logprobs": [finite(each.logprob) for each in told],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
