"""Server-sent events as OpenAI-compatible servers send them. Pure.

Any bytes give events or ``StreamError``. Source: WHATWG HTML, 9.2.6 Interpreting an event stream,
of which only ``data`` matters here.
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
        self._rest = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the data of the events that ``data`` completes.

        Raises:
            StreamError: not UTF-8, or an event that is too long.
        """
        try:
            self._rest += self._decode(data)
        except UnicodeDecodeError:
            raise StreamError from None
        events: list[str] = []
        start = 0
        for match in _BREAK.finditer(self._rest):
            if match.group() == "\r" and match.end() == len(self._rest):
                break  # its line feed may be on the way
            self._line(self._rest[start : match.start()], events)
            start = match.end()
        self._rest = self._rest[start:]
        if self._size + len(self._rest) > _MAX_EVENT:
            raise StreamError
        return events

    def _line(self, line: str, events: list[str]) -> None:
        if not line:
            if self._data:
                events.append("\n".join(self._data))
            self._data, self._size = [], 0
        elif line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
            self._size += len(line)
