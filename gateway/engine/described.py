"""Tools for models whose template knows none: they and earlier calls as plain texts. Pure.

The texts are contents of turns, so nothing in them becomes a control token. The form is the one
that ``constrain.dialects.DESCRIBED`` reads back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gateway.engine.wire import ToolText, Turn

_INTRODUCTION: Final = (
    "You may call these functions, described by name, purpose and JSON Schema of their arguments:"
)
_HOW: Final = (
    "To call one, answer with its name and its arguments, and nothing behind it:\n"
    '<tool_call>\n{"name": "NAME", "arguments": {}}\n</tool_call>'
)


def described(turns: Sequence[Turn], tools: Sequence[ToolText]) -> list[Turn]:
    """Return ``turns`` with calls and results as texts, and ``tools`` in the system text."""
    plain = list(_plain(turns))
    if not tools:
        return plain
    text = "\n".join([_INTRODUCTION, *map(_tool, tools), _HOW])
    if plain and plain[0].role == "system":
        text = f"{plain[0].content}\n\n{text}"
        return [msgspec.structs.replace(plain[0], content=text), *plain[1:]]
    return [Turn("system", text), *plain]


def _tool(tool: ToolText) -> str:
    head = json.dumps(
        {"name": tool.name, "description": tool.description or ""}, ensure_ascii=False
    )
    return f'{head[:-1]}, "parameters": {tool.parameters}}}'


def _plain(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Calls become text of the assistant; results of one round become one text of the user."""
    results: list[str] = []
    for turn in turns:
        if turn.role == "tool":
            results.append(f"<tool_response>\n{turn.content}\n</tool_response>")
            continue
        if results:
            yield Turn("user", "\n".join(results))
            results = []
        calls = [_call(name, arguments) for _, name, arguments in turn.calls]
        content = "\n".join(filter(None, [turn.content, *calls]))
        yield msgspec.structs.replace(turn, content=content, calls=())
    if results:
        yield Turn("user", "\n".join(results))


def _call(name: str, arguments: str) -> str:
    named = json.dumps(name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {named}, "arguments": {arguments}}}\n</tool_call>'
