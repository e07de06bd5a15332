"""Which data of Art. 9(1) and 10 GDPR a request speaks of: health, belief, politics and the others.

A property of the request, not of a span: policies act on it as a whole (docs/spec/entities.md,
policy-language.md §2). Words and their false friends stand in ``categories.toml``. One RE2 set
tells which categories may occur at all, so the cost is one pass over the text; only where false
friends stand in it are the cues looked at one by one. Linear in the text.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from importlib import resources
from typing import Any

import re2

from gateway.domain import Category
from gateway.errors import DetectorError

_DATA = "categories.toml"
_SET_MEMORY = 64 * 1024 * 1024
_PATTERN_MEMORY = 32 * 1024 * 1024
_ALWAYS = "(?s:.?)"
"""Matches everything: a set that does not report it has run out of memory."""

_SPELLED = (
    ("ä", "ae"),
    ("ö", "oe"),
    ("ü", "ue"),
    ("œ", "oe"),
    ("\u2019", "'"),
    ("\u2013", "-"),
    ("\u00ad", ""),
)
_MARKS = re.compile("[\u0300-\u036f]+")


class Categorizer:
    """Tells data categories. Immutable; safe for concurrent use."""

    __slots__ = ("_categories", "_cues", "_set", "_unless", "digest")

    digest: str
    """SHA-256 (hex) of the words and of this code."""

    def __init__(self) -> None:
        """Read the words.

        Raises:
            DetectorError: they cannot be read, or are not what this module understands.
        """
        folder = resources.files("gateway.pii")
        try:
            data, code = (folder / _DATA).read_bytes(), (folder / "categories.py").read_bytes()
            words = tomllib.loads(data.decode())
            self._categories = tuple(Category(name) for name in words)
            self._cues = [_pattern(words[name].pop("cues")) for name in words]
            self._unless = [_pattern(words[name].pop("unless")) for name in words]
            self._set = _set_of([cue.pattern for cue in self._cues])
        except (OSError, ValueError, KeyError, AttributeError, re2.error):
            raise DetectorError("The words for data categories cannot be read.") from None
        if set(self._categories) != set(Category) or any(words.values()):
            raise DetectorError("The words for data categories are not those of this version.")
        self.digest = hashlib.sha256(hashlib.sha256(data).digest() + code).hexdigest()

    def categories(self, texts: Iterable[str]) -> frozenset[Category]:
        """The categories that any of the texts speaks of.

        Raises:
            DetectorError: the texts could not be searched.
        """
        try:
            data = _plain("\n\n".join(texts)).encode("utf-8", "replace")
            return frozenset(self._categories[i] for i in self._possible(data) if self._is(i, data))
        except Exception:  # noqa: BLE001 - foreign code: whatever it raises, the search failed
            raise DetectorError from None

    def _possible(self, data: bytes) -> Iterable[int]:
        hits = self._set.Match(data) or []
        count = len(self._categories)
        return [hit for hit in hits if hit != count] if count in hits else range(count)

    def _is(self, index: int, data: bytes) -> bool:
        """Whether a cue stands outside of every false friend."""
        friends = [match.span() for match in self._unless[index].finditer(data)]
        next_friend = 0
        for cue in self._cues[index].finditer(data):
            start, end = cue.span()
            while next_friend < len(friends) and friends[next_friend][1] <= start:
                next_friend += 1
            if next_friend == len(friends) or friends[next_friend][0] >= end:
                return True
        return False


def _plain(text: str) -> str:
    """The text as the words are written: small letters, no accents, German umlauts spelled out."""
    if text.isascii():
        return text.lower()
    spelled = unicodedata.normalize("NFKC", text).casefold()
    for written, plain in _SPELLED:  # str.translate takes ten times as long
        spelled = spelled.replace(written, plain)
    return _MARKS.sub("", unicodedata.normalize("NFKD", spelled))


def _pattern(alternatives: list[str]) -> Any:
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY
    options.log_errors = False
    return re2.compile(rf"\b(?:{'|'.join(alternatives)})(?:\b|$)".encode(), options)


def _set_of(patterns: Iterable[bytes]) -> Any:
    options = re2.Options()
    options.max_mem = _SET_MEMORY
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for pattern in (*patterns, _ALWAYS.encode()):
        found.Add(pattern)
    found.Compile()
    return found
