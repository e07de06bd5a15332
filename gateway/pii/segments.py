"""Every string of a prompt that reaches the model, visited by one traversal.

``collect`` and ``rebuild`` run the same walker with another visitor, so what is read for masking
and what is written after it cannot diverge. Ids of tool calls are the exception: the model never
sees them as sent, they are renumbered ``call_1, call_2, ...`` in the order of their appearance.

Turns fix the order in which values are numbered (``mask``). Tools, tool choice, response format
and stop sequences are turn 0: they stay as they are while a conversation grows, so what they
reveal keeps its number. Message ``i`` is turn ``i + 1``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gateway.domain import Message, Prompt, ResponseFormat, Tool, ToolCall
from gateway.errors import RequestError
from gateway.pii import jsontext
from gateway.pii.jsontext import TokenKind

SETUP_TURN = 0
MAX_SCHEMA_DEPTH = 64
_FUNCTION = "function:"


class Kind(StrEnum):
    TEXT = "text"
    JSON_STRING = "json_string"
    JSON_KEY = "json_key"
    JSON_NUMBER = "json_number"
    NAME = "name"
    """Text that must stay as it is (a tool's name, a pattern): a finding here is refused."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One string. ``path`` is a published parameter; ``label`` is the JSON key in front of it.

    ``forced`` is an entity type that the whole text has by its place, whatever a detector says.
    """

    path: str
    turn: int
    text: str = field(repr=False)
    kind: Kind = Kind.TEXT
    label: str | None = field(repr=False, default=None)
    forced: str | None = None


Visit = Callable[[Segment], str]

_TOKEN_KINDS = {
    TokenKind.STRING: Kind.JSON_STRING,
    TokenKind.KEY: Kind.JSON_KEY,
    TokenKind.NUMBER: Kind.JSON_NUMBER,
}


def collect(prompt: Prompt) -> tuple[Segment, ...]:
    """Every string of the prompt, in the order of its turns.

    Raises:
        RequestError: a JSON schema is nested deeper than ``MAX_SCHEMA_DEPTH``.
    """
    found: list[Segment] = []

    def visit(segment: Segment) -> str:
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
        parameters = _schema(parameters, f"{path}.parameters", visit, 0)
    return replace(tool, name=name, description=description, parameters=parameters)


def _response_format(wanted: ResponseFormat, visit: Visit) -> ResponseFormat:
    path = "response_format.json_schema"
    name, description, schema = wanted.name, wanted.description, wanted.schema
    if name is not None:
        name = _name(name, f"{path}.name", SETUP_TURN, visit)
    if description is not None:
        description = visit(Segment(f"{path}.description", SETUP_TURN, description))
    if schema is not None:
        schema = _schema(schema, f"{path}.schema", visit, 0)
    return replace(wanted, name=name, description=description, schema=schema)


# --- JSON Schema (2020-12; what the vocabulary says decides what may change) ----------------------

_SUBSCHEMAS = frozenset(
    "items additionalProperties additionalItems not if then else contains propertyNames"
    " unevaluatedItems unevaluatedProperties contentSchema".split()
)
_SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_BY_PROPERTY = frozenset({"properties", "dependentSchemas"})
_BY_FIXED_KEY = frozenset({"patternProperties", "$defs", "definitions"})
_ANNOTATIONS = frozenset({"title", "description", "$comment"})
_DATA = frozenset({"enum", "const", "default", "examples", "example"})
_CLOSED_TYPES = frozenset("string number integer boolean object array null".split())
_BOUNDS = frozenset(
    "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains"
    " uniqueItems deprecated readOnly writeOnly nullable".split()
)


def _schema(schema: Mapping[str, object], path: str, visit: Visit, depth: int) -> dict[str, object]:
    """A schema with the values that describe data visited, and structure only checked."""
    _check_depth(depth, path)
    return {
        keyword: _keyword(keyword, value, path, visit, depth + 1)
        if _known(keyword)
        else _data(value, path, visit, depth + 1, named=keyword)
        for keyword, value in schema.items()
    }


def _known(keyword: str) -> bool:
    return keyword in _KEYWORDS


def _keyword(keyword: str, value: object, path: str, visit: Visit, depth: int) -> object:
    if keyword in _BOUNDS:
        return value
    if isinstance(value, Mapping):
        if keyword in _SUBSCHEMAS:
            return _schema(value, path, visit, depth)
        if keyword in _BY_PROPERTY:
            return _properties(value, path, visit, depth, Kind.JSON_KEY)
        if keyword in _BY_FIXED_KEY:
            return _properties(value, path, visit, depth, Kind.NAME)
    if keyword in _SCHEMA_LISTS and isinstance(value, list | tuple):
        return [_subschema(item, path, visit, depth + 1) for item in value]
    if keyword == "required" and isinstance(value, list | tuple):
        return [_property_name(item, path, visit, depth) for item in value]
    if keyword == "type" and _closed_type(value):
        return value
    if keyword in _ANNOTATIONS and isinstance(value, str):
        return visit(Segment(path, SETUP_TURN, value))
    fixed = keyword not in _DATA and keyword != "dependentRequired"
    return _data(value, path, visit, depth, fixed=fixed)


_KEYWORDS = (
    _SUBSCHEMAS
    | _SCHEMA_LISTS
    | _BY_PROPERTY
    | _BY_FIXED_KEY
    | _ANNOTATIONS
    | _DATA
    | _BOUNDS
    | frozenset(
        "required dependentRequired type pattern format $ref $id $schema $anchor $dynamicRef"
        " $dynamicAnchor $vocabulary contentEncoding contentMediaType minimum maximum"
        " exclusiveMinimum exclusiveMaximum multipleOf".split()
    )
)


def _closed_type(value: object) -> bool:
    names = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(name, str) and name in _CLOSED_TYPES for name in names)


def _subschema(value: object, path: str, visit: Visit, depth: int) -> object:
    if isinstance(value, Mapping):
        return _schema(value, path, visit, depth)
    return _data(value, path, visit, depth)


def _property_name(value: object, path: str, visit: Visit, depth: int) -> object:
    if isinstance(value, str):
        return visit(Segment(path, SETUP_TURN, value, Kind.JSON_KEY))
    return _data(value, path, visit, depth)


def _properties(
    value: Mapping[str, object], path: str, visit: Visit, depth: int, kind: Kind
) -> dict[str, object]:
    rebuilt = {}
    for key, subschema in value.items():
        name = visit(Segment(path, SETUP_TURN, key, kind))
        rebuilt[name] = _subschema(subschema, path, visit, depth + 1)
    _check_keys(rebuilt, value, path)
    return rebuilt


def _data(  # noqa: PLR0913 (the walker's context)
    value: object,
    path: str,
    visit: Visit,
    depth: int,
    *,
    fixed: bool = False,
    named: str | None = None,
    label: str | None = None,
) -> object:
    """A JSON value. ``fixed``: it must stay as it is. ``named``: the unknown keyword before it."""
    _check_depth(depth, path)
    if named is not None:
        _name(named, path, SETUP_TURN, visit)
    if isinstance(value, Mapping):
        rebuilt = {}
        for key, item in value.items():
            name = visit(Segment(path, SETUP_TURN, key, Kind.NAME if fixed else Kind.JSON_KEY))
            rebuilt[name] = _data(item, path, visit, depth + 1, fixed=fixed, label=key)
        _check_keys(rebuilt, value, path)
        return rebuilt
    if isinstance(value, list | tuple):
        return [_data(item, path, visit, depth + 1, fixed=fixed, label=label) for item in value]
    if isinstance(value, str):
        kind = Kind.NAME if fixed else Kind.JSON_STRING
        return visit(Segment(path, SETUP_TURN, value, kind, label))
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(value)
        kind = Kind.NAME if fixed else Kind.JSON_NUMBER
        masked = visit(Segment(path, SETUP_TURN, text, kind, label))
        return value if masked == text else masked
    return value


def _check_depth(depth: int, path: str) -> None:
    if depth > MAX_SCHEMA_DEPTH:
        raise RequestError("The schema is nested too deeply.", param=path)


def _check_keys(rebuilt: Mapping[str, object], value: Mapping[str, object], path: str) -> None:
    if len(rebuilt) != len(value):
        raise RequestError("Two keys of the schema became one when they were masked.", param=path)
