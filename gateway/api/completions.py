"""Answers of the pipeline -> OpenAI's ``chat.completion`` and ``chat.completion.chunk``.

Beyond OpenAI's fields there is one, ``cloister``: the receipt's id and the guards' verdicts. It
stands in the whole answer, or in each chunk that has a finish reason.

Log-probabilities are of the tokens that the model wrote, with placeholders, and are never restored:
joined they are the masked answer, not ``content``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from gateway.api.runs import usage_of
from gateway.api.stream import event
from gateway.domain import Chunk, TokenLogprob, ToolCall, Usage, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from gateway.api.runs import Choice, Whole
    from gateway.pipeline import Answering

_encode = msgspec.json.Encoder().encode
_IMPOSSIBLE = -9999.0
"""OpenAI's number for what JSON cannot write."""


def whole(answers: Sequence[Whole]) -> bytes:
    """Return the body of the one answer that is not streamed."""
    (answer,) = answers
    return _encode(
        {
            **_head(answer, "chat.completion"),
            "choices": [_choice(choice) for choice in answer.choices],
            "usage": usage_body(answer.usage),
            "cloister": extension(answer.receipt_id, answer.verdicts),
        }
    )


def _choice(choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": choice.text if choice.text or not choice.calls else None,
        "refusal": None,
    }
    if choice.calls:
        message["tool_calls"] = [_tool_call(call) for call in choice.calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": _logprobs(choice.logprobs),
        "finish_reason": choice.finish.value,
    }


async def events(
    turns: AsyncGenerator[Answering, None], *, count: int, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the events of the one answer that is streamed, ``count`` choices, without ``[DONE]``.

    Raises:
        EngineError: an answer ended without its last chunk.
    """
    async with contextlib.aclosing(turns):
        async for answering in turns:
            async with contextlib.aclosing(_events(answering, count, include_usage)) as each:
                async for data in each:
                    yield data


async def _events(
    answering: Answering, count: int, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    head = _head(answering, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None  # every chunk but the last says so, as OpenAI's do

    def chunk(of: Chunk, delta: Mapping[str, object], **more: object) -> bytes:
        choice = {
            "index": of.index,
            "delta": delta,
            "logprobs": _logprobs(of.logprobs),
            "finish_reason": of.finish.value if of.finish else None,
        }
        return event(_encode({**head, "choices": [choice], **more}))

    for index in range(count):
        yield chunk(Chunk(index=index), {"role": "assistant", "content": ""})
    ends: list[Chunk] = []
    async for piece in answering.chunks:
        if piece.text or piece.logprobs:
            said = Chunk(index=piece.index, logprobs=piece.logprobs)
            yield chunk(said, {"content": piece.text})
        if piece.tool_calls:
            yield chunk(Chunk(index=piece.index), {"tool_calls": _call_deltas(piece.tool_calls)})
        if piece.finish is not None:
            ends.append(piece)
            end = Chunk(index=piece.index, finish=piece.finish)
            told = extension(answering.receipt_id, answering.annotations)
            yield chunk(end, {}, cloister=told)
    usage = usage_of(ends, count)
    if include_usage:
        yield event(_encode({**head, "choices": [], "usage": usage_body(usage)}))


def _head(answer: Answering | Whole, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{answer.receipt_id}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
    }


def _tool_call(call: ToolCall) -> dict[str, object]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _call_deltas(calls: Sequence[ToolCall]) -> list[dict[str, object]]:
    return [{"index": index, **_tool_call(call)} for index, call in enumerate(calls)]


def _logprobs(told: Sequence[TokenLogprob]) -> dict[str, object] | None:
    if not told:
        return None
    content = [
        {
            **_token(each.token, each.logprob),
            "top_logprobs": [_token(token, logprob) for token, logprob in each.top],
        }
        for each in told
    ]
    return {"content": content, "refusal": None}


def _token(token: bytes, logprob: float) -> dict[str, object]:
    """``token`` need not be whole characters; ``bytes`` are exact."""
    return {"token": readable(token), "logprob": finite(logprob), "bytes": list(token)}


def readable(token: bytes) -> str:
    return token.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    return logprob if logprob > _IMPOSSIBLE else _IMPOSSIBLE  # noqa: FURB136 - also of NaN


def usage_body(usage: Usage) -> dict[str, object]:
    """OpenAI's ``usage``; prompt tokens that the engine had in its cache are told apart."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def extension(receipt_id: str, verdicts: Iterable[Verdict]) -> dict[str, object]:
    """What Cloister tells beyond OpenAI's fields."""
    return {"receipt_id": receipt_id, "verdicts": [_verdict(verdict) for verdict in verdicts]}


def _verdict(verdict: Verdict) -> dict[str, object]:
    choice = {} if verdict.choice is None else {"choice": verdict.choice}
    return {
        "stage": verdict.stage,
        "passed": verdict.passed,
        "code": verdict.code,
        "evidence": verdict.evidence,
        **choice,
    }
