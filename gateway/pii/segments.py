"""Every string of a prompt that reaches the model, visited by one traversal.

``collect`` and ``rebuild`` run the same walker with another visitor, so what is read for masking
and what is written after it cannot diverge. Ids of tool calls are the exception: the model never
sees them as sent, they are renumbered ``call_1, call_2, ...`` in the order of their appearance.

Turns fix the order in which values are numbered (``mask``). Tools, tool choice, response format
and stop sequences are turn 0: they stay as they are while a conversation grows, so what they
reveal keeps its number. Message ``i`` is turn ``i + 1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.domain import Message, Prompt, ResponseFormat, Tool, ToolCall
from gateway.errors import RequestError
from gateway.pii import jsontext
from gateway.pii.jsontext import TokenKind
from gateway.pii.schema import walk_schema
from gateway.pii.segment import SETUP_TURN, Kind, Segment, Visit

__all__ = ["Kind", "Segment", "collect", "plain", "rebuild"]

_FUNCTION = "function:"

MAX_SEGMENTS = 20_000
"""Each is a question to the detector: a body of digits and commas would hold it for minutes."""

_TOKEN_KINDS = {
    TokenKind.STRING: Kind.JSON_STRING,
    TokenKind.KEY: Kind.JSON_KEY,
    TokenKind.NUMBER: Kind.JSON_NUMBER,
}


def collect(prompt: Prompt) -> tuple[Segment, ...]:
    """Every string of the prompt, in the order of its turns.

    Raises:
        RequestError: a JSON schema is nested deeper than ``schema.MAX_DEPTH``, or there are more
            than ``MAX_SEGMENTS`` strings.
    """
    found: list[Segment] = []

    def visit(segment: Segment) -> str:
        if len(found) == MAX_SEGMENTS:
            raise RequestError("The request has too many values.", param=segment.path)
        found.append(segment)
        return segment.text

    _walk(prompt, visit)
    return tuple(found)


def rebuild(prompt: Prompt, texts: Sequence[str]) -> Prompt:
    """The prompt with ``texts[i]`` in the place of the i-th segment of ``collect``.

    Raises:
        ValueError: not one text for each segment.
        RequestError: two keys of a JSON schema became one.
    """
    following = iter(texts)

    def visit(_segment: Segment) -> str:
        text = next(following, None)
        if text is None:
            raise ValueError("fewer texts than segments")
        return text

    rebuilt = _walk(prompt, visit)
    if next(following, None) is not None:
        raise ValueError("more texts than segments")
    return rebuilt


def plain(text: str, path: str = "text") -> Segment:
    """One text by itself, not looked into as JSON: offsets of its findings are offsets of it."""
    return Segment(path=path, turn=1, text=text)


# --- the walker ----------------------------------------------------------------------------------


def _walk(prompt: Prompt, visit: Visit) -> Prompt:
    tools = tuple(_tool(tool, f"tools[{i}].function", visit) for i, tool in enumerate(prompt.tools))
    choice = prompt.tool_choice
    if choice is not None and choice.startswith(_FUNCTION):
        name = choice.removeprefix(_FUNCTION)
        choice = _FUNCTION + _name(name, "tool_choice.function.name", SETUP_TURN, visit)
    response_format = _response_format(prompt.response_format, visit)
    stop = tuple(visit(Segment("stop", SETUP_TURN, text)) for text in prompt.stop)
    ids = _CallIds()
    messages = tuple(_message(m, i, ids, visit) for i, m in enumerate(prompt.messages))
    return replace(
        prompt,
        tools=tools,
        tool_choice=choice,
        response_format=response_format,
        stop=stop,
        messages=messages,
    )


def _message(message: Message, index: int, ids: _CallIds, visit: Visit) -> Message:
    path, turn = f"messages[{index}]", index + 1
    name = message.name
    if name is not None and message.role == "tool":  # the name of the tool that answered
        name = _name(name, f"{path}.name", turn, visit)
    elif name is not None:
        name = visit(Segment(f"{path}.name", turn, name, forced="PERSON"))
    content = message.content
    if content is not None:
        content = _content(content, f"{path}.content", turn, visit)
    calls = []
    for i, call in enumerate(message.tool_calls):
        where = f"{path}.tool_calls[{i}].function"
        calls.append(
            ToolCall(
                id=ids.number(call.id),
                name=_name(call.name, f"{where}.name", turn, visit),
                arguments=_content(call.arguments, f"{where}.arguments", turn, visit),
            )
        )
    call_id = message.tool_call_id
    return replace(
        message,
        name=name,
        content=content,
        tool_calls=tuple(calls),
        tool_call_id=None if call_id is None else ids.number(call_id),
    )


class _CallIds:
    """Ids as sent -> ``call_n``, in the order in which they first appear."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def number(self, call_id: str) -> str:
        return self._numbers.setdefault(call_id, f"call_{len(self._numbers) + 1}")


def _content(text: str, path: str, turn: int, visit: Visit) -> str:
    """A text; where it is a JSON object or array, each string, key and number in it."""
    found = jsontext.tokens(text)
    if found is None:
        return visit(Segment(path, turn, text))
    texts = [
        visit(Segment(path, turn, token.text, _TOKEN_KINDS[token.kind], token.label))
        for token in found
    ]
    return jsontext.replace(text, found, texts)


def _name(text: str, path: str, turn: int, visit: Visit) -> str:
    return visit(Segment(path, turn, text, Kind.NAME))


def _tool(tool: Tool, path: str, visit: Visit) -> Tool:
    name = _name(tool.name, f"{path}.name", SETUP_TURN, visit)
    description = tool.description
    if description is not None:
        description = visit(Segment(f"{path}.description", SETUP_TURN, description))
    parameters = tool.parameters
    if parameters is not None:
        parameters = walk_schema(parameters, f"{path}.parameters", visit)
    return replace(tool, name=name, description=description, parameters=parameters)


def _response_format(wanted: ResponseFormat, visit: Visit) -> ResponseFormat:
    path = "response_format.json_schema"
    name, description, schema = wanted.name, wanted.description, wanted.schema
    if name is not None:
        name = _name(name, f"{path}.name", SETUP_TURN, visit)
    if description is not None:
        description = visit(Segment(f"{path}.description", SETUP_TURN, description))
    if schema is not None:
        schema = walk_schema(schema, f"{path}.schema", visit)
    return replace(wanted, name=name, description=description, schema=schema)
