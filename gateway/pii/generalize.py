"""Coarser values that say less: a year for a date, 90+ for a high age, 000 for a ZIP code.

The rules are those of Safe Harbor, 45 CFR 164.514(b)(2)(i)(B) and (C). A function returns None
where it cannot tell what would be safe: the value is then redacted. Only digits and constants
come out, never a piece of the text that was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType

Generalizer = Callable[[str, date], str | None]
"""(value, today) -> what the model may learn of it, or None."""

_YEAR = re.compile(r"(?<![0-9])(1[6-9][0-9]{2}|20[0-9]{2})(?![0-9])", re.ASCII)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
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


def zip_code(_value: str, _today: date) -> str:
    """000 for every ZIP code, until the census' list of populous prefixes is a table here."""
    return "000"


GENERALIZERS: Mapping[str, Generalizer] = MappingProxyType(
    {
        "DATE": year,
        "DATE_TIME": year,
        "DATE_OF_BIRTH": year,
        "AGE": age,
        "ZIP": zip_code,
        "ZIP_CODE": zip_code,
        "US_ZIP_CODE": zip_code,
    }
)
