"""JSON inside a string, token by token, so that masking changes values and nothing else.

Masking works on the source text: a token is a span, and only tokens that change are written again.
Spacing, duplicate keys, the spelling of numbers and everything else stay as the client sent them,
and there is no recursion. What does not parse (truncated, too deep, a bare NaN is accepted) is
plain text to the caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|-?(?:[0-9][0-9.eE+-]*|Infinity)|NaN|true|false|null|[\[\]{}:,]'
)
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # str: digits without a limit
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_LABEL = 64


class TokenKind(Enum):
    STRING = "string"
    KEY = "key"
    NUMBER = "number"


class Token(NamedTuple):
    """A value at ``source[start:end]``: decoded, with the key it stands under."""

    start: int
    end: int
    kind: TokenKind
    text: str
    label: str | None


def tokens(source: str) -> list[Token] | None:
    """The strings, keys and numbers of a JSON object or array; None when it is neither."""
    stripped = source.lstrip(" \t\r\n")
    if stripped[:1] not in ("{", "["):
        return None
    try:
        _DECODER.decode(source)
    except (ValueError, RecursionError):
        return None
    found: list[Token] = []
    labels: list[str | None] = []  # per open container: the key its values stand under
    in_object: list[bool] = []
    at_key = False
    for match in _TOKEN.finditer(source):
        raw, start, end = match.group(), match.start(), match.end()
        if raw in "{[":
            labels.append(labels[-1] if labels else None)
            in_object.append(raw == "{")
            at_key = raw == "{"
        elif raw in "]}":
            labels.pop()
            in_object.pop()
            at_key = False
        elif raw == ",":
            at_key = in_object[-1]
        elif raw == ":":
            at_key = False
        elif raw[0] == '"':
            text = json.loads(raw)
            if at_key:
                labels[-1] = text[:MAX_LABEL]
                found.append(Token(start, end, TokenKind.KEY, text, None))
            else:
                found.append(Token(start, end, TokenKind.STRING, text, labels[-1]))
        elif raw[0] in "-0123456789" and raw != "-Infinity":
            found.append(Token(start, end, TokenKind.NUMBER, raw, labels[-1]))
    return found


def quote(text: str) -> str:
    """A JSON string. Characters stay readable; lone surrogates are escaped."""
    return f'"{escape(text)}"'


def escape(text: str) -> str:
    """What stands between the quotes of a JSON string; each character by itself."""
    quoted = json.dumps(text, ensure_ascii=False)[1:-1]
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)


def replace(source: str, found: Sequence[Token], texts: Sequence[str]) -> str:
    """The source with the tokens whose text changed written as strings; the rest as it was."""
    out, position = [], 0
    for token, text in zip(found, texts, strict=True):
        if text != token.text:
            out += [source[position : token.start], quote(text)]
            position = token.end
    return "".join(out) + source[position:]
