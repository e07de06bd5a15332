"""Chat templates of model files, rendered so that text never becomes a control token. Pure.

A template is code that came with a model: it runs in Jinja's immutable sandbox, in the child. It
never sees what users wrote. Each content is a sentinel while the template runs; afterwards the
text is cut at the sentinels, and the pieces say whether they are the template's (control tokens
are parsed) or a user's (they are not). A user who writes ``<|im_end|>`` writes nine characters.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.engine.wire import Turn

# Without a template of its own a model gets the plainest form there is.
PLAIN: Final = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)
_MAX_RENDERED: Final = 1024 * 1024  # characters of template text, contents not counted


# Jinja imports and looks up parts of itself only when they are needed; behind the wall that fails.
_REHEARSAL: Final = (
    "{%- macro m(x) -%}{{ x | tojson(indent=1) }}{%- endmacro -%}"
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

    def render(self, turns: Sequence[Turn], nonce: str) -> list[Piece]:
        """Return the prompt in pieces, generation prompt included.

        ``nonce`` is random text of letters and digits that no template holds.

        Raises:
            TemplateFailedError: the template refused these roles, failed, or left a content out.
        """
        contents: list[str] = []

        def hide(text: str) -> str:
            contents.append(text)
            return f"{nonce}x{len(contents) - 1}x"

        messages = [_message(turn, hide) for turn in turns]
        needed = {message["content"] for message in messages if message["content"]}
        try:
            text = self._template.render(
                messages=messages, add_generation_prompt=True, tools=None, documents=None
            )
        except Exception:  # noqa: BLE001 - a template may fail in any way; none of them may show text
            raise TemplateFailedError from None
        if len(text) > _MAX_RENDERED or not all(sentinel in text for sentinel in needed):
            raise TemplateFailedError
        return _cut(text, nonce, contents)


def rehearse() -> None:
    """Load all that compiling, rendering and failing need. MUST run before the wall stands."""
    importlib.import_module("jinja2.debug")
    ChatTemplate(_REHEARSAL, bos="", eos="").render([Turn("user", "")], "n")
    for broken in ("{% if %}", "{{ raise_exception('x') }}", "{{ x.y.z }}"):
        with contextlib.suppress(TemplateFailedError):
            ChatTemplate(broken, bos="", eos="").render([Turn("user", "")], "n")


def _message(turn: Turn, hide: Any) -> dict[str, Any]:
    # An empty content stays empty: templates ask whether there is one.
    message: dict[str, Any] = {
        "role": turn.role,
        "content": hide(turn.content) if turn.content else "",
    }
    if turn.name is not None:
        message["name"] = hide(turn.name)
    if turn.call_id is not None:
        message["tool_call_id"] = hide(turn.call_id)
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": hide(identity),
                "type": "function",
                "function": {"name": hide(name), "arguments": hide(arguments)},
            }
            for identity, name, arguments in turn.calls
        ]
    return message


def _cut(text: str, nonce: str, contents: Sequence[str]) -> list[Piece]:
    pieces: list[Piece] = []
    parts = re.split(rf"{re.escape(nonce)}x(\d+)x", text)
    for place, part in enumerate(parts):
        ours = place % 2 == 0
        piece = Piece(part, ours=True) if ours else Piece(contents[int(part)], ours=False)
        if piece.text:
            pieces.append(piece)
    return pieces


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(_: object = None) -> NoReturn:
    raise TemplateFailedError
