"""A decoded Responses request -> the :class:`Prompt` that the pipeline works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.api.prompts import check_tools
from gateway.api.schemas_responses import (
    ChosenFunction,
    InputItem,
    InputText,
    OutputText,
    ResponsesBody,
    SchemaFormat,
)
from gateway.api.wire import refuse_unsupported
from gateway.domain import Message, Prompt, ResponseFormat, Sampling, Tool, ToolCall
from gateway.errors import RequestError, UnsupportedParameterError

_FIELDS = {
    "message": frozenset({"role", "content"}),
    "function_call": frozenset({"call_id", "name", "arguments"}),
    "function_call_output": frozenset({"call_id", "output"}),
}
"""What an item of each type has to have, and nothing of the others."""


def to_prompt(body: ResponsesBody) -> Prompt:
    """Return all of ``body`` that would reach a model. ``instructions`` are the first message.

    Raises:
        RequestError: values that contradict each other.
        UnsupportedParameterError: content that is not text.
    """
    tools = tuple(
        Tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in body.tools or ()
    )
    check_tools(tools)
    instructions = [Message("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        turns = [Message("user", body.input)]
    else:
        turns = list(_joined(_messages(body.input)))
    return Prompt(
        messages=(*instructions, *turns),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=_response_format(body),
        sampling=Sampling(
            max_tokens=body.max_output_tokens, temperature=body.temperature, top_p=body.top_p
        ),
    )


def _messages(items: Sequence[InputItem]) -> Iterator[Message]:
    for index, item in enumerate(items):
        param = f"input[{index}]"
        refuse_unsupported(item, f"{param}.")
        every = frozenset().union(*_FIELDS.values())
        given = {name for name in every if getattr(item, name) is not None}
        wanted = _FIELDS[item.type]
        if given != wanted:
            off = min(given ^ wanted)
            raise RequestError(
                "This field is missing, or has no place in an item of this type.",
                param=f"{param}.{off}",
            )
        yield _message(item, param)


def _message(item: InputItem, param: str) -> Message:
    match item.type:
        case "function_call":
            call = ToolCall(item.call_id or "", item.name or "", item.arguments or "")
            return Message("assistant", None, tool_calls=(call,))
        case "function_call_output":
            content = _content(item.output, f"{param}.output")
            return Message("tool", content, tool_call_id=item.call_id)
        case _:
            return Message(item.role or "", _content(item.content, f"{param}.content"))


def _joined(messages: Iterator[Message]) -> Iterator[Message]:
    """The calls of one turn as one message, with the text before them, as chat has it."""
    turn: Message | None = None
    for message in messages:
        if turn is not None and turn.role == "assistant" and message.tool_calls:
            turn = replace(turn, tool_calls=(*turn.tool_calls, *message.tool_calls))
            continue
        if turn is not None:
            yield turn
        turn = message
    if turn is not None:
        yield turn


def _content(content: str | Sequence[object] | None, param: str) -> str | None:
    """Join text parts with newlines; whatever is not text would reach no model."""
    if content is None or isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, InputText | OutputText):
            raise UnsupportedParameterError(
                "Only text content is supported.", param=f"{param}[{index}].type"
            )
        refuse_unsupported(part, f"{param}[{index}].")
        texts.append(part.text)
    return "\n".join(texts)


def _tool_choice(body: ResponsesBody, tools: tuple[Tool, ...]) -> str | None:
    match body.tool_choice:
        case ChosenFunction(name=name):
            if name not in {tool.name for tool in tools}:
                raise RequestError("tool_choice names none of the tools.", param="tool_choice")
            return f"function:{name}"
        case "required" if not tools:
            raise RequestError("tool_choice needs tools.", param="tool_choice")
        case choice:
            return choice if tools else None


def _response_format(body: ResponsesBody) -> ResponseFormat:
    wanted = body.text.format if body.text else None
    if isinstance(wanted, SchemaFormat):
        return ResponseFormat(
            "json_schema", wanted.name, wanted.description, wanted.schema, wanted.strict
        )
    if wanted is None:
        return ResponseFormat()
    return ResponseFormat(str(wanted.__struct_config__.tag))
