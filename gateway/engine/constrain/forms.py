"""Grammars of JSON answers and of tool calls, in llguidance's dialect of Lark. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain import Tool
from gateway.engine.constrain.dialects import Dialect
from gateway.engine.constrain.refusals import refused
from gateway.engine.constrain.schema import Narrowed, Terms, narrow

# One space or none, and only where JSON is usually spaced: nothing that a model could write on
# without end.
_SPACING: Final = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}
_ANY_OBJECT: Final[dict[str, object]] = {"type": "object"}
_NO_ARGUMENTS: Final[dict[str, object]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}
_STAND_IN_STEPS: Final = (4, 16, 64, 256, 1024, 4096, 16384)


@dataclass(frozen=True, slots=True)
class Form:
    """``json``: a Lark expression. ``checks``: grammars that MUST compile before it is used."""

    json: str = field(repr=False)
    checks: tuple[str, ...] = field(repr=False)


def json_form(
    schema: Mapping[str, object] | None, placeholders: Sequence[str], *, strict: bool, param: str
) -> Form:
    """An answer of one JSON value; without a schema, of any object.

    Raises:
        RequestError: the schema is refused.
    """
    asked = _ANY_OBJECT if schema is None else schema
    one = _Schema.read(asked, placeholders, strict=strict, param=param, tag="s")
    return Form(_json(one.admitting), (_grammar(one.plain), _grammar(one.standing_in)))


def call_form(
    tools: Sequence[Tool], placeholders: Sequence[str], dialect: Dialect, *, parallel: bool
) -> Form:
    """One object that calls one of ``tools``; for an array of calls, the array.

    Raises:
        RequestError: a tool's parameters are refused.
    """
    read = [
        _Schema.read(
            _NO_ARGUMENTS if tool.parameters is None else tool.parameters,
            placeholders,
            strict=bool(tool.strict),
            param="tools",
            tag=f"t{index}s",
        )
        for index, tool in enumerate(tools)
    ]
    names = [tool.name for tool in tools]

    def union(parts: Sequence[Narrowed]) -> Narrowed:
        calls = [
            _call(name, part, dialect.arguments) for name, part in zip(names, parts, strict=True)
        ]
        root: dict[str, Any] = {"anyOf": calls}
        if dialect.array:
            most = {} if parallel else {"maxItems": 1}
            root = {"type": "array", "items": root, "minItems": 1, **most}
        return Narrowed(root, {key: value for part in parts for key, value in part.defs.items()})

    whole = union([one.standing_in for one in read])
    checks = [_grammar(one.plain) for one in read]
    return Form(_json(union([one.admitting for one in read])), (*checks, _grammar(whole)))


@dataclass(frozen=True, slots=True)
class _Schema:
    """A schema three times: as it is, with its placeholders, and with others in their place.

    The first must be possible without any placeholder. The third has the form and size of the
    second but no text of the request's values: whether it compiles is known for the next request.
    """

    plain: Narrowed
    admitting: Narrowed
    standing_in: Narrowed

    @classmethod
    def read(
        cls, schema: object, placeholders: Sequence[str], *, strict: bool, param: str, tag: str
    ) -> _Schema:
        def version(texts: Sequence[str], *, admit: bool) -> Narrowed:
            terms = Terms(param=param, strict=strict, placeholders=texts, admit=admit, tag=tag)
            return narrow(schema, terms)

        plain = version(placeholders, admit=False)
        if not placeholders:
            return cls(plain, plain, plain)
        count = next((step for step in _STAND_IN_STEPS if step >= len(placeholders)), None)
        if count is None:
            raise refused(param, "The prompt holds too many masked values.")
        others = [f"<PLACEHOLDER_{number}>" for number in range(1, count + 1)]
        return cls(plain, version(placeholders, admit=True), version(others, admit=True))


def _call(name: str, parameters: Narrowed, key: str) -> dict[str, Any]:
    arguments = parameters.root
    if not isinstance(arguments, dict) or arguments.get("type") not in ("object", ["object"]):
        arguments = {"allOf": [{"type": "object"}, arguments]}
    return {
        "type": "object",
        "properties": {"name": {"const": name}, key: arguments},
        "required": ["name", key],
        "additionalProperties": False,
    }


def _json(schema: Narrowed) -> str:
    root = schema.root if isinstance(schema.root, dict) else {"allOf": [schema.root]}
    # llguidance reads the first key at the top level only.
    whole = {"x-guidance": _SPACING, **root, "$defs": schema.defs}
    return "%json " + json.dumps(whole, ensure_ascii=False)


def _grammar(schema: Narrowed) -> str:
    return f"start: {_json(schema)}\n"
