"""What the guards share: the strings of a prompt, and evidence that carries no text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gateway.domain import Verdict

if TYPE_CHECKING:
    from gateway.domain import Prompt

MAX_EVIDENCE = 32
"""Pieces of evidence a verdict names; more of them would say nothing new."""

Evidence = Mapping[str, object]


def strings(prompt: Prompt) -> Iterator[str]:
    """Every text of the conversation: contents, and the arguments of calls in the history."""
    for message in prompt.messages:
        if message.content:
            yield message.content
        for call in message.tool_calls:
            yield call.arguments


def last_user_text(prompt: Prompt) -> str:
    """The user's last message, or the empty string."""
    for message in reversed(prompt.messages):
        if message.role == "user" and message.content:
            return message.content
    return ""


def verdict(stage: str, code: str, evidence: Iterable[Evidence]) -> Verdict:
    """Pass without evidence; otherwise fail with ``code`` and the first pieces of it."""
    found = tuple(evidence)
    if not found:
        return Verdict(stage, passed=True)
    return Verdict(stage, passed=False, code=code, evidence=found[:MAX_EVIDENCE])
