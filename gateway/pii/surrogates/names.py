"""Other names for persons, organisations and places, word by word.

A word has one surrogate in a conversation, whatever it stands in: "Anna Schmidt", "SCHMIDT, A." and
"Schmidt GmbH" become "Clara Vogt", "VOGT, C." and "Vogt GmbH", relatives keep one surname, and a
part of a name that the model goes on with leads back as well. Letters lead to letters for
initials: all first names with an A get names with one other letter.

What stays: titles, particles, forms of companies, kinds of streets and of facilities, and all that
is not a letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import regex

from gateway.pii.forms import COMPANY_FORMS, TITLES, fold
from gateway.pii.surrogates import pools
from gateway.pii.surrogates.draw import Draw
from gateway.pii.surrogates.kinds import CONNECTORS, FACILITIES, STATES, STREET_ENDINGS, STREETS
from gateway.pii.surrogates.origins import FEMALE, MALE, PARTICLES, origin, street_origin

Free = Callable[[str], bool]
"""Whether a folded word stands neither in the request so far nor in another surrogate."""

_WORD = regex.compile(r"[\p{L}\p{M}]+")
_LETTERS = "abcdefghklmprst"
"""Letters with which names of most origins begin."""

_SHORT_CODE = 5
_WHOLE = 3  # letters of a word that leads back by itself
_SPANISH_NAMES = 3  # words of a Spanish name, from which on the last two are surnames


@dataclass(frozen=True, slots=True)
class Made:
    """A surrogate. ``pieces``: its words that lead back by themselves, with what they stand for."""

    text: str = field(repr=False)
    pieces: tuple[tuple[str, str], ...] = field(repr=False, default=())
    day_first: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    text: str = field(repr=False)
    fold: str = field(repr=False)


class Names:
    """The surrogates of words in one conversation; only ever grows."""

    def __init__(self, draw: Draw, free: Free) -> None:
        self._draw = draw
        self._free = free
        self._words: dict[str, str] = {}
        self._taken: set[str] = set()
        self._initials = dict(
            zip(_LETTERS, draw.order(_LETTERS, "initials"), strict=True),
        )

    # --- persons ----------------------------------------------------------------------------------

    def person(self, value: str) -> Made | None:
        """Another person of the same sex and origin, in the same form. None where none fits."""
        parts = _parts(value)
        if any(character.isnumeric() for character in value) or not parts:
            return None
        named = _named(value, parts)
        locale = origin(value, [part.fold for part in parts])
        if locale is None or not named:
            return None
        surnames = self._surnames(value, parts, named, locale)
        sex = _sex(parts, [part for part in named if part not in surnames])
        new: dict[_Part, str] = {}
        for part in named:
            kind = pools.SURNAME if part in surnames else sex
            word = self._initial(part) if len(part.fold) == 1 else self._word(part, kind, locale)
            if word is None:
                return None
            new[part] = word
        return _put(value, new)

    def _surnames(
        self, value: str, parts: Sequence[_Part], named: Sequence[_Part], locale: str
    ) -> set[_Part]:
        comma = value.find(",")
        before = [part for part in named if part.end <= comma]
        if before and len(before) < len(named):
            return set(before)  # "Schmidt, Anna"
        if len(named) == 1:
            first = named[0]
            titled = any(part.fold in FEMALE | MALE for part in parts if part is not first)
            given = first.fold in pools.sexes() and not titled
            return set() if given and value[: first.start].strip(" .") == "" else {first}
        count = 2 if locale == "es_ES" and len(named) >= _SPANISH_NAMES else 1
        last = list(named[-count:])
        while len(last) < len(named):  # "Garcia-Lopez" is one surname
            earlier = named[len(named) - len(last) - 1]
            if value[earlier.end : last[0].start] != "-" or len(last) + 1 == len(named):
                break
            last.insert(0, earlier)
        return set(last)

    def _initial(self, part: _Part) -> str | None:
        letter = self._initials.get(part.fold)
        if letter is None:
            letter = _LETTERS[self._draw.number("initial", part.fold) % len(_LETTERS)]
        return letter.upper() if part.text.isupper() else letter

    # --- organisations and places -----------------------------------------------------------------

    def organization(self, value: str) -> Made | None:
        """Another name for what tells an organisation from others. None where nothing does."""
        parts = _parts(value)
        if any(character.isnumeric() for character in value):
            return None
        kept = CONNECTORS | COMPANY_FORMS | FACILITIES
        told = [part for part in parts if not _stays(part, kept)]
        locale = origin(value, [part.fold for part in parts])
        if locale is None or not told:
            return None
        new: dict[_Part, str] = {}
        for part in told:
            if part.text.isupper() and 1 < len(part.text) <= _SHORT_CODE and len(parts) == 1:
                word = self._code(part)
            else:
                word = self._word(part, pools.SURNAME, locale)
            if word is None:
                return None
            new[part] = word
        return _put(value, new)

    def place(self, value: str) -> Made | None:
        """Another address of the same form. None where nothing in it could be changed.

        Its digits are for the caller to change.
        """
        parts = _parts(value)
        folds = [part.fold for part in parts]
        locale = street_origin(folds) or origin(value, folds)
        if locale is None:
            return None
        new: dict[_Part, str] = {}
        for part in parts:
            stays = _stays(part, CONNECTORS | STREETS) and part.text not in STATES
            if stays or len(part.fold) == 1:
                continue
            word = self._place_word(part, locale)
            if word is None:
                return None
            new[part] = word
        return _put(value, new)

    def _place_word(self, part: _Part, locale: str) -> str | None:
        ending = next((e for e in STREET_ENDINGS if part.fold.endswith(fold(e))), None)
        if ending is not None and len(part.fold) > len(ending) + 1:
            length = next(
                n for n in range(1, len(part.text)) if fold(part.text[-n:]) == fold(ending)
            )
            stem = part.text[:-length]
            head = self._word(_Part(0, 0, stem, fold(stem)), pools.SURNAME, locale)
            return None if head is None else head + part.text[-length:]
        if part.text in STATES:
            at = self._draw.number("state", part.text) % (len(STATES) - 1)
            return sorted(STATES - {part.text})[at]
        return self._word(part, pools.PLACE, locale)

    # --- words ------------------------------------------------------------------------------------

    def word(self, text: str, locale: str = pools.ENGLISH) -> str | None:
        """The surrogate of one word of an address on the net, in its case."""
        sex = pools.sexes().get(fold(text))
        kind = pools.SURNAME if sex is None else sex or self._either(fold(text))
        return self._word(_Part(0, len(text), text, fold(text)), kind, locale)

    def _word(self, part: _Part, kind: str, locale: str) -> str | None:
        known = self._words.get(part.fold)
        if known is None:
            known = self._choose(part.fold, kind or self._either(part.fold), locale)
            if known is None:
                return None
            self._words[part.fold] = known
            self._taken.add(fold(known))
        return _cased(known, part.text)

    def _either(self, word: str) -> str:
        return (pools.FEMALE, pools.MALE)[self._draw.number("sex", word) % 2]

    def _choose(self, word: str, kind: str, locale: str) -> str | None:
        """A name of the kind that nothing else means; with the letter for the word's initial."""
        letter = self._initials.get(word[:1], "") if kind != pools.PLACE else ""
        for where in dict.fromkeys((locale, pools.ENGLISH)):
            lists = pools.by_initial(where, kind)
            if not lists[""] and kind == pools.PLACE:
                lists = pools.by_initial(where, pools.SURNAME)
            for initial in dict.fromkeys((letter, "")):
                names = lists.get(initial, ())
                start = self._draw.number("name", kind, word) % max(1, len(names))
                for name in (*names[start:], *names[:start]):
                    other = fold(name)
                    if other != word and other not in self._taken and self._free(other):
                        return name
            if where in pools.SCRIPTS.values():
                return None  # a name in another script says who is foreign
        return None

    def _code(self, part: _Part) -> str | None:
        """Other capitals for an abbreviation."""
        known = self._words.get(part.fold)
        if known is not None:
            return known
        drawn = self._draw.stream("code", part.fold)
        for _ in range(16):
            code = "".join(_LETTERS[next(drawn) % len(_LETTERS)] for _ in part.text).upper()
            clean = not any(a == b for a, b in zip(code, part.text, strict=True))
            if clean and fold(code) not in self._taken and self._free(fold(code)):
                self._words[part.fold] = code
                self._taken.add(fold(code))
                return code
        return None


