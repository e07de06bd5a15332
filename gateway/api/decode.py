"""Bytes of a request body -> a typed value, or a :class:`RequestError` that quotes nothing.

One reading only: what two JSON parsers could understand differently (duplicate keys, lone
surrogates, NaN, NUL, invalid UTF-8) is refused, as I-JSON asks (RFC 7493 §2). The decoder's own
messages echo values and are discarded; of its path only the names of published parameters and
array indices are kept.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gateway.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

MAX_STRUCTURE = 50_000
"""Brackets, commas and colons of a body: about four thousand messages."""

_NOT_JSON = "The request body is not valid JSON."
_NUL = "The request contains a NUL character."
_TOO_DEEP = "The request is nested too deeply."
_TOO_MANY = "The request has too many values."
_DUPLICATE = "An object in the request has the same key twice."
_WRONG = "This parameter is missing or does not have the type or range it must have."
_UNKNOWN = "The request has a parameter that is not known here."

# Possessive, with an optional end: linear in the body's length whatever the body is.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0, ord(":"): 0}
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STEP))

_UNKNOWN_FIELD = "Object contains unknown field"
_PATH = re.compile(r"((?:\.[A-Za-z_]+|\[\d+\]|\[\.\.\.\])*)`")
_STEPS = re.compile(r"\.([A-Za-z_]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `([A-Za-z_]+)`")


def published_names(structs: Iterable[type[msgspec.Struct]]) -> frozenset[str]:
    """Return every name that the wire format publishes: the only ones an error may carry."""
    names = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    tags = {struct.__struct_config__.tag_field for struct in structs}
    return frozenset(names | {tag for tag in tags if tag})


def decode_body(
    body: bytes, decoder: msgspec.json.Decoder[T], published: frozenset[str], *, depth_limit: int
) -> T:
    """Decode ``body`` strictly.

    Raises:
        RequestError: with ``param`` set to the path of a published parameter where one is known.
    """
    check_structure(body, depth_limit)
    if b"\0" in body or (rb"\u0000" in body and _NUL_ESCAPE.search(body)):
        raise RequestError(_NUL)
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        message = _UNKNOWN if text.startswith(_UNKNOWN_FIELD) else _WRONG
        raise RequestError(message, param=_safe_param(text, published)) from None
    except (ValueError, RecursionError):  # DecodeError and UnicodeDecodeError are ValueErrors
        raise RequestError(_NOT_JSON) from None
    _check_unique_keys(body)
    return value


def check_structure(body: bytes, depth_limit: int) -> None:
    """Bound the nesting and the number of values before a parser builds them.

    A body of two megabytes of text is parsed in milliseconds; one of a million empty lists would
    hold the event loop, and so every other request, for seconds.

    Raises:
        RequestError: more than ``depth_limit`` arrays and objects are open at once, or more than
            ``MAX_STRUCTURE`` structural characters stand outside of strings.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened <= depth_limit and body.count(b",") + body.count(b":") <= MAX_STRUCTURE // 2:
        return
    structure = _STRINGS.sub(b"", body).translate(None, _NOT_STRUCTURE)
    if len(structure) > MAX_STRUCTURE:
        raise RequestError(_TOO_MANY)
    if max(accumulate(map(_STEP.__getitem__, structure)), default=0) > depth_limit:
        raise RequestError(_TOO_DEEP)


def _check_unique_keys(body: bytes) -> None:
    """Refuse an object with a key twice: msgspec, as most parsers, silently keeps the last."""
    try:
        json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise RequestError(_NOT_JSON) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise RequestError(_DUPLICATE)


def _safe_param(text: str, published: frozenset[str]) -> str | None:
    """Return the published part of the path in a message of msgspec.

    The path is the last thing in the message, and names that are not published end it. Only for
    an unknown field the message can end in a key that the client made up, which may imitate a
    path: there the indices, which could carry digits of it, are left out.
    """
    made_up = text.startswith(_UNKNOWN_FIELD)
    _, found, tail = text.rpartition(" - at `$")
    match = _PATH.fullmatch(tail) if found else None
    path = ""
    for name, index in _STEPS.findall(match[1]) if match else ():
        if name and name not in published:
            break
        step = f"[{'' if made_up else index}]" if index else f".{name}"
        path += step if path else name
    if missing := _MISSING.match(text):
        name = missing[1]
        if name in published:
            path += f".{name}" if path else name
    return path or None
