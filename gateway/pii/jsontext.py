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
    if source.lstrip(" \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        _DECODER.decode(source)
    except (ValueError, RecursionError):
        return None
    found: list[Token] = []
    place = Place()
    for match in _TOKEN.finditer(source):
        raw, start, end = match.group(), match.start(), match.end()
        if raw in STRUCTURE:
            place.pass_by(raw)
        elif raw[0] == '"' and place.at_key:
            text = json.loads(raw)
            found.append(Token(start, end, TokenKind.KEY, text, None))
            place.name(text)
        elif raw[0] == '"':
            found.append(Token(start, end, TokenKind.STRING, json.loads(raw), place.label))
        elif raw[0] in "-0123456789" and raw != "-Infinity":
            found.append(Token(start, end, TokenKind.NUMBER, raw, place.label))
    return found


STRUCTURE = "{}[],:"


class Place:
    """Where in a JSON text a reader is: whether a string would be a key, and under which key.

    Kept from the structural characters alone, without recursion, also where they do not match.
    """

    def __init__(self) -> None:
        self._open: list[str] = []
        self._labels: list[str | None] = []
        self.at_key = False

    @property
    def label(self) -> str | None:
        """The key that a value here stands under."""
        return self._labels[-1] if self._labels else None

    def pass_by(self, mark: str) -> None:
        if mark in "{[":
            self._labels.append(self.label)
            self._open.append(mark)
        elif mark in "}]" and self._open:
            self._labels.pop()
            self._open.pop()
        in_object = bool(self._open) and self._open[-1] == "{"
        self.at_key = in_object and mark in "{,"

    def name(self, key: str) -> None:
        """A key was read."""
        if self._labels:
            self._labels[-1] = key[:MAX_LABEL]
        self.at_key = False


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
