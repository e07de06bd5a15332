"""``/v1/responses``: OpenAI's Responses API over the same pipeline, without its memory.

Nothing is stored here: an answer says ``"store": false``, its id is its receipt's, and no request
can go on from it. The sequence of a stream's events is OpenAI's; ``response.completed`` or
``response.incomplete`` comes after the outcome is on record, and never after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from gateway.api.completions import extension
from gateway.api.items import to_prompt
from gateway.api.runs import Asks, Surface, answer_streamed, answer_whole, usage_of
from gateway.api.schemas_responses import ResponsesBody, TextConfig, decode_responses
from gateway.api.services import ApiRequest, Given, read_body, to_ask
from gateway.api.stream import event
from gateway.domain import Chunk, FinishReason
from gateway.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from gateway.api.problems import Problem
    from gateway.api.runs import Whole
    from gateway.domain import ToolCall, Usage
    from gateway.pipeline import Answering

RESPONSES = Surface(
    "/v1/responses",
    {"messages[": "input", "tools[": "tools", "response_format": "text.format"},
)
_INCOMPLETE = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}
_encode = msgspec.json.Encoder().encode


@post("/responses", status_code=200, opt={"route": RESPONSES.route})
async def respond(request: ApiRequest, services: Given) -> ASGIResponse:
    """Answer a conversation; OpenAI's ``POST /v1/responses``."""
    deadline = asyncio.get_running_loop().time() + services.limits.request_s
    body = decode_responses(
        await read_body(request, services.limits), depth_limit=services.limits.depth
    )
    if body.stream_options is not None and not body.stream:
        raise RequestError("stream_options needs stream.", param="stream_options")
    ask = await to_ask(request, services, body, to_prompt(body), stream=bool(body.stream))
    asks = Asks(services, RESPONSES, (ask,), deadline)
    if not ask.stream:
        return await answer_whole(request, services, asks, Writer(body).whole)
    writer = Writer(body)
    return await answer_streamed(
        request, services, asks, writer.events, ending=writer.failed, done=b""
    )


class Writer:
    """Writes one response, whole or as events that are numbered from 0."""

    def __init__(self, body: ResponsesBody) -> None:
        self._body = body
        self._number = 0

    def whole(self, answers: Sequence[Whole]) -> bytes:
        (answer,) = answers
        (choice,) = answer.choices
        output = _output(answer.receipt_id, choice.text, choice.calls, choice.finish)
        told = extension(answer.receipt_id, answer.verdicts)
        ended = self._ended(answer, output, choice.finish, answer.usage)
        return _encode({**ended, "cloister": told})

    async def events(self, turns: AsyncGenerator[Answering, None]) -> AsyncGenerator[bytes, None]:
        """Yield the events of the one answer that is streamed.

        Raises:
            EngineError: the answer ended without its last chunk.
        """
        async with contextlib.aclosing(turns):
            async for answering in turns:
                async with contextlib.aclosing(self._events(answering)) as each:
                    async for data in each:
                        yield data

    async def _events(self, answering: Answering) -> AsyncGenerator[bytes, None]:
        begun = self._response(answering, "in_progress")
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        message = _Message(answering.receipt_id)
        last = Chunk()
        async for last in answering.chunks:
            if last.text:
                for name, more in message.say(last.text):
                    yield self._event(name, **more)
        usage = usage_of([last], 1)
        finish = last.finish or FinishReason.STOP
        output = _output(answering.receipt_id, message.text, last.tool_calls, finish)
        if message.text or not last.tool_calls:
            for name, more in message.end(output[0]):
                yield self._event(name, **more)
        for index, item in enumerate(output):
            if item["type"] == "function_call":
                for name, more in _call(index, item):
                    yield self._event(name, **more)
        ended = self._ended(answering, output, finish, usage)
        ended["cloister"] = extension(answering.receipt_id, answering.annotations)
        yield self._event(f"response.{ended['status']}", response=ended)

    def failed(self, problem: Problem) -> bytes:
        """The event that a stream ends with that failed."""
        return self._event("error", code=problem.code, message=problem.message, param=problem.param)

    def _event(self, name: str, /, **more: object) -> bytes:
        data = _encode({"type": name, "sequence_number": self._number, **more})
        self._number += 1
        return event(data, name)

    def _ended(
        self,
        answer: Answering | Whole,
        output: Sequence[Mapping[str, object]],
        finish: FinishReason,
        usage: Usage,
    ) -> dict[str, object]:
        reason = _INCOMPLETE.get(finish)
        return {
            **self._response(answer, "incomplete" if reason else "completed"),
            "incomplete_details": {"reason": reason} if reason else None,
            "output": output,
            "usage": _usage(usage),
        }

    def _response(self, answer: Answering | Whole, status: str) -> dict[str, object]:
        """All fields of a response that has no output yet; what the caller sent comes back."""
        body = self._body
        return {
            "id": f"resp_{answer.receipt_id}",
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": answer.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": (body.text or TextConfig()).format or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": None,
        }


class _Message:
    """The text of a streamed answer: an item that begins with its first piece. Always item 0."""

    def __init__(self, receipt_id: str) -> None:
        self._item = _message(receipt_id, "", "in_progress") | {"content": []}
        self._place = {"item_id": self._item["id"], "output_index": 0, "content_index": 0}
        self._said: list[str] = []
        self._begun = False

    @property
    def text(self) -> str:
        return "".join(self._said)

    def say(self, text: str) -> Iterator[tuple[str, dict[str, object]]]:
        yield from self._begin()
        self._said.append(text)
        yield "response.output_text.delta", {**self._place, "delta": text, "logprobs": []}

    def end(self, item: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        """``item``: the whole of it."""
        yield from self._begin()
        done = {**self._place, "text": self.text, "logprobs": []}
        yield "response.output_text.done", done
        yield "response.content_part.done", {**self._place, "part": _part(self.text)}
        yield "response.output_item.done", {"output_index": 0, "item": item}

    def _begin(self) -> Iterator[tuple[str, dict[str, object]]]:
        if self._begun:
            return
        self._begun = True
        yield "response.output_item.added", {"output_index": 0, "item": self._item}
        yield "response.content_part.added", {**self._place, "part": _part("")}


def _call(index: int, item: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """The events of one call, whose arguments come in one piece."""
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "arguments": "", "status": "in_progress"}
    arguments = item["arguments"]
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.function_call_arguments.delta", {**place, "delta": arguments}
    done = {**place, "arguments": arguments, "name": item["name"]}
    yield "response.function_call_arguments.done", done
    yield "response.output_item.done", {"output_index": index, "item": item}


def _output(
    receipt_id: str, text: str, calls: Iterable[ToolCall], finish: FinishReason
) -> list[dict[str, object]]:
    """The items of an answer: its text, unless there are calls alone, and then its calls."""
    status = "incomplete" if finish in _INCOMPLETE else "completed"
    items: list[dict[str, object]] = [
        {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": status,
        }
        for call in calls
    ]
    return [_message(receipt_id, text, status), *items] if text or not items else items


def _message(receipt_id: str, text: str, status: str) -> dict[str, object]:
    return {
        "id": f"msg_{receipt_id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [_part(text)],
    }


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
