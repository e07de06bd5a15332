"""What a prompt asks of a model, and what policy or a model demands of a prompt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.domain import Citation, Decoding, Prompt, ResponseFormat
from gateway.errors import PolicyDeniedError, UnsupportedParameterError
from gateway.pii import conform
from gateway.routing.choose import EXTRACTIVE, GROUNDED, JSON, RAW, TOOLS


def check_schemas(prompt: Prompt) -> None:
    """Check every JSON Schema of the prompt before a model is asked to keep to it.

    Raises:
        RequestError: an answer could not be held to one of them (``pii/conform``).
    """
    if prompt.response_format.schema is not None:
        conform.check_schema(prompt.response_format.schema, "response_format.json_schema.schema")
    for index, tool in enumerate(prompt.tools):
        if tool.parameters is not None:
            conform.check_schema(tool.parameters, f"tools[{index}].function.parameters")


def held_to(prompt: Prompt, decoding: Decoding) -> Prompt:
    """The prompt with its answers held to ``decoding`` at least: what policy or a model demands.

    Raises:
        UnsupportedParameterError: it asks for what cannot be held to it.
    """
    if decoding is Decoding.FREE:
        return prompt
    kind = prompt.response_format.kind
    refused = {"tools": bool(prompt.tools), "response_format": kind.startswith("json")}
    refused["prompt"] = prompt.raw and decoding is Decoding.EXTRACTIVE
    for param, is_asked in refused.items():
        if is_asked:
            message = f"Answers here are {decoding.value} only, which this cannot be held to."
            raise UnsupportedParameterError(message, param=param)
    if kind != "text" and Decoding(kind).level >= decoding.level:
        return prompt
    return replace(prompt, response_format=ResponseFormat(decoding.value))


def only(decoding: Decoding) -> Decoding:
    """What a model demands of a prompt: one that only quotes does so by itself."""
    return decoding if decoding is Decoding.GROUNDED else Decoding.FREE


def needs(prompt: Prompt) -> frozenset[str]:
    """What a model has to be able to do for this prompt, in the terms of ``routing/choose``."""
    kind = prompt.response_format.kind
    wanted = {
        TOOLS: bool(prompt.tools),
        JSON: kind.startswith("json"),
        EXTRACTIVE: kind == "extractive",
        GROUNDED: kind == "grounded",
        RAW: prompt.raw,
    }
    return frozenset(need for need, is_wanted in wanted.items() if is_wanted)


def denied_by(citations: Sequence[Citation]) -> PolicyDeniedError:
    """The error for a denial, naming rules and clauses."""
    named = "; ".join(sorted({f"{c.policy}/{c.rule} ({c.clause})" for c in citations}))
    return PolicyDeniedError(f"The policy in force denies this request: {named}.")
