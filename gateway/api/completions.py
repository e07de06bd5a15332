"""Answers of the pipeline -> OpenAI's ``chat.completion`` and ``chat.completion.chunk``.

Beyond OpenAI's fields there is one, ``cloister``: the receipt's id and the guards' verdicts. It
stands in the whole answer, or in the chunk that has the finish reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.api.stream import event
from gateway.domain import Chunk, FinishReason, ToolCall, Usage, Verdict
from gateway.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from gateway.pipeline import Answering

_encode = msgspec.json.Encoder().encode


async def whole(answering: Answering) -> bytes:
    """Return the body of an answer that is not streamed.

    Raises:
        EngineError: the answer ended without its last chunk.
    """
    texts: list[str] = []
    calls: list[ToolCall] = []
    last = Chunk()
    async for last in answering.chunks:
        texts.append(last.text)
        calls.extend(last.tool_calls)
    finish, usage = _ending(last)
    content = "".join(texts)
    message: dict[str, object] = {
        "role": "assistant",
        "content": content if content or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = [_tool_call(call) for call in calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish.value,
    }
    return _encode(
        {
            **_head(answering, "chat.completion"),
            "choices": [choice],
            "usage": _usage(usage),
            "cloister": _extension(answering),
        }
    )


async def events(answering: Answering, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the events of a streamed answer, without ``[DONE]``.

    Raises:
        EngineError: the answer ended without its last chunk.
    """
    head = _head(answering, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None  # every chunk but the last says so, as OpenAI's do

    def chunk(delta: Mapping[str, object], finish: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(_encode({**head, "choices": [choice], **more}))

    yield chunk({"role": "assistant", "content": ""})
    last = Chunk()
    calls = 0
    async for last in answering.chunks:
        if last.text:
            yield chunk({"content": last.text})
        if last.tool_calls:
            yield chunk({"tool_calls": _call_deltas(last.tool_calls, calls)})
            calls += len(last.tool_calls)
    finish, usage = _ending(last)
    yield chunk({}, finish.value, cloister=_extension(answering))
    if include_usage:
        yield event(_encode({**head, "choices": [], "usage": _usage(usage)}))


def _ending(last: Chunk) -> tuple[FinishReason, Usage]:
    if last.finish is None or last.usage is None:
        raise EngineError
    return last.finish, last.usage


def _head(answering: Answering, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{answering.receipt_id}",
        "object": kind,
        "created": answering.created,
        "model": answering.model,
    }


def _tool_call(call: ToolCall) -> dict[str, object]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _call_deltas(calls: Sequence[ToolCall], first: int) -> list[dict[str, object]]:
    return [{"index": index, **_tool_call(call)} for index, call in enumerate(calls, first)]


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _extension(answering: Answering) -> dict[str, object]:
    verdicts = [_verdict(verdict) for verdict in answering.annotations]
    return {"receipt_id": answering.receipt_id, "verdicts": verdicts}


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "stage": verdict.stage,
        "passed": verdict.passed,
        "code": verdict.code,
        "evidence": verdict.evidence,
    }
