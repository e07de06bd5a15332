"""Server-sent events as OpenAI-compatible servers send them. Pure.

Any bytes give events or ``StreamError``, in time that grows with their number, however they are
split. Source: WHATWG HTML, 9.2.6 Interpreting an event stream, of which only ``data`` matters here.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_MAX_EVENT: Final = 8 * 1024 * 1024  # characters of one event
_BREAK: Final = re.compile(r"\r\n|\n|\r")


class StreamError(Exception):
    """The stream is not what it should be."""


class EventParser:
    """Feed bytes as they come; whole events come out. What is left at the end is no event."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._line: list[str] = []  # the pieces of a line whose end has not come
        self._data: list[str] = []
        self._size = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[str]:
        """Return the data of the events that ``data`` completes.

        Raises:
            StreamError: not UTF-8, or an event that is too long.
        """
        try:
            text = self._decode(data)
        except UnicodeDecodeError:
            raise StreamError from None
        if not text:
            return []
        if self._after_cr:
            text = text.removeprefix("\n")  # its line ended with the carriage return before
        self._after_cr = text.endswith("\r")
        self._size += len(text)
        *whole, rest = _BREAK.split(text)
        events: list[str] = []
        for piece in whole:
            self._end_line("".join((*self._line, piece)), events)
            self._line.clear()
        if rest:
            self._line.append(rest)
        if self._size > _MAX_EVENT:
            raise StreamError
        return events

    def _end_line(self, line: str, events: list[str]) -> None:
        if not line:
            if self._data:
                events.append("\n".join(self._data))
            self._data, self._size = [], 0
        elif line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
