"""Coarser values that say less: a year for a date, 90+ for a high age, a state for a town.

The rules are those of Safe Harbor, 45 CFR 164.514(b)(2)(i)(B) and (C). A function returns None
where it cannot tell what would be safe: the value is then redacted. Only digits, constants and
entries of the tables come out, never a piece of the text that was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from types import MappingProxyType

from gateway.pii.tables.load import pairs, words

Generalizer = Callable[[str, date], str | None]
"""(value, today) -> what the model may learn of it, or None."""

_YEAR = re.compile(r"(?<![0-9])(1[6-9][0-9]{2}|20[0-9]{2})(?![0-9])", re.ASCII)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_ZIP = re.compile(r"\b([0-9]{3})[0-9]{2}(?:-[0-9]{4})?\b", re.ASCII)
_EDGES = re.compile(r"[,;\n()]+")
_CODE = 2  # letters of a code of a state
CENSUSES = ("2010", "2020")
"""The tables a prefix must stand in: the last one published as such, and the last one taken."""
OLDEST = 89
"""Ages above it, and years that imply one, are not told (164.514(b)(2)(i)(C))."""


def year(value: str, today: date) -> str | None:
    """The year of a date; None without one, with several, or where it implies an age over 89."""
    years = _YEAR.findall(value)
    if len(years) != 1 or int(years[0]) < today.year - OLDEST:
        return None
    return str(years[0])


def age(value: str, _today: date) -> str | None:
    """An age of up to 89 as it stands; 90+ above; None without exactly one number."""
    numbers = _NUMBER.findall(value)
    if len(numbers) != 1:
        return None
    return value if int(numbers[0]) <= OLDEST else "90+"


def trait(value: str, today: date) -> str | None:
    """The decade of an age, "50-59"; None for every other trait."""
    numbers = _NUMBER.findall(value)
    if not numbers:
        return None
    exact = age(value, today)
    if exact is None or exact == "90+":
        return exact
    low = int(numbers[0]) // 10 * 10
    return f"{low}-{low + 9}"


def zip_code(value: str, _today: date) -> str:
    """The first three digits of a ZIP code where more than 20,000 people share them, else 000.

    The prefix must stand in the allow-list of every census in ``CENSUSES``. What is not five
    digits, with or without four more, is no ZIP code of the US: 000.
    """
    match = _ZIP.fullmatch(value.strip())
    return match[1] if match and match[1] in populous() else "000"


@cache
def populous() -> frozenset[str]:
    """The prefixes that may stay."""
    return frozenset.intersection(*(words(f"zip3_{census}") for census in CENSUSES))


def place(value: str, _today: date) -> str | None:
    """The state or country that an address or a place ends with; None where it names none."""
    known = regions()
    parts = _EDGES.split(_ZIP.sub("", value).strip())
    for part in reversed([p.strip() for p in parts if p.strip()][1:]):
        last = part.rsplit(maxsplit=1)[-1]
        for name in (part, part.lower(), last):
            if name in known and (len(name) > _CODE or name.isupper()):
                return known[name]
    return None


@cache
def regions() -> dict[str, str]:
    """The table of regions and countries, by the name or code that people write."""
    return pairs("regions")


GENERALIZERS: Mapping[str, Generalizer] = MappingProxyType(
    {
        "DATE": year,
        "DATE_TIME": year,
        "DATE_OF_BIRTH": year,
        "AGE": age,
        "DEMOGRAPHIC": trait,
        "LOCATION": place,
        "ZIP": zip_code,
        "ZIP_CODE": zip_code,
        "US_ZIP_CODE": zip_code,
    }
)