def _parts(value: str) -> list[_Part]:
    return [_Part(m.start(), m.end(), m.group(), fold(m.group())) for m in _WORD.finditer(value)]


def _named(value: str, parts: Sequence[_Part]) -> list[_Part]:
    """The words that name somebody: all but titles and particles; if need be the last one."""
    named: list[_Part] = []
    for index, part in enumerate(parts):
        title = part.fold in TITLES or part.fold in FEMALE | MALE - {"m"}
        title |= part.fold == "m" and index == 0 and len(parts) > 1 and part.text == "M"
        followed = index + 1 < len(parts)
        if title and (followed or named):
            continue
        joined = value[part.end : part.end + 1] in ("-", "'", "\u2019") and part.fold in {
            *("al", "el", "o", "d", "l", "m"),
        }
        if followed and (part.fold in PARTICLES or joined):
            continue
        named.append(part)
    return named


def _sex(parts: Sequence[_Part], given: Sequence[_Part]) -> str:
    for part in parts[:2]:
        if part.fold in FEMALE and part not in given:
            return pools.FEMALE
        if part.fold in MALE and part not in given:
            return pools.MALE
    return next((pools.sexes()[p.fold] for p in given if p.fold in pools.sexes()), "")


def _stays(part: _Part, kept: frozenset[str]) -> bool:
    return part.fold in kept


def _cased(name: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return name.upper()
    return name.lower() if like.islower() else name


def _put(value: str, new: dict[_Part, str]) -> Made | None:
    """The value with its words replaced; None where nothing was."""
    if not new:
        return Made(value)
    out, position, pieces = [], 0, {}
    for part, word in new.items():
        out += [value[position : part.start], word]
        position = part.end
        if len(part.text) >= _WHOLE and len(word) >= _WHOLE and not part.text.islower():
            pieces[word] = part.text
            if part.text.isupper() and word.isupper() and word.isascii():
                pieces[word.title()] = part.text.title()
    return Made("".join(out) + value[position:], tuple(pieces.items()))
