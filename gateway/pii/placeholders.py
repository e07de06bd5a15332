"""The grammar of placeholders: the one set that mask escapes and restore accepts.

``docs/spec/placeholders.md`` is the specification. Canonical: ``<TYPE_n>`` for the first form of a
value, ``<TYPE_n_k>`` for its k-th. Accepted besides: what models and renderers make of them
(another case, spaces inside the brackets, HTML- or JSON-escaped, Markdown-escaped or full-width
brackets, a Markdown-escaped underscore). Type and digits must be exact: ``<PERSN_1>``,
``<PERSON_01>`` and ``<PERSON 1>`` are not placeholders.

Matching is prefix-free: no accepted string is the beginning of another one. A reader who sees only
the left context can therefore decide at the last character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import regex

LITERAL = "LITERAL"
"""The type of text from users that looks like a placeholder. No detector may use it."""

REDACTED = "[REDACTED]"

MAX_TYPE = 40
MAX_DIGITS = 6

CANONICAL = rf"<[A-Z][A-Z_]{{0,{MAX_TYPE - 1}}}(?:_[1-9][0-9]{{0,{MAX_DIGITS - 1}}}){{1,2}}>"
"""A placeholder as mask writes it: a pattern for ``re``, of text or, encoded, of bytes."""

_OPEN = r"(?:<|&lt;|&\#0{0,4}60;|&\#x0{0,4}3c;|\\u003c|\uff1c)"
_CLOSE = r"(?:\\?>|&gt;|&\#0{0,4}62;|&\#x0{0,4}3e;|\\u003e|\uff1e)"
_BAR = r"\\?_"
_TYPE = rf"[A-Z](?:[A-Z]|{_BAR}(?=[A-Z])){{0,{MAX_TYPE - 1}}}"
_NUMBER = rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}"
_GRAMMAR = (
    rf"{_OPEN}[ ]{{0,2}}(?P<type>{_TYPE}){_BAR}(?P<n>{_NUMBER})(?:{_BAR}(?P<k>{_NUMBER}))?"
    rf"[ ]{{0,2}}{_CLOSE}"
)
# ``regex`` for its partial matching; ASCII, or case-folding would let U+017F stand for S.
_PLACEHOLDER = regex.compile(_GRAMMAR, regex.IGNORECASE | regex.ASCII)
_OPENERS = re.compile(r"[<&\\\uff1c]")


class Found(NamedTuple):
    """An accepted placeholder at ``[start, end)``; ``canonical`` is how mask writes it."""

    start: int
    end: int
    canonical: str


def label(entity_type: str) -> str:
    """The entity type as it stands in a placeholder: capitals and underscores."""
    letters = re.sub(r"[^A-Z]+", "_", entity_type.upper()).strip("_")
    return letters[:MAX_TYPE].strip("_") or "VALUE"


def spell(entity_type: str, number: int, form: int = 1) -> str:
    """The canonical placeholder of the ``form``-th form (from 1) of value ``number`` (from 1)."""
    return f"<{entity_type}_{number}>" if form == 1 else f"<{entity_type}_{number}_{form}>"


def tagged(canonical: str, tag: str) -> str:
    """A placeholder that no conversation fills: ``<PERSON_1:k7f3>`` is outside the grammar."""
    return f"{canonical[:-1]}:{tag}>"


def find(text: str) -> Iterator[Found]:
    """Every placeholder that restore would accept, left to right, not overlapping."""
    if "_" not in text:
        return
    for match in _PLACEHOLDER.finditer(text):
        yield _found(match)


def next_opener(text: str, position: int) -> int:
    """Where the next character stands with which a placeholder could begin, or ``len(text)``."""
    match = _OPENERS.search(text, position)
    return match.start() if match else len(text)


def match_at(text: str, position: int, *, final: bool) -> Found | bool:
    """The placeholder that begins at ``position``; else whether more text could still make one.

    With ``final`` there is no more text, so the answer is a placeholder or False.
    """
    match = _PLACEHOLDER.match(text, position, partial=not final)
    if match is None:
        return False
    return True if match.partial else _found(match)


def _found(match: regex.Match[str]) -> Found:
    name = match["type"].replace("\\", "").upper()
    number, form = match["n"], match["k"]
    canonical = f"<{name}_{number}_{form}>" if form else f"<{name}_{number}>"
    return Found(match.start(), match.end(), canonical)
