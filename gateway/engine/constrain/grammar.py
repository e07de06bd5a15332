"""From a prompt to the grammar of its answer, or None where the answer is free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.domain import Prompt, Tool
from gateway.engine.constrain import calling, envelope, forms, grounded
from gateway.engine.constrain.compiler import Compiler
from gateway.engine.constrain.dialects import CallReader, Dialect
from gateway.engine.constrain.envelope import Envelope
from gateway.engine.constrain.refusals import cannot, contradiction, refused
from gateway.errors import RequestError, UnsupportedParameterError

JSON_KINDS: Final = frozenset(["json_object", "json_schema"])
MAX_DEPTH: Final = 64  # of JSON that an answer may nest; the gateway reads no deeper
_MAX_TOOLS: Final = 128
_FORMAT: Final = "response_format"
_KEYWORDS: Final = {
    "oneOf": "oneOf",
    "pattern": "pattern",
    "properties": "minProperties",
    "patterns": "patternProperties",
}


@dataclass(frozen=True, slots=True)
class Grammar:
    """``text`` goes to the child as it is. ``dialect``: the answer may hold calls in this form."""

    text: str = field(repr=False)
    dialect: Dialect | None = None

    def reader(self) -> CallReader | None:
        """How to read one answer; None: it is its text."""
        return CallReader(self.dialect) if self.dialect is not None else None


class Grammars:
    """Writes grammars and has them compiled once, elsewhere, before a child sees them."""

    def __init__(self, isolation: str = "required") -> None:
        self._compiler = Compiler(isolation)

    async def warm(self) -> None:
        """Start the compiler's first process. Raises: as ``grammar_for``, not RequestError."""
        await self._compiler.warm()

    async def aclose(self) -> None:
        await self._compiler.aclose()

    async def grammar_for(
        self, prompt: Prompt, placeholders: frozenset[str], dialect: Dialect
    ) -> Grammar | None:
        """Return the grammar that ``prompt`` asks for. ``dialect``: how the model calls tools.

        Raises:
            RequestError: a schema that cannot be enforced, is too large, or that nothing satisfies.
            UnsupportedParameterError: a combination that no grammar tells apart.
            SettingsError: the kernel grants no wall and the settings do not waive it.
            EngineError: the compiler could not be started.
        """
        # Off the loop: a long prompt has many facts, and a large schema many nodes.
        draft = await asyncio.to_thread(write, prompt, placeholders, dialect)
        if draft is None:
            return None
        for param, checks in draft.checks:
            _check(await self._compiler.verdict(checks), param)
        return draft.grammar


@dataclass(frozen=True, slots=True)
class Draft:
    """A grammar, and what must compile before it is used: ``checks`` are (parameter, grammars)."""

    grammar: Grammar
    checks: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False, default=())


def write(prompt: Prompt, placeholders: frozenset[str], dialect: Dialect) -> Draft | None:
    """Write the grammar of ``prompt``'s answer. Pure. Raises: as ``Grammars.grammar_for``."""
    try:
        return _written(prompt, placeholders, dialect)
    except UnicodeEncodeError:
        raise RequestError("The prompt holds half a surrogate pair.") from None


def _written(prompt: Prompt, placeholders: frozenset[str], dialect: Dialect) -> Draft | None:
    known = sorted(placeholders)
    tools = _callable(prompt)
    auto = bool(tools) and prompt.tool_choice in (None, "auto")
    answer, checks, nesting = _answer(prompt, placeholders, known)
    large = prompt.response_format.kind == "grounded"
    if large:
        answer += calling.told_apart(dialect) if auto else calling.ALONE
    if not tools:
        if not answer:
            return None
        whole = Envelope(f"start: answer\n{answer}", depth=nesting, large=large)
        return Draft(Grammar(envelope.write(whole)), checks)
    parallel = prompt.parallel_tool_calls is not False
    form = forms.call_form(tools, known, dialect, parallel=parallel)
    checks = (*checks, ("tools", tuple(map(envelope.source, form.checks))))
    if auto:
        if nesting and not dialect.opening:
            raise UnsupportedParameterError(
                "This model's tool calls cannot be told from a JSON answer.", param="tools"
            )
        whole = calling.optional(
            dialect, form.json, parallel=parallel, answer=answer, depth=nesting
        )
    else:
        whole = calling.required(dialect, form.json, parallel=parallel, depth=MAX_DEPTH)
    whole = msgspec.structs.replace(whole, large=large)
    return Draft(Grammar(envelope.write(whole), dialect), checks)


def _callable(prompt: Prompt) -> Sequence[Tool]:
    """The tools that this answer may call."""
    choice = prompt.tool_choice
    if choice == "none":
        return ()
    if len(prompt.tools) > _MAX_TOOLS:
        raise refused("tools", "There are too many tools.")
    if choice is None or not choice.startswith("function:"):
        return prompt.tools
    name = choice.removeprefix("function:")
    chosen = [tool for tool in prompt.tools if tool.name == name]
    if not chosen:
        raise RequestError("tool_choice names none of the tools.", param="tool_choice")
    return chosen


def _answer(
    prompt: Prompt, placeholders: frozenset[str], known: Sequence[str]
) -> tuple[str, tuple[tuple[str, tuple[str, ...]], ...], int]:
    """Rules that define ``answer``, what they need compiled, and how deeply they may nest."""
    wanted = prompt.response_format
    if wanted.kind == "grounded":
        return f"answer: BODY\n{grounded.rules(prompt, placeholders)}", (), 0
    if wanted.kind not in JSON_KINDS:
        return "", (), 0
    schema = wanted.schema if wanted.kind == "json_schema" else None
    form = forms.json_form(schema, known, strict=bool(wanted.strict), param=_FORMAT)
    checks = ((_FORMAT, tuple(map(envelope.source, form.checks))),)
    return f"answer: {form.json}\n", checks, MAX_DEPTH


def _check(verdict: str, param: str) -> None:
    """Raises: RequestError: anything but "ok"."""
    if verdict == "ok":
        return
    if verdict == "contradiction":
        raise contradiction(param)
    if verdict in _KEYWORDS:
        raise cannot(param, _KEYWORDS[verdict])
    raise refused(param, "The schema cannot be compiled.")
