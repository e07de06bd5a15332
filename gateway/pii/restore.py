"""Placeholders and surrogates back into values, across the chunks of a stream.

Pure and incremental: ``feed`` pieces, then ``finish``. What comes out depends on the text, never on
where it was split: a placeholder is decided by its own characters and its left context. Held back
is at most one open placeholder (under 200 characters) or surrogate, in JSON also the quote before.

What happens to a placeholder or a surrogate (counted in ``Report``):

- restored: it is in the mapping and this role may see the value;
- hidden: it is in the mapping, and the ruling or the tool does not allow it;
- withheld: it stands in a URL, a link target, a tag (``contexts``);
- unknown: it is not in the mapping; it stays as the model wrote it.

What is hidden or withheld is written with the answer's tag, ``<PERSON_1:k7f3>``, which no
conversation ever fills; a surrogate stays as it is. LITERAL is the user's own text and comes back
wherever it stands. Where dates were shifted, a date that leads back to none of them is counted
(``unmapped``) and stays: to shift it would be to invent one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import RestoreError
from gateway.pii import jsontext, placeholders
from gateway.pii.contexts import LeftContext
from gateway.pii.mask import Value
from gateway.pii.placeholders import LITERAL, Found
from gateway.pii.surrogates.issue import DATES
from gateway.pii.surrogates.lexicon import Hit, Lexicon


@dataclass(frozen=True, slots=True)
class Report:
    """How many placeholders and surrogates of an answer met which fate.

    ``unmapped``: dates that lead back to none of the request, where its dates were shifted.
    """

    restored: int = 0
    hidden: int = 0
    withheld: int = 0
    unknown: int = 0
    unmapped: int = 0

    def __add__(self, other: Report) -> Report:
        return Report(
            self.restored + other.restored,
            self.hidden + other.hidden,
            self.withheld + other.withheld,
            self.unknown + other.unknown,
            self.unmapped + other.unmapped,
        )


class Restorer:
    """Restores plain text.

    ``tag``: random letters and digits, new for each answer. ``allowed=False``: nothing personal
    is restored (arguments of a tool that policy does not name).
    """

    def __init__(self, mapping: Mapping[str, Value], tag: str, *, allowed: bool = True) -> None:
        self._filler = _Filler(mapping, tag, allowed=allowed)
        self._text = _Text(self._filler)

    @property
    def report(self) -> Report:
        return self._filler.report()

    def feed(self, text: str) -> str:
        """What can be said for certain after this piece."""
        return self._text.feed(text, final=False)

    def finish(self) -> str:
        """The rest. Nothing may be fed afterwards."""
        return self._text.feed("", final=True)


class JsonRestorer:
    """Restores inside the strings of a JSON answer; all else passes as it is.

    Values are escaped as JSON. A string that is one placeholder of a value that was a number
    becomes that number, but never a key. The caller checks the whole with ``check_json``.
    """

    def __init__(self, mapping: Mapping[str, Value], tag: str, *, allowed: bool = True) -> None:
        self._filler = _Filler(mapping, tag, allowed=allowed)
        self._pending = ""  # an escape that is not complete yet
        self._place = jsontext.Place()
        self._string: _Text | None = None
        self._opening: str | None = None  # a string so far, while it can still be a number

    @property
    def report(self) -> Report:
        return self._filler.report()

    def feed(self, text: str) -> str:
        """What can be said for certain after this piece."""
        text = self._pending + text
        self._pending = ""
        out: list[str] = []
        position = 0
        while position < len(text):
            if self._string is None:
                position = self._outside(text, position, out)
            else:
                position = self._inside(text, position, out)
        return "".join(out)

    def finish(self) -> str:
        """The rest. Nothing may be fed afterwards."""
        out: list[str] = []
        if self._string is not None:  # the answer broke off in a string
            self._open(out)
            out.append(jsontext.escape(self._string.feed("", final=True)))
        return "".join(out) + self._numbers(self._pending)

    def _outside(self, text: str, position: int, out: list[str]) -> int:
        match = _STRUCTURE.search(text, position)
        end = len(text) if match is None else match.start()
        if self._filler.numbers:
            number = _NUMBER_BEGUN.search(text, position, end) if match is None else None
            self._pending = number.group() if number else ""
            end -= len(self._pending)
        out.append(self._numbers(text[position:end]))
        if match is None:
            return len(text)
        mark = match.group()
        if mark == '"':
            self._string = _Text(self._filler)
            self._opening = ""
            return match.end()
        self._place.pass_by(mark)
        out.append(mark)
        return match.end()

    def _numbers(self, text: str) -> str:
        """Surrogates of numbers that the model wrote as numbers."""
        if not self._filler.numbers:
            return text
        return _NUMBER.sub(lambda match: self._filler.bare_number(match.group()), text)

    def _inside(self, text: str, position: int, out: list[str]) -> int:
        run = _PLAIN.match(text, position)
        if run is not None:
            self._take(run.group(), out)
            return run.end()
        if text[position] == '"':
            self._close(out)
            return position + 1
        escape = _ESCAPE.match(text, position)
        if escape is not None:
            self._take(json.loads(f'"{escape.group()}"'), out)
            return escape.end()
        if _ESCAPE_BEGUN.fullmatch(text, position):
            self._pending = text[position:]
            return len(text)
        self._take("\\", out)  # no escape of JSON: a backslash, as far as we can say
        return position + 1

    def _take(self, text: str, out: list[str]) -> None:
        """Characters of the string, decoded."""
        if self._opening is not None:
            self._opening += text
            if self._number_ahead():
                return
            self._open(out)
        elif self._string is not None:
            out.append(jsontext.escape(self._string.feed(text, final=False)))

    def _number_ahead(self) -> bool:
        """Whether the string so far can still be one placeholder of a number."""
        opening = self._opening or ""
        if self._place.at_key:
            return False
        found = self._filler.match(opening, 0, "", final=False) if opening else True
        if isinstance(found, bool):
            return found
        return found.end == len(opening) and self._filler.number(found) is not None

    def _open(self, out: list[str]) -> None:
        """The string is a string: write what was held back."""
        if self._opening is not None and self._string is not None:
            text = self._string.feed(self._opening, final=False)
            out.append('"' + jsontext.escape(text))
            self._opening = None

    def _close(self, out: list[str]) -> None:
        opening, string = self._opening, self._string
        found = self._filler.match(opening, 0, "", final=True) if opening else False
        whole = not isinstance(found, bool) and found.end == len(opening or "")
        number = self._filler.number(found) if whole and not isinstance(found, bool) else None
        if number is not None and not self._place.at_key:
            out.append(self._filler.take_number(number))
        elif string is not None:
            self._open(out)
            out.append(jsontext.escape(string.feed("", final=True)) + '"')
        self._string = self._opening = None
        if self._place.at_key:
            self._place.name("")


def restore_text(
    text: str, mapping: Mapping[str, Value], tag: str, *, allowed: bool = True
) -> tuple[str, Report]:
    """A whole plain answer."""
    restorer = Restorer(mapping, tag, allowed=allowed)
    restored = restorer.feed(text) + restorer.finish()
    return restored, restorer.report


def restore_json(
    text: str, mapping: Mapping[str, Value], tag: str, *, allowed: bool = True
) -> tuple[str, Report]:
    """A whole JSON answer. It is not checked: ``check_json`` does that."""
    restorer = JsonRestorer(mapping, tag, allowed=allowed)
    restored = restorer.feed(text) + restorer.finish()
    return restored, restorer.report


def restore_arguments(
    arguments: str, mapping: Mapping[str, Value], tag: str, *, allowed: bool
) -> tuple[str, Report]:
    """The arguments of a tool call. ``allowed``: policy names this tool (``restore_tools``).

    Arguments that are no JSON object or array come back with their placeholders tagged: what
    cannot be read cannot be restored safely.

    Raises:
        RestoreError: they were JSON and the restored text is not (it never should be).
    """
    if jsontext.tokens(arguments) is None:
        return restore_text(arguments, mapping, tag, allowed=False)
    restored, report = restore_json(arguments, mapping, tag, allowed=allowed)
    check_json(restored)
    return restored, report


def check_json(text: str) -> None:
    """Check that a restored answer is JSON.

    Raises:
        RestoreError: it is not.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise RestoreError from None


