"""How deeply the JSON of an answer nests, counted along its bytes. Pure.

A recursive schema, and any that leaves a value open, allows ``[[[[[[`` for as long as a model likes
to write it. Readers of JSON recurse: there is a depth beyond which no answer is one.
"""

from __future__ import annotations

import re
from typing import Final

_MARKS: Final = re.compile(rb'["\\\[\]{}]')
_OPENING, _CLOSING = b"[{", b"]}"


class Nesting:
    """``limit`` 0 counts nothing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the next byte is the second one of an escape

    def take(self, piece: bytes) -> bool:
        """Count ``piece``; False once the limit is passed."""
        if not self._limit:
            return True
        position = 0
        while position < len(piece):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            found = _MARKS.search(piece, position)
            if found is None:
                break
            self._mark(found.group())
            position = found.end()
        return self._depth <= self._limit

    def _mark(self, mark: bytes) -> None:
        if mark == b'"':
            self._in_string = not self._in_string
        elif self._in_string:
            self._escaped = mark == b"\\"
        elif mark in _OPENING:
            self._depth += 1
        elif mark in _CLOSING:
            self._depth -= 1
