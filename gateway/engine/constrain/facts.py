"""The facts of a text: placeholders, numbers with their units, dates, codes, spans to quote. Pure.

A *run* is what a reader takes for one number, date or code: letters and digits joined by - / . and
the like, without a space ("81", "2024-05-03", "HbA1c", "120/80", "1.5"). It is a fact as a whole
or not at all. Around it belong its sign ("-81", "$50") and its units ("81 mg", "20 mg tablets").
Runs without any digit are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import regex

from gateway.engine.constrain.units import CURRENCIES, SIGNS, UNITS

MAX_FACT: Final = 96  # characters; a longer run can be quoted, not used
_MAX_CHAIN: Final = 6

# While a text is read, each placeholder is one character of a private plane: a number like others.
_FIRST: Final = 0xF0000
# \p{N}: digits of any script, fractions, superscripts, roman numerals that are one character.
_N: Final = r"\p{N}\U000f0000-\U0010fffd"
_ALNUM: Final = rf"[\p{{L}}\p{{M}}{_N}_]"
_UNSEEN: Final = r"\u00ad\u200b-\u200d\u2060\ufeff"  # between digits they part no number
_MINUS: Final = r"\-\u2212\u2013\u207b\ufe63\uff0d"
_DOTS: Final = r".\u00b7\u2219\u22c5\u066b\u066c"
_JOINERS: Final = rf"{_MINUS}\u2010\u2011\u2012\u2014/'\u2019\\\u2044\u2215{_DOTS}{_UNSEEN}"
_DIGIT_JOINERS: Final = r":,+*\u00d7\u00f7^=~@#&" + re.escape(CURRENCIES)  # "81€50" is one amount
_JOINED: Final = rf"(?<=[{_N}])(?:[{_DIGIT_JOINERS}]|\^[{_MINUS}+])(?=[{_N}])"  # "10^-9"
_RUN: Final = rf"{_ALNUM}+(?:(?:[{_JOINERS}]|{_JOINED}){_ALNUM}+)*"
_GROUPED: Final = (
    r"\p{Nd}{1,3}(?:[ \u00a0\u2009\u202f]\p{Nd}{3})+(?:[.,]\p{Nd}+)?"
    r"(?:[*\u00d7^]\p{Nd}+)*"  # 1 814 times a power of ten is one number; "72 120/80" are two
    rf"(?![{_JOINERS}{_DIGIT_JOINERS}]?{_ALNUM})"
)
# "3 1/2" is one number. Only such denominators: "72 120/80" are two.
_ENDS: Final = rf"(?![{_JOINERS}{_DIGIT_JOINERS}]?{_ALNUM})"
_MIXED: Final = rf"\p{{Nd}}{{1,3}}[ \u00a0\u202f][1-7][/\u2044][234568]{_ENDS}"
_POINT: Final = r"[.,\u00b7\u066b]"  # ".5" is a number, and not the same as "5"
_CLOSING: Final = r"[)\]}\"'\u2019\u201d\u00bb]"  # behind one a comma is no point
_NOTE: Final = r"[§#№~≈≥≤>=]"  # before a number it changes the meaning, and belongs to it
_SIGN: Final = rf"{_NOTE}?[{_MINUS}+±]?[{re.escape(CURRENCIES)}]?"
_LINK: Final = regex.compile(
    rf"(?:{_NOTE}(?={_SIGN}{_POINT}?[{_N}]))?"
    rf"(?:(?<!{_ALNUM})[{_MINUS}+±](?=[{re.escape(CURRENCIES)}]?{_POINT}?[{_N}]))?"
    rf"(?:[{re.escape(CURRENCIES)}](?={_POINT}?[{_N}]))?"
    rf"(?:(?<!{_ALNUM}|{_POINT}|{_CLOSING}){_POINT}(?=\p{{N}}))?(?:{_GROUPED}|{_MIXED}|{_RUN})|[{re.escape(SIGNS)}](?:(?=\p{{L}}){_RUN})?"
)
_PRIVATE: Final = re.compile(r"[\U000f0000-\U0010fffd]")
_DIGIT: Final = regex.compile(rf"[{_N}]")
_UNSIGNED: Final = regex.compile(
    rf"{_NOTE}?[+±]?[{re.escape(CURRENCIES)}]?(?=[{_MINUS}]?{_POINT}?[{_N}])"
)
_NUMBER_AND_UNIT: Final = regex.compile(
    rf"({_SIGN}{_POINT}?(?:[{_N}][{_N}.,]*)?[{_N}])-?(\p{{L}}[\p{{L}}\p{{M}}]*(?:[/·.^-].*)?)"
)
_HEAD: Final = regex.compile(r"[\p{L}\p{M}_'\u2019]+")
_GAP: Final = regex.compile(r"[ \t\u00a0\u202f]*")
_BREAK: Final = re.compile(r"[\"“”„‟«»‹›＂「」『』\n\r<＜]")  # noqa: RUF001 - look-alikes are meant

_LESS: Final = ("<", "＜")  # noqa: RUF001 - look-alikes are meant

Chain = tuple[str, ...]
"""A run, and the units and runs that stood beside it: only spaces on one line between."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``spans``: pieces of texts without quotation marks, each as its words and single marks."""

    placeholders: tuple[str, ...] = field(repr=False)
    chains: tuple[Chain, ...] = field(repr=False)
    spans: tuple[tuple[str, ...], ...] = field(repr=False)


