"""A decoded chat request -> the :class:`Prompt` that the pipeline works on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.api.schemas import (
    AnyMessage,
    AssistantMessage,
    ChatBody,
    ChosenTool,
    DeveloperMessage,
    JsonSchemaFormat,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from gateway.api.wire import (
    ExtractiveFormat,
    GroundedFormat,
    JsonObjectFormat,
    SampledBody,
    TextFormat,
    refuse_unsupported,
)
from gateway.domain import Message, Prompt, ResponseFormat, Sampling, Tool, ToolCall
from gateway.errors import RequestError, UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TOKEN_ID = re.compile("[0-9]{1,9}")


def to_prompt(body: ChatBody) -> Prompt:
    """Return all of ``body`` that would reach a model.

    Raises:
        RequestError: values that contradict each other.
        UnsupportedParameterError: content that is not text.
    """
    tools = tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description,
            parameters=tool.function.parameters,
            strict=tool.function.strict,
        )
        for tool in body.tools or ()
    )
    check_tools(tools)
    return Prompt(
        messages=tuple(
            _message(message, f"messages[{i}]") for i, message in enumerate(body.messages)
        ),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls,
        stop=stops(body),
        response_format=_response_format(body),
        sampling=sampling(body, max_tokens=_max_tokens(body), logprobs=_logprobs(body)),
    )


def check_tools(tools: Sequence[Tool]) -> None:
    """Raise RequestError where two tools have the same name."""
    if len({tool.name for tool in tools}) != len(tools):
        raise RequestError("Two tools have the same name.", param="tools")


def sampling(body: SampledBody, *, max_tokens: int | None, logprobs: int | None) -> Sampling:
    """How to draw the answers.

    Raises:
        RequestError: a key of ``logit_bias`` that is no token's id.
    """
    return Sampling(
        max_tokens=max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        logit_bias=_logit_bias(body.logit_bias or {}),
        n=body.n or 1,
        logprobs=logprobs,
    )


def stops(body: SampledBody) -> tuple[str, ...]:
    """The stop sequences. Raises RequestError for an empty one."""
    named = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if not all(named):
        raise RequestError("A stop sequence is empty.", param="stop")
    return named


def _logit_bias(biases: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    if not all(_TOKEN_ID.fullmatch(token) for token in biases):
        raise RequestError("logit_bias names a token by its number.", param="logit_bias")
    by_id = {int(token): bias for token, bias in biases.items()}
    if len(by_id) != len(biases):
        raise RequestError("logit_bias names a token twice.", param="logit_bias")
    return tuple(sorted(by_id.items()))


def _logprobs(body: ChatBody) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise RequestError("top_logprobs needs logprobs.", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _message(message: AnyMessage, param: str) -> Message:
    content = _content(message.content, f"{param}.content")
    match message:
        case ToolMessage():
            return Message(role="tool", content=content, tool_call_id=message.tool_call_id)
        case AssistantMessage():
            refuse_unsupported(message, f"{param}.")
            if content is None and not message.tool_calls:
                raise RequestError(
                    "An assistant message has content or tool calls.", param=f"{param}.content"
                )
            calls = tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in message.tool_calls or ()
            )
            return Message("assistant", content, message.name, tool_calls=calls)
        case SystemMessage():
            return Message("system", content, message.name)
        case DeveloperMessage():
            return Message("developer", content, message.name)
        case UserMessage():
            return Message("user", content, message.name)


def _content(content: str | Sequence[object] | None, param: str) -> str | None:
    """Join text parts with newlines; whatever is not text would reach no model."""
    if content is None or isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, TextPart):
            raise UnsupportedParameterError(
                "Only text content is supported.", param=f"{param}[{index}].type"
            )
        refuse_unsupported(part, f"{param}[{index}].")
        texts.append(part.text)
    return "\n".join(texts)


def _tool_choice(body: ChatBody, tools: tuple[Tool, ...]) -> str | None:
    match body.tool_choice:
        case ChosenTool(function=function):
            if function.name not in {tool.name for tool in tools}:
                raise RequestError("tool_choice names none of the tools.", param="tool_choice")
            return f"function:{function.name}"
        case "required" if not tools:
            raise RequestError("tool_choice needs tools.", param="tool_choice")
        case choice:
            return choice if tools else None


def _max_tokens(body: ChatBody) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise RequestError(
            "max_tokens and max_completion_tokens differ.", param="max_completion_tokens"
        )
    return new if new is not None else old


def _response_format(body: ChatBody) -> ResponseFormat:
    match body.response_format:
        case JsonSchemaFormat(json_schema=definition):
            return ResponseFormat(
                kind="json_schema",
                name=definition.name,
                description=definition.description,
                schema=definition.schema,
                strict=definition.strict,
            )
        case JsonObjectFormat():
            return ResponseFormat(kind="json_object")
        case ExtractiveFormat():
            return ResponseFormat(kind="extractive")
        case GroundedFormat():
            return ResponseFormat(kind="grounded")
        case TextFormat() | None:
            return ResponseFormat()