# --- how it works --------------------------------------------------------------------------------

_STRUCTURE = re.compile(r'["{}\[\],:]')
_PLAIN = re.compile(r'[^"\\]+')
_NUMBER = re.compile(r"(?<![\w.+-])[0-9]+(?![\w.+-])")
_NUMBER_BEGUN = re.compile(r"[\w.+-]+\Z")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")


class _Filler:
    """Knows what stands for a value, decides what takes its place, and counts."""

    def __init__(self, mapping: Mapping[str, Value], tag: str, *, allowed: bool) -> None:
        self._mapping = mapping
        self._tag = tag
        self._allowed = allowed
        self._restored = self._hidden = self._withheld = self._unknown = self._unmapped = 0
        self._lexicon = _lexicon(mapping)
        self.numbers = any(value.number and value.surrogate_for for value in mapping.values())

    def report(self) -> Report:
        return Report(self._restored, self._hidden, self._withheld, self._unknown, self._unmapped)

    def next_opener(self, text: str, position: int) -> int:
        """Where something that stands for a value could begin next, or ``len(text)``."""
        where = placeholders if self._lexicon is None else self._lexicon
        return where.next_opener(text, position)

    def match(self, text: str, position: int, before: str, *, final: bool) -> Found | Hit | bool:
        """What stands for a value at ``position``, else whether more text could make it."""
        if self._lexicon is not None:
            hit = self._lexicon.match_at(text, position, before, final=final)
            if hit is not False:
                return hit
        return placeholders.match_at(text, position, final=final)

    def fill(self, found: Found | Hit, raw: str, *, closed: bool) -> str:
        if isinstance(found, Hit) and not found.key:
            self._unmapped += 1
            return raw
        key = found.key if isinstance(found, Hit) else found.canonical
        value = self._mapping.get(key)
        if value is None:
            self._unknown += 1
            return raw
        if value.entity_type != LITERAL:
            kept = raw if value.surrogate_for else placeholders.tagged(key, self._tag)
            if not (self._allowed and value.restore):
                self._hidden += 1
                return kept
            if closed:
                self._withheld += 1
                return kept
        self._restored += 1
        return found.text if isinstance(found, Hit) and found.text is not None else value.text

    def number(self, found: Found | Hit) -> str | None:
        """The number that this stands for, if it does and may be seen."""
        value = self._mapping.get(found.key if isinstance(found, Hit) else found.canonical)
        if value is None or not (value.number and value.restore and self._allowed):
            return None
        return value.text

    def take_number(self, number: str) -> str:
        self._restored += 1
        return number

    def bare_number(self, written: str) -> str:
        """A number as the model wrote it; of a surrogate the number that it stands for."""
        value = self._mapping.get(written)
        if value is None or not (value.number and value.surrogate_for):
            return written
        if not (value.restore and self._allowed):
            self._hidden += 1
            return written
        return self.take_number(value.text)


