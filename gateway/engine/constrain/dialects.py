r"""How models call tools, told from their chat templates, and such calls read back. Pure.

- Hermes, Qwen: ``<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>`` for each call.
- Mistral: ``[TOOL_CALLS]`` and a JSON array of the same objects.
- Llama 3: one JSON object with ``parameters`` instead; several are joined by ``; ``.

A template that knows no tools, or calls them in another way, gets the first form and a system text
that describes it (``template.py``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from gateway.domain import ToolCall


@dataclass(frozen=True, slots=True)
class Dialect:
    """``opening`` "": a call begins with its brace. ``before``, ``after``: around each object.

    ``known``: whether the model's own template renders tools.
    """

    name: str
    arguments: str
    opening: str = ""
    closing: str = ""
    between: str = ""
    array: bool = False
    known: bool = True


HERMES: Final = Dialect("hermes", "arguments", "<tool_call>", "</tool_call>", "\n")
MISTRAL: Final = Dialect("mistral", "arguments", "[TOOL_CALLS]", array=True)
LLAMA: Final = Dialect("llama", "parameters", between="; ")
DESCRIBED: Final = Dialect(
    "described", "arguments", HERMES.opening, HERMES.closing, HERMES.between, known=False
)

_LLAMA: Final = re.compile(r"""["']parameters["']\s*:""")


def dialect_of(template: str) -> Dialect:
    """Tell the dialect from the text of a chat template, as it stands in the model's file."""
    if "tools" not in template:
        return DESCRIBED
    if HERMES.opening in template and '"arguments"' in template.replace('\\"', '"'):
        return HERMES
    if MISTRAL.opening in template and "[ARGS]" not in template:
        return MISTRAL
    if _LLAMA.search(template.replace('\\"', '"')) and "ipython" in template:
        return LLAMA
    return DESCRIBED


# --- reading -------------------------------------------------------------------------------------

_HEAD: Final = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*'
)
_TAIL: Final = re.compile(r"\s*\}")
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)  # digits without a limit


class CallReader:
    """Splits an answer into its text, piece by piece, and its calls, whole, at the end.

    What is given out does not depend on how the answer was cut into pieces. A call that broke off
    is neither text nor a call.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._held = ""
        self._calling = False
        self._begun = False  # text that is no call has been seen

    @property
    def calling(self) -> bool:
        """Whether a call has begun."""
        return self._calling

    def feed(self, text: str) -> str:
        """Return the content that can no longer turn out to be a call."""
        self._held += text
        if self._calling:
            return ""
        return self._bare() if not self._dialect.opening else self._marked()

    def finish(self) -> tuple[str, tuple[ToolCall, ...]]:
        """Return the rest of the content, and the calls."""
        if not self._calling:
            rest, self._held = self._held, ""
            return rest, ()
        return "", tuple(self._calls())

    def _marked(self) -> str:
        opening = self._dialect.opening
        found = self._held.find(opening)
        self._calling = found >= 0
        cut = found if self._calling else len(self._held) - _begun(self._held, opening)
        content, self._held = self._held[:cut], self._held[cut:]
        return content

    def _bare(self) -> str:
        start = self._held.lstrip()
        if not start and not self._begun:
            return ""
        self._calling = not self._begun and start.startswith("{")
        self._begun = not self._calling
        if self._calling:
            return ""
        content, self._held = self._held, ""
        return content

    def _calls(self) -> list[ToolCall]:
        calls: list[ToolCall] = []
        position = 0
        while (head := self._next(position)) is not None:
            try:
                name = json.loads(head.group(1))
                _, end = _DECODER.raw_decode(self._held, head.end())
            except (ValueError, RecursionError):
                break
            tail = _TAIL.match(self._held, end)
            if tail is None:
                break
            calls.append(ToolCall(f"call_{len(calls) + 1}", name, self._held[head.end() : end]))
            position = tail.end()
        return calls

    def _next(self, position: int) -> re.Match[str] | None:
        """The head of the call behind ``position`` and what stands between two calls."""
        closing, opening = re.escape(self._dialect.closing), re.escape(self._dialect.opening)
        between = rf"\s*(?:{closing})?\s*(?:{opening})?\s*[,;\[]?\s*"
        skipped = re.compile(between).match(self._held, position)
        return _HEAD.match(self._held, skipped.end() if skipped else position)


def _begun(text: str, marker: str) -> int:
    """How many trailing characters may be the beginning of ``marker``."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0
