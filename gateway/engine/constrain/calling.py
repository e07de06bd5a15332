"""Grammars of answers that may, or must, call tools, around the grammar of one call. Pure.

Rules: ``calls`` are one call or more; ``rest`` is what follows the opening marker of the first.
``open`` and ``close`` are the markers: text, or control tokens of the model (``envelope.py``).
"""

from __future__ import annotations

import json
from typing import Final

from gateway.engine.constrain.dialects import Dialect
from gateway.engine.constrain.envelope import CLOSE, OPEN, Envelope

ANY: Final = "/(?s:.*)/"
ALONE: Final = "BODY: ANSWER\n"


def required(dialect: Dialect, call: str, *, parallel: bool, depth: int) -> Envelope:
    """Nothing but calls. ``call``: a Lark expression for one, or for the array of all."""
    rules = f"start: calls\n{_rules(dialect, call, parallel=parallel)}"
    return _envelope(dialect, rules, rules, depth)


def optional(dialect: Dialect, call: str, *, parallel: bool, answer: str, depth: int) -> Envelope:
    """Calls, or another answer.

    ``answer``: rules that define ``answer``, which never begins as a call does; "": free text
    without the opening marker, and calls behind it if the dialect has one.
    ``depth``: of ``answer``, and of calls in its place; 0 where it is text.
    """
    rules = _rules(dialect, call, parallel=parallel)
    if answer:
        rules = f"start: answer | calls\n{answer}\n{rules}"
        return _envelope(dialect, rules, rules, depth)
    if not dialect.opening:
        # A call begins with a brace; text that did would be read as one.
        rules = f"start: text | calls\ntext: /([^{{\\s](?s:.*))?/\n{rules}"
        return _envelope(dialect, rules, rules, 0)
    opening = json.dumps(dialect.opening)
    # Where the marker is text, the text before it ends as soon as the marker stands: lazily.
    spelled = f"start: upto rest | free\nupto[lazy]: {ANY} {opening}\nfree: {ANY}\n{rules}"
    token = f"start: FREE | FREE calls\nFREE: {ANY} & ~({ANY} {opening} {ANY})\n{rules}"
    return _envelope(dialect, spelled, token, 0)


def told_apart(dialect: Dialect) -> str:
    """Define ``BODY``: what of the terminal ``ANSWER`` cannot be taken for a call."""
    if not dialect.opening:
        return "BODY: ANSWER & /([^{\\s](?s:.*))?/\n"
    return f"BODY: ANSWER & ~({ANY} {json.dumps(dialect.opening)} {ANY})\n"


def _envelope(dialect: Dialect, spelled: str, token: str, depth: int) -> Envelope:
    if not dialect.opening:
        return Envelope(spelled, depth=depth)
    text = f"open: {json.dumps(dialect.opening)}\n"
    if dialect.closing:
        text += f"close: {json.dumps(dialect.closing)}\n"
    control = f"open: {OPEN}\nclose: {CLOSE}\n" if dialect.closing else f"open: {OPEN}\n"
    markers = (dialect.opening, dialect.closing)
    return Envelope(spelled + text, markers, token + control, depth)


def _rules(dialect: Dialect, call: str, *, parallel: bool) -> str:
    more = "more*" if parallel else ""
    if dialect.array:
        return f'calls: open rest\nrest: " "? call\ncall: {call}\n'
    if not dialect.opening:
        return f"calls: call {more}\n{_more(dialect, 'call', parallel)}call: {call}\n"
    return (
        f'calls: open rest\nrest: "\\n" call "\\n" close {more}\n'
        f"{_more(dialect, 'open rest_of_one', parallel)}"
        + ('rest_of_one: "\\n" call "\\n" close\n' if parallel else "")
        + f"call: {call}\n"
    )


def _more(dialect: Dialect, following: str, parallel: bool) -> str:
    return f"more: {json.dumps(dialect.between)} {following}\n" if parallel else ""