def _lexicon(mapping: Mapping[str, Value]) -> Lexicon | None:
    """The surrogates of a mapping; None where there are none, which is nearly always."""
    lexicon: Lexicon | None = None
    for key, value in mapping.items():
        if value.surrogate_for:
            lexicon = lexicon or Lexicon()
            shifted = value.entity_type == DATES
            lexicon.add(key, value.text, shifted=shifted, day_first=value.day_first)
    return lexicon


class _Text:
    """One run of text: what was fed and not yet written, and the left context."""

    def __init__(self, filler: _Filler) -> None:
        self._filler = filler
        self._held = ""
        self._last = ""  # the character before it, as the model wrote it
        self._left = LeftContext()
        self._unread: list[str] = []  # written, and not fed to the left context yet

    def feed(self, text: str, *, final: bool) -> str:
        text = self._held + text
        out: list[str] = []
        position = 0
        while position < len(text):
            opener = self._filler.next_opener(text, position)
            self._write(text[position:opener], out)
            position = opener
            if position == len(text):
                break
            before = text[position - 1] if position else self._last
            found = self._filler.match(text, position, before, final=final)
            if found is True:
                break
            if not isinstance(found, bool):
                raw = text[position : found.end]
                self._write(self._filler.fill(found, raw, closed=self._closed()), out)
                position = found.end
            else:
                self._write(text[position], out)
                position += 1
        self._held = text[position:]
        self._last = text[position - 1] if position else self._last
        return "".join(out)

    def _write(self, text: str, out: list[str]) -> None:
        if text:
            out.append(text)
            self._unread.append(text)

    def _closed(self) -> bool:
        self._left.feed("".join(self._unread))
        self._unread.clear()
        return self._left.closed()