def is_unit(word: str) -> bool:
    """Whether ``word`` measures: by the letters it begins with, or a sign."""
    head = _HEAD.match(word)
    return word[:1] in SIGNS or (head is not None and head.group().casefold() in UNITS)


def has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


def read(texts: Sequence[str], placeholders: frozenset[str]) -> Facts:
    """Collect the facts of ``texts``, each once, in the order of their appearance."""
    known = [one for one in sorted(placeholders) if any(one in text for text in texts)]
    cut = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))) or r"(?!)")
    stands = {one: chr(_FIRST + number) for number, one in enumerate(known)}

    def restored(link: str) -> str:
        return _PRIVATE.sub(lambda found: known[ord(found.group()) - _FIRST], link)

    chains: dict[Chain, None] = {}
    spans: dict[tuple[str, ...], None] = {}
    for text in texts:
        stood = cut.sub(lambda found: stands[found.group()], _PRIVATE.sub("\ufffd", text))
        for chain in _chains(stood):
            if _length(chain) <= MAX_FACT:
                chains[tuple(restored(link) for link in chain)] = None
        spans |= dict.fromkeys(_spans(text, cut))
    return Facts(tuple(known), tuple(chains), tuple(spans))


def _length(chain: Chain) -> int:
    return sum(map(len, chain)) + len(chain)


def _chains(text: str) -> Iterator[Chain]:
    """Every number, date and code of ``text``, alone and with what follows it directly."""
    for sequence in _sequences(text):
        for start, link in enumerate(sequence):
            rest = sequence[start + 1 : start + _MAX_CHAIN]
            begun: list[Chain] = []
            if has_digit(link):
                begun = [(link,), *_also(link)]
                yield from _number_of(link)
            elif link in SIGNS and rest and has_digit(rest[0]):  # "€ 50"
                begun = [(link, rest.pop(0))]
            for head in begun:
                yield from ((*head, *rest[:end]) for end in range(len(rest) + 1))


def _also(link: str) -> Iterator[Chain]:
    """Other ways to write a fact that say the same, or less."""
    sign = _UNSIGNED.match(link)
    if sign is not None and sign.group():
        yield (link[sign.end() :],)  # "50" of "$50", never "81" of "-81"
    parts = _NUMBER_AND_UNIT.fullmatch(link)
    if parts is not None and is_unit(parts[2]) and link == parts[1] + parts[2]:
        yield parts[1], parts[2]  # "81mg" is "81 mg", too


def _number_of(link: str) -> Iterator[Chain]:
    """The number of a run that is one and its unit: "47" of "47-year-old"."""
    parts = _NUMBER_AND_UNIT.fullmatch(link)
    if parts is not None and is_unit(parts[2]):
        yield (parts[1],)


def _sequences(text: str) -> Iterator[list[str]]:
    """Runs with digits, and units, that stand side by side."""
    sequence: list[str] = []
    before = 0
    for match in _LINK.finditer(text):
        link = match.group()
        if not _GAP.fullmatch(text, before, match.start()):
            yield sequence
            sequence = []
        before = match.end()
        if has_digit(link) and text[match.start() - 1 : match.start()] in _LESS:
            continue  # "<5" is not "5", and no answer holds its sign: that one opens a placeholder
        if has_digit(link) or is_unit(link):
            sequence.append(link)
        else:
            yield sequence
            sequence = []
    yield sequence


def _spans(text: str, placeholder: re.Pattern[str]) -> Iterator[tuple[str, ...]]:
    """Pieces of ``text`` between quotation marks and lines."""
    words: list[str] = []
    before = 0
    for match in placeholder.finditer(text):
        yield from _pieces(text[before : match.start()], words)
        words.append(match.group())
        before = match.end()
    yield from _pieces(text[before:], words)
    if words:
        yield tuple(words)


def _pieces(text: str, words: list[str]) -> Iterator[tuple[str, ...]]:
    """Add ``text`` to ``words``; where a piece ends, give it out and begin the next."""
    for number, piece in enumerate(_BREAK.split(text)):
        if number:
            if words:
                yield tuple(words)
            words.clear()
        before = 0
        for match in _LINK.finditer(piece):
            words += piece[before : match.start()]
            words.append(match.group())
            before = match.end()
        words += piece[before:]
