"""The chat completions of OpenAI's API as a client writes and reads them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.domain import Chunk, FinishReason, Message, Prompt, Tool, ToolCall, Usage
from gateway.engine.port import Generation
from gateway.engine.sse import EventParser, StreamError
from gateway.errors import RequestError, UnsupportedParameterError

_FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_MAX_ANSWER: Final = 64 * 1024 * 1024  # bytes of one stream
_MAX_CALLS: Final = 128


# --- the request ----------------------------------------------------------------------------------


def request_body(generation: Generation, model: str) -> bytes:
    """Write a prompt as JSON of POST /v1/chat/completions, streaming, usage included.

    Raises:
        UnsupportedParameterError: an extractive format, which only local engines decode.
        RequestError: half a surrogate pair.
    """
    prompt, sampling = generation.prompt, generation.prompt.sampling
    if prompt.response_format.kind == "extractive":
        raise UnsupportedParameterError(
            "This model cannot be held to quotations.", param="response_format"
        )
    body: dict[str, Any] = {
        "model": generation.adapter or model,
        "messages": [_message(message) for message in prompt.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    optional = {
        "tools": [_tool(tool) for tool in prompt.tools] or None,
        "tool_choice": _tool_choice(prompt.tool_choice),
        "parallel_tool_calls": prompt.parallel_tool_calls,
        "response_format": _response_format(prompt),
        "stop": list(prompt.stop) or None,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    body |= {key: value for key, value in optional.items() if value is not None}
    if generation.cache_scope:
        body["cache_salt"] = generation.cache_scope  # vLLM: separates prefix caches
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise RequestError("The prompt holds half a surrogate pair.") from None


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in message.tool_calls
    ]
    optional = {
        "name": message.name,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id,
    }
    return {
        "role": message.role,
        "content": message.content,
        **{key: value for key, value in optional.items() if value is not None},
    }


def _tool(tool: Tool) -> dict[str, Any]:
    optional = {
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    kept = {key: value for key, value in optional.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **kept}}


def _tool_choice(choice: str | None) -> Any:
    if choice is not None and choice.startswith("function:"):
        return {"type": "function", "function": {"name": choice.removeprefix("function:")}}
    return choice


def _response_format(prompt: Prompt) -> dict[str, Any] | None:
    wanted = prompt.response_format
    if wanted.kind == "text":
        return None
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    optional = {
        "description": wanted.description,
        "schema": wanted.schema,
        "strict": wanted.strict,
    }
    kept = {key: value for key, value in optional.items() if value is not None}
    return {"type": "json_schema", "json_schema": {"name": wanted.name or "answer", **kept}}


# --- the answer -----------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    """Without ``choices`` it is an error or no event of ours, and decoding fails."""

    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = field(repr=False, default="")
    arguments: str = field(repr=False, default="")


class CompletionStream:
    """Collects a stream. Text goes through; calls, reason and usage wait for the last chunk."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._decoder = msgspec.json.Decoder(_Event)
        self._calls: dict[int, _Call] = {}
        self._finish: FinishReason | None = None
        self._usage = Usage()
        self._size = 0
        self.done = False

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the text that ``data`` completes; ``done`` is set by ``[DONE]``.

        Raises:
            StreamError: not the stream of a chat completion.
        """
        self._size += len(data)
        if self._size > _MAX_ANSWER:
            raise StreamError
        texts = []
        for event in self._parser.feed(data):
            if event.strip() == "[DONE]":
                self.done = True
                break
            texts.append(self._take(event))
        return [Chunk(text) for text in texts if text]

    def _take(self, raw: str) -> str:
        try:
            event = self._decoder.decode(raw)
        except msgspec.DecodeError:
            raise StreamError from None
        if event.usage is not None:
            self._usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        text = ""
        for choice in event.choices:
            if choice.index != 0 or (self._finish is not None and choice.delta.content):
                raise StreamError
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                self._add_call(call)
            if choice.finish_reason is not None:
                self._finish = _FINISH.get(choice.finish_reason, FinishReason.STOP)
        return text

    def _add_call(self, delta: _CallDelta) -> None:
        if not 0 <= delta.index < _MAX_CALLS:
            raise StreamError
        call = self._calls.setdefault(delta.index, _Call())
        call.id = call.id or delta.id or ""
        if delta.function is not None:
            call.name += delta.function.name or ""
            call.arguments += delta.function.arguments or ""

    def last(self) -> Chunk:
        """Return the chunk that ends the answer.

        Raises:
            StreamError: the server never said why it ended, or half a call is left.
        """
        if self._finish is None:
            raise StreamError
        calls = []
        for index in sorted(self._calls):
            call = self._calls[index]
            if not call.id or not call.name:
                raise StreamError
            calls.append(ToolCall(call.id, call.name, call.arguments))
        return Chunk(tool_calls=tuple(calls), finish=self._finish, usage=self._usage)
