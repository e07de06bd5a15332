"""Chat templates of model files, rendered so that text never becomes a control token. Pure.

A template is code that came with a model: it runs in Jinja's immutable sandbox, in the child. It
never sees what users wrote. Each content is a sentinel while the template runs; afterwards the
text is cut at the sentinels, and the pieces say whether they are the template's (control tokens
are parsed) or a user's (they are not). A user who writes ``<|im_end|>`` writes nine characters.

Tools are users' text as well, but for the words of JSON Schema's own, which templates ask about. A
template that knows no tools is given them, and earlier calls, in texts of ours (``described``).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import msgspec
from jinja2 import TemplateError, pass_context
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.engine.constrain.dialects import dialect_of
from gateway.engine.constrain.keywords import ENFORCED, NOTES, TYPES
from gateway.engine.described import described
from gateway.engine.wire import ToolText, Turn

# Without a template of its own a model gets the plainest form there is.
PLAIN: Final = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)
_MAX_RENDERED: Final = 1024 * 1024  # characters of template text, contents not counted
_NONCE: Final = "cloister_nonce"
_SCHEMA_WORDS: Final = ENFORCED | NOTES | frozenset(TYPES)


# Jinja imports and looks up parts of itself only when they are needed; behind the wall that fails.
_REHEARSAL: Final = (
    "{%- macro m(x) -%}{{ x | tojson(indent=1) }}{%- endmacro -%}{{ m(tools) }}"
    "{% for a in messages if a %}{{ 'x\\n' + m(a.role) | trim }}{% break %}{% endfor %}"
    "{% set n = namespace(k='\u00e9') %}{{ n.k }}"
)


class TemplateFailedError(Exception):
    """The template raised, or lost a content: this model cannot be asked this."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``ours``: text of the template; otherwise text from a message."""

    text: str = field(repr=False)
    ours: bool


class ChatTemplate:
    """A compiled template. ``bos`` and ``eos`` are the texts of those tokens, as templates expect.

    Raises:
        TemplateFailedError: it does not compile.
    """

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=_refuse, bos_token=bos, eos_token=eos)
        try:
            self._template = environment.from_string(source or PLAIN)
        except (TemplateError, RecursionError):
            raise TemplateFailedError from None
        self._knows_tools = dialect_of(source).known
        self._knows_calls = "tool_calls" in source

    def render(
        self, turns: Sequence[Turn], nonce: str, tools: Sequence[ToolText] = ()
    ) -> list[Piece]:
        """Return the prompt in pieces, generation prompt included.

        ``nonce`` is random text of letters and digits that no template holds.

        Raises:
            TemplateFailedError: the template refused these roles, failed, or left a content or a
                tool out.
        """
        if not self._knows_tools and (tools or not self._knows_calls):
            turns, tools = described(turns, tools), ()
        hidden = _Hidden(nonce)
        messages = [_message(turn, hidden) for turn in _renumbered(turns)]
        needed = [message["content"] for message in messages if message["content"]]
        shown = [_tool(tool, hidden) for tool in tools]
        needed += [tool["function"]["name"] for tool in shown]
        try:
            text = self._template.render(
                messages=messages,
                add_generation_prompt=True,
                tools=shown or None,
                documents=None,
                **{_NONCE: nonce},
            )
        except Exception:  # noqa: BLE001 - a template may fail in any way; none of them may show text
            raise TemplateFailedError from None
        if len(text) > _MAX_RENDERED or not all(hidden.stands_in(text, one) for one in needed):
            raise TemplateFailedError
        return _cut(text, hidden)


def rehearse() -> None:
    """Load all that compiling, rendering and failing need. MUST run before the wall stands."""
    importlib.import_module("jinja2.debug")
    ChatTemplate(_REHEARSAL, bos="", eos="").render([Turn("user", "")], "n")
    for broken in ("{% if %}", "{{ raise_exception('x') }}", "{{ x.y.z }}"):
        with contextlib.suppress(TemplateFailedError):
            ChatTemplate(broken, bos="", eos="").render([Turn("user", "")], "n")


class _Hidden:
    """Texts under their sentinels: NONCE x INDEX x, as they are; j for JSON.

    ``_to_json`` turns the x of a sentinel in a JSON string into e: the text is escaped there. One
    that is JSON itself loses its quotation marks.
    """

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self.texts: list[str] = []

    def __call__(self, text: str, kind: str = "x") -> str:
        self.texts.append(text)
        return f"{self.nonce}{kind}{len(self.texts) - 1}{kind}"

    def stands_in(self, text: str, sentinel: str) -> bool:
        number = sentinel[len(self.nonce) + 1 : -1]
        return sentinel in text or f"{self.nonce}e{number}e" in text


def _message(turn: Turn, hide: _Hidden) -> dict[str, Any]:
    # An empty content stays empty: templates ask whether there is one.
    message: dict[str, Any] = {
        "role": turn.role,
        "content": hide(turn.content) if turn.content else "",
    }
    if turn.name is not None:
        message["name"] = hide(turn.name)
    if turn.call_id is not None:
        message["tool_call_id"] = turn.call_id
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": identity,
                "type": "function",
                "function": {"name": hide(name), "arguments": hide(arguments, "j")},
            }
            for identity, name, arguments in turn.calls
        ]
    return message


def _renumbered(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with call ids of ours: nine letters and digits, which every template takes."""
    numbers: dict[str, str] = {}

    def number(identity: str) -> str:
        return numbers.setdefault(identity, f"call{len(numbers) + 1:05d}")

    return [
        msgspec.structs.replace(
            turn,
            calls=tuple((number(one), name, arguments) for one, name, arguments in turn.calls),
            call_id=None if turn.call_id is None else number(turn.call_id),
        )
        for turn in turns
    ]


def _tool(tool: ToolText, hide: _Hidden) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": hide(tool.name),
            "description": hide(tool.description or ""),
            "parameters": _hide_in(json.loads(tool.parameters), hide),
        },
    }


def _hide_in(value: Any, hide: _Hidden) -> Any:
    """Every string hidden, but for the words of JSON Schema's own."""
    if isinstance(value, dict):
        return {
            key if key in _SCHEMA_WORDS else hide(key): _hide_in(one, hide)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_hide_in(one, hide) for one in value]
    return hide(value) if isinstance(value, str) and value not in _SCHEMA_WORDS else value


def _cut(text: str, hidden: _Hidden) -> list[Piece]:
    pieces: list[Piece] = []
    parts = re.split(rf"{re.escape(hidden.nonce)}([xej])(\d+)\1", text)
    for place in range(0, len(parts), 3):
        pieces.append(Piece(parts[place], ours=True))
        if place + 2 < len(parts):
            content = hidden.texts[int(parts[place + 2])]
            escaped = json.dumps(content, ensure_ascii=False)[1:-1]
            pieces.append(Piece(escaped if parts[place + 1] == "e" else content, ours=False))
    return [piece for piece in pieces if piece.text]


@pass_context
def _to_json(context: Context, value: Any, indent: int | None = None, **_: Any) -> str:
    nonce = re.escape(str(context[_NONCE]))
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    text = re.sub(rf'"({nonce}j\d+j)"', r"\1", text)
    return re.sub(rf"({nonce})x(\d+)x", r"\1e\2e", text)


def _refuse(_: object = None) -> NoReturn:
    raise TemplateFailedError
