"""Where the surrogates of one request stand in a text: what restore accepts of them.

Accepted is a surrogate exactly as it was written, as whole words (but for a final s, the genitive);
of several that begin at one place the longest. A date is accepted in any form that is read
(``dates``), as far as exactly one shifted date of the request can be meant. Decided from the
left context and at most the longest surrogate, so a stream can be cut anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway.pii.surrogates import dates
from gateway.pii.surrogates.dates import DATE, Day

_DATE_OPENERS = "0123456789" + "".join(
    sorted({letter for name in "jfmasonde" for letter in (name, name.upper())})
)
_END = ""  # the key under which a node of the trie holds the surrogate that ends there
_OPENERS = r"[<&\\\uff1c]"  # of placeholders


class Hit(NamedTuple):
    """A surrogate at ``[start, end)``. ``text``: what a date stands for, in the form it has here.

    A date that no date of the request explains has an empty ``key``.
    """

    start: int
    end: int
    key: str
    text: str | None = None


class Lexicon:
    """The surrogates of one request so far; only ever grows."""

    def __init__(self) -> None:
        self._trie: dict[str, Any] = {}
        self._openers: set[str] = set()
        self._next: re.Pattern[str] | None = None
        self._exact: dict[str, tuple[str, str]] = {}
        self._days: dict[Day, dict[Day, str]] = {}
        self._day_first = False

    def __len__(self) -> int:
        return len(self._exact) + bool(self._trie)

    def add(self, key: str, text: str, *, shifted: bool = False, day_first: bool = False) -> None:
        """Accept ``key`` from now on. ``shifted``: it is a date, ``text`` is the true one."""
        if shifted:
            self._add_date(key, text, day_first=day_first)
            return
        node = self._trie
        for character in key:
            node = node.setdefault(character, {})
        node[_END] = key
        if key[0] not in self._openers:
            self._openers.add(key[0])
            self._next = None

    def _add_date(self, key: str, text: str, *, day_first: bool) -> None:
        made, true = dates.core_of(key), dates.core_of(text)
        if made is None or true is None:
            return
        core, was = key[slice(*made)], text[slice(*true)]
        moved = dates.parse(core, day_first=day_first)
        read = dates.parse(was, day_first=day_first)
        if moved is None or read is None:
            return
        self._day_first |= day_first
        self._exact.setdefault(core, (key, was))
        for here, there in _readings(moved.day, read.day):
            self._days.setdefault(here, {}).setdefault(there, key)
        if not self._openers.issuperset(_DATE_OPENERS):
            self._openers.update(_DATE_OPENERS)
            self._next = None

    def find(self, text: str) -> Iterator[Hit]:
        """Every surrogate, left to right, not overlapping."""
        position = 0
        while position < len(text):
            position = self.next_opener(text, position)
            if position == len(text):
                return
            hit = self.match_at(text, position, text[max(0, position - 1) : position], final=True)
            if isinstance(hit, Hit):
                yield hit
            position = hit.end if isinstance(hit, Hit) else position + 1

    def next_opener(self, text: str, position: int) -> int:
        """Where a surrogate or a placeholder could begin next, or ``len(text)``."""
        if self._next is None:
            letters = "".join(map(re.escape, sorted(self._openers)))
            begun = rf"|(?<![^\W_])[{letters}]" if letters else ""
            self._next = re.compile(f"{_OPENERS}{begun}")
        match = self._next.search(text, position)
        return match.start() if match else len(text)

    def match_at(self, text: str, position: int, before: str, *, final: bool) -> Hit | bool:
        """The surrogate that begins at ``position``; else whether more text could still make one.

        ``before`` is the character in front, as the text had it. With ``final`` there is no more
        text, so the answer is a surrogate or False.
        """
        if before.isalnum() or text[position] not in self._openers:
            return False
        word = self._word_at(text, position, final=final)
        day = self._date_at(text, position, final=final) if self._exact else False
        if word is True or day is True:
            return True
        if isinstance(word, Hit) and isinstance(day, Hit):
            return word if word.end >= day.end else day
        return word or day

    def _word_at(self, text: str, position: int, *, final: bool) -> Hit | bool:
        node, at, found = self._trie, position, False
        best: Hit | bool = False
        while True:
            if _END in node:
                ends = _ends(text, at, node[_END], final=final)
                if ends is None:
                    return True
                if ends:
                    best, found = Hit(position, at, node[_END]), True
            if at == len(text):
                open_still = not final and (len(node) > (_END in node))
                return True if open_still else best
            following = node.get(text[at])
            if following is None:
                return best if found else False
            node, at = following, at + 1

    def _date_at(self, text: str, position: int, *, final: bool) -> Hit | bool:
        window = text[position : position + dates.LONGEST]
        open_still = not final and len(window) < dates.LONGEST
        if open_still and DATE.fullmatch(window, partial=True):
            return True
        match = DATE.match(window)
        if match is None:
            return False
        after = window[match.end() : match.end() + 2]
        if open_still and (not after or (len(after) == 1 and after in "-/.T")):
            return True
        if after[:1].isalnum() or after[:1] in tuple("-/."):
            timed = after[:1] == "T" and after[1:].isdigit()
            if not timed and (after[:1].isalnum() or after[1:].isdigit()):
                return False
        return self._meant(match.group(), position)

    def _meant(self, core: str, position: int) -> Hit:
        end = position + len(core)
        exact = self._exact.get(core)
        if exact is not None:
            return Hit(position, end, *exact)
        read = dates.parse(core, day_first=self._day_first)
        meant = {} if read is None else self._days.get(read.day, {})
        if read is None or len(meant) != 1:
            return Hit(position, end, "")
        [(day, key)] = meant.items()
        return Hit(position, end, key, read.write(day))


def _readings(made: Day, true: Day) -> Iterator[tuple[Day, Day]]:
    """What an answer may say instead of a date: all of it, or it without its year or its day."""
    yield made, true
    if made.year is not None and made.day is not None:
        yield made._replace(year=None), true._replace(year=None)
        yield made._replace(day=None), true._replace(day=None)


def _ends(text: str, at: int, key: str, *, final: bool) -> bool | None:
    """Whether a word ends at ``at``; None where that is not to be seen yet."""
    if not key[-1].isalnum():
        return True
    if at == len(text):
        return True if final else None
    if not text[at].isalnum():
        return True
    if text[at] != "s" or not key[-1].islower():
        return False
    if at + 1 == len(text):
        return True if final else None
    return not text[at + 1].isalnum()
