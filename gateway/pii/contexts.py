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
# White space as renderers count it: a no-break space neither ends a URL nor makes a line blank.
_SPACE = frozenset(" \t\n\r\f\v")
# A letter of another script before it ends no URL's beginning: half of one, as JSON escapes it, is
# no letter, and both spellings have to be judged alike.
_SCHEME = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:https?|ftp|wss?|smb|ldaps?|mailto|data|javascript|vbscript|blob|filesystem"
    r"|view-source|intent):\Z",
    re.IGNORECASE,
)
_WWW = re.compile(r"(?:^|[^A-Za-z0-9])www\.\Z", re.IGNORECASE)
_HOST = re.compile(r"[\w-]\.(?:[^\W\d_]{2,}|xn--[\w-]+)\.?(?::[0-9]{1,5})?[/\\?#]\Z", re.IGNORECASE)
_SLASHES = ("//", r"\\", "/\\", "\\/")
_ENTITY = re.compile(
    r"&(?:sol|bsol|colon|tab|newline|#0*(?:9|10|13|47|58|92)|#x0*(?:9|a|d|2f|3a|5c));\Z",
    re.IGNORECASE,
)
_TAIL = 96  # longer than any scheme, top-level domain or entity that a renderer knows
_TAG_NAME = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_LINE_PREFIX = re.compile(r"[0-9-]+", re.ASCII)  # list markers; quote marks come one by one


class LeftContext:
    """What stands to the left of the next character. Feed all of an answer, in order."""

    def __init__(self) -> None:
        self._blank = False  # only white space since the last line break
        self._url = _Url()
        self._target = _Target()
        self._definition = _Definition()
        self._tag = _Tag()

    def _blank_line(self) -> None:
        self._url = _Url()
        self._target = _Target()
        self._definition = _Definition()
        self._tag.blank_line()

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
                self._blank_line()
            self._url.feed(piece)
            self._target.feed(piece)
            self._definition.feed(piece)
            self._tag.feed(piece)
            self._blank = piece == "\n" or (self._blank and piece in _SPACE)


class _Url:
    """Where a URL begins, for a browser or for a program that makes links of text.

    ``https:`` and such (browsers ask for no slashes), ``//host`` with any slashes, ``www.``, a
    bare host before a path or query, and an HTML entity that spells a piece of these.
    """

    def __init__(self) -> None:
        self.inside = False
        self._tail = ""

    def feed(self, piece: str) -> None:
        if piece in _SPACE:
            self.inside, self._tail = False, ""
            return
        tail = self._tail = (self._tail + piece)[-_TAIL:]
        if piece in "/\\":
            self.inside |= tail.endswith(_SLASHES)
        if piece in "/\\?#":
            self.inside |= _HOST.search(tail) is not None
        elif piece == ":":
            self.inside |= _SCHEME.search(tail) is not None
        elif piece == ".":
            self.inside |= _WWW.search(tail) is not None
        elif piece == ";":
            self.inside |= _ENTITY.search(tail) is not None


class _Target:
    r"""``](target)``: parentheses in it counted, but not ``\)`` nor those of ``](<target>)``."""

    def __init__(self) -> None:
        self.depth = 0
        self._after_bracket = False
        self._escaped = False
        self._begun = False  # something but white space stands in the target
        self._angle = False

    def feed(self, piece: str) -> None:
        if self.depth:
            self._inside(piece)
        elif piece == "(" and self._after_bracket:
            self.depth, self._begun = 1, False
        self._after_bracket = piece == "]"

    def _inside(self, piece: str) -> None:
        if self._escaped:
            self._escaped = False
        elif piece == "\\":
            self._escaped = True
        elif self._angle:
            self._angle = piece != ">"
        elif piece == "<" and not self._begun:
            self._angle = True
        elif piece in "()":
            self.depth += 1 if piece == "(" else -1
        self._begun |= piece not in _SPACE


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
        self._escaped = False

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
            elif not (piece.isspace() or piece in ">*+.)" or _LINE_PREFIX.fullmatch(piece)):
                self._at = at.ELSEWHERE
        elif self._at is at.LABEL:
            if piece == "]" and not self._escaped:
                self._at = at.LABEL_END
            self._escaped = piece == "\\" and not self._escaped
        elif self._at is at.LABEL_END:
            self._at = at.EMPTY_TARGET if piece == ":" else at.ELSEWHERE
        elif self._at is at.EMPTY_TARGET and not piece.isspace():
            self._at = at.TARGET


class _Tag:
    """``<name attribute="value">``, as HTML's tokenizer reads it (WHATWG HTML, 13.2.5).

    In doubt only values of attributes count as inside: after a name that HTML would take and
    nobody writes ("a<b) ..."), and after a blank line, where Markdown's tag ends and HTML's not.
    """

    class _At(Enum):
        OUTSIDE = auto()
        OPENED = auto()
        NAME = auto()
        BEFORE_ATTRIBUTE = auto()
        ATTRIBUTE = auto()
        BEFORE_VALUE = auto()
        BARE = auto()
        QUOTED = auto()

    def __init__(self) -> None:
        self._at = self._At.OUTSIDE
        self._quote = ""
        self._doubtful = False

    @property
    def inside(self) -> bool:
        at = self._At
        if self._doubtful:
            return self._at in (at.BARE, at.QUOTED)
        return self._at not in (at.OUTSIDE, at.OPENED, at.NAME)

    def blank_line(self) -> None:
        at = self._At
        if self._at in (at.OPENED, at.NAME):
            self._at = at.OUTSIDE
        self._doubtful = self._at is not at.OUTSIDE

    def feed(self, piece: str) -> None:
        at = self._At
        if self._at is at.QUOTED:
            if piece == self._quote:
                self._at = at.BEFORE_ATTRIBUTE
        elif self._at is at.OUTSIDE:
            if piece == "<":
                self._at = at.OPENED
        elif self._at is at.OPENED:
            self._opened(piece)
        elif piece == ">":
            self._at = at.OUTSIDE
        elif self._at is at.NAME:
            self._name(piece)
        else:
            self._attribute(piece)

    def _opened(self, piece: str) -> None:
        if piece[0].isascii() and piece[0].isalpha():
            self._at = self._At.NAME
            self._doubtful = _TAG_NAME.fullmatch(piece) is None
        elif piece not in ("<", "/", "!", "?"):
            self._at = self._At.OUTSIDE

    def _name(self, piece: str) -> None:
        if piece in _SPACE or piece in "/:":  # a colon: an address in angle brackets, or XML
            self._at = self._At.BEFORE_ATTRIBUTE
        elif piece == "<":  # Markdown's next chance; HTML would read on
            self._at = self._At.OPENED
        elif _TAG_NAME.fullmatch(piece) is None:
            self._doubtful = True

    def _attribute(self, piece: str) -> None:
        at = self._At
        if self._at is at.BEFORE_VALUE:
            if piece in ("'", '"'):
                self._at, self._quote = at.QUOTED, piece
            elif piece not in _SPACE:
                self._at = at.BARE
        elif piece in _SPACE:
            self._at = at.BEFORE_ATTRIBUTE if self._at is at.BARE else self._at
        elif self._at is at.ATTRIBUTE and piece == "=":
            self._at = at.BEFORE_VALUE
        elif piece == "/" and self._at is at.ATTRIBUTE:
            self._at = at.BEFORE_ATTRIBUTE
        elif self._at is at.BEFORE_ATTRIBUTE and piece != "/":
            self._at = at.ATTRIBUTE
