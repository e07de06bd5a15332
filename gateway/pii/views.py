r"""What a text says once its escapes are undone, with the way back.

``M\u00fcller``, ``M&uuml;ller`` and ``M%C3%BCller`` name a person as well as ``Müller`` does, and a
model reads all of them. A line break that is written as ``\n`` or ``%0A`` parts two words.
Detection and matching look at the view; masking replaces the source.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_ESCAPES = re.compile(
    r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[0-9a-fA-F]{4}"
    r"|\\{1,8}[nrt]"  # of JSON, of code, of a log; escaped more than once, too
    r"|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
    r"|(?:%(?:25)*[0-9a-fA-F]{2})+"
)
_MARKS = re.compile(r"\\[unrt]|&|%")
_BREAKS = {"n": "\n", "r": "\r", "t": "\t"}
_PERCENT_TWICE = re.compile(r"%(?:25)+(?=[0-9a-fA-F]{2})")
_PLAIN_BREAKS = str.maketrans("\n\r\t", "   ")


@dataclass(frozen=True, slots=True)
class View:
    """``text`` is the source with its escapes undone.

    ``breaks[i]`` = (offset in the view, offset in the source): from there on the two run in step
    until the next break, except that an escape is one step whatever its length.
    """

    text: str = field(repr=False)
    starts: tuple[int, ...]
    sources: tuple[int, ...]
    ends: tuple[int, ...]

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the source that says ``text[start:end]``; whole escapes, never parts."""
        return self._offset(start, end=False), self._offset(max(start, end - 1), end=True)

    def _offset(self, position: int, *, end: bool) -> int:
        index = bisect_right(self.starts, position) - 1
        step = position - self.starts[index]
        if self.ends[index] < 0:  # a run of plain text
            return self.sources[index] + step + (1 if end else 0)
        return self.ends[index] if end else self.sources[index]


def view(source: str) -> View | None:
    """The view of a text, or None where it has no escapes (nearly always)."""
    if not _MARKS.search(source):
        return None
    parts: list[str] = []
    starts: list[int] = []
    sources: list[int] = []
    ends: list[int] = []
    length = position = 0

    def add(text: str, begin: int, stop: int) -> None:
        nonlocal length
        if text:
            parts.append(text)
            starts.append(length)
            sources.append(begin)
            ends.append(stop)
            length += len(text)

    for match in _ESCAPES.finditer(source):
        decoded = _decode(match.group())
        if decoded is None:
            continue
        add(source[position : match.start()], position, -1)
        add(decoded, match.start(), match.end())
        position = match.end()
    if position == 0:
        return None
    add(source[position:], position, -1)
    return View("".join(parts), tuple(starts), tuple(sources), tuple(ends))


def spoken(source: str) -> str:
    """The text with its escapes undone, where the way back does not matter."""
    escaped = view(source)
    return source if escaped is None else escaped.text


def _decode(escape: str) -> str | None:
    """The characters an escape stands for; None where it stands for itself."""
    if escape[0] == "\\" and escape[-1] in _BREAKS and escape[1] != "u":
        return _BREAKS[escape[-1]]
    if escape[0] == "\\":
        units = bytes.fromhex(escape.replace("\\u", ""))
        return units.decode("utf-16-be", "surrogatepass")
    if escape[0] == "&":
        text = html.unescape(escape)
        return None if text == escape else text
    try:
        text = unquote_to_bytes(_PERCENT_TWICE.sub("%", escape)).decode()
    except UnicodeDecodeError:
        return None
    return text if text.translate(_PLAIN_BREAKS).isprintable() else None
