"""Surrogates for the values of one request.

``mask`` shows the texts turn by turn and asks for values in the order in which they are revealed,
so what is made depends on the turns so far and on nothing that comes later. A surrogate
equals no text of the turns so far, and no other value's surrogate; what a later turn writes like a
surrogate, mask escapes. Where none can be made, or a short one would stand in an answer by chance,
there is none: a placeholder tells the model less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.pii.forms import JOINED_DIGITS, words
from gateway.pii.surrogates import dates, numbers
from gateway.pii.surrogates.dates import Shift
from gateway.pii.surrogates.draw import Draw
from gateway.pii.surrogates.kinds import folded
from gateway.pii.surrogates.names import Made, Names
from gateway.pii.views import spoken

DATES = "DATE_TIME"
_NAMED = frozenset({"PERSON", "ORGANIZATION", "LOCATION"})
_NEVER = frozenset({"AGE", "REGION", "YEAR", "DEMOGRAPHIC", "AUTHORITY", "SECRET", "LITERAL"})
"""A wrong age or authority misleads; a secret is nothing a model should play with."""

_MIN_LETTERS = 4
_MIN_DIGITS = 4
_MIN_ZIP = 5


class Surrogates:
    """The surrogates of one request. ``key``: see ``draw.conversation_key``."""

    def __init__(self, key: bytes) -> None:
        self._draw = Draw(key)
        self._shift = Shift(self._draw)
        self._said: set[str] = set()
        self._texts: list[str] = []
        self._names = Names(self._draw, lambda word: word not in self._said)
        self._made: dict[tuple[str, bool, str], Made | None] = {}
        self._owners: dict[str, str] = {}
        self._day_first: bool | None = None

    def read(self, text: str, said: Iterable[str]) -> None:
        """A text of this turn and its words, folded."""
        self._texts.append(text)
        self._said.update(said)

    def made(self, value: str, entity_type: str, *, number: bool) -> Made | None:
        """The surrogate of a value; None where it gets a placeholder. The same again when asked.

        ``number``: it stands as a number in JSON.
        """
        asked = (value, number, entity_type)
        if asked not in self._made:
            self._made[asked] = self._make(value, entity_type, number=number)
        return self._made[asked]

    def _make(self, value: str, entity_type: str, *, number: bool) -> Made | None:
        said = spoken(value)
        if entity_type in _NEVER or not said.strip() or not _clean(said):
            return None
        if number and not (said.isascii() and said.isdigit()):
            return None
        for made in self._candidates(said, entity_type, "n" if number else ""):
            if self._fits(made, value, entity_type):
                self._owners[made.text] = value
                for piece, of in made.pieces:
                    self._owners.setdefault(piece, of)
                pieces = [each for each in made.pieces if self._owners[each[0]] == each[1]]
                return Made(made.text, tuple(pieces), made.day_first)
        return None

    def _candidates(self, value: str, entity_type: str, salt: str) -> Iterator[Made]:
        if entity_type == DATES:
            day_first = self._reads_day_first(value)
            shifted = self._shift.shifted(value, day_first=day_first)
            if shifted is not None:
                yield Made(shifted, (), day_first)
        elif entity_type == "PERSON":
            yield from _if_made(self._names.person(value))
        elif entity_type == "ORGANIZATION":
            yield from _if_made(self._names.organization(value))
        elif entity_type == "LOCATION":
            yield from self._places(value)
        else:
            for text in numbers.number(self._draw, value, entity_type, self._names, salt):
                yield Made(text)

    def _places(self, value: str) -> Iterator[Made]:
        """An address with other words and other figures."""
        made = self._names.place(value)
        if made is not None:
            for attempt in range(numbers.TRIES):
                text = numbers.figures(self._draw, made.text, str(attempt))
                yield Made(text, made.pieces)

    def _fits(self, made: Made, value: str, entity_type: str) -> bool:
        text = made.text
        if text == value or not _telling(text, made, entity_type):
            return False
        if self._owners.get(text, value) != value:
            return False
        return not any(text in each for each in self._texts)

    def _reads_day_first(self, value: str) -> bool:
        """How 03/04/2021 is read in this conversation: settled once, by what was said till then."""
        if self._day_first is None:
            self._day_first = _day_first([*self._texts, value])
        return self._day_first


def _if_made(made: Made | None) -> Iterator[Made]:
    if made is not None:
        yield made


def _clean(value: str) -> bool:
    """Whether the value can be written again: nothing invisible, no control characters."""
    return all(c.isprintable() or c in "\n\t " for c in value)


def _telling(text: str, made: Made, entity_type: str) -> bool:
    """Whether a surrogate is long enough to stand in an answer for its value only."""
    if entity_type == DATES or made.pieces:
        return True
    digits = sum(character.isdigit() for character in text)
    letters = sum(character.isalpha() for character in text)
    if entity_type in _NAMED:
        return letters > _MIN_LETTERS and entity_type == "PERSON"
    if entity_type == "ZIP_CODE":
        return digits + letters >= _MIN_ZIP
    return digits + letters >= JOINED_DIGITS or (digits >= _MIN_DIGITS and letters > 0)


_ENGLISH = folded("the of and with was on for is")
_EUROPEAN = folded("el la los de del le les des et und der die das y con mit une una est")


def _day_first(texts: Iterable[str]) -> bool:
    votes = 0
    for text in texts:
        for match in dates.DATE.finditer(text):
            told = dates.ambiguous(match.group())
            votes += 0 if told is None else 1000 if told else -1000
        for word in words(text):
            votes += (word.fold in _EUROPEAN) - (word.fold in _ENGLISH)
    return votes > 0
