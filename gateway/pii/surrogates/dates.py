"""Dates: read, shifted, and written again in the form they had.

One offset for a conversation, in whole weeks, so that weekdays beside dates stay true; four weeks
at least, so that months move too, 52 at most. Shifting dates is no method of Safe Harbor: it needs
the determination of an expert (45 CFR 164.514(b)(1)), who must know that there are only 98 offsets.

A full date moves by days; a day of a month without a year moves in a year of 365 days; a month
moves by whole months. What is not read here (ranges, quarters, holidays, days and months in figures
without a year) has no surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple

import regex

from gateway.pii.surrogates.draw import Draw

MIN_WEEKS, MAX_WEEKS = 4, 52
LONGEST = 48
"""Characters that a date may have."""

_MONTHS = {
    "en": "january february march april may june july august september october november december",
    "en3": "jan feb mar apr may jun jul aug sep oct nov dec",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "fr": "janvier f\u00e9vrier mars avril mai juin juillet ao\u00fbt septembre octobre novembre "
    "d\u00e9cembre",
    "de": "januar februar m\u00e4rz april mai juni juli august september oktober november dezember",
    "es3": "ene feb mar abr may jun jul ago sep oct nov dic",
    "en4": "jan feb mar apr may june july aug sept oct nov dec",
    "fr4": "janv f\u00e9vr mars avr mai juin juil ao\u00fbt sept oct nov d\u00e9c",
    "de3": "jan feb m\u00e4r apr mai jun jul aug sep okt nov dez",
}
_NAMES = {row: names.split() for row, names in _MONTHS.items()}
_ANY_MONTH = "|".join(sorted({n for names in _NAMES.values() for n in names}, key=len)[::-1])
_WEEKDAYS = (
    "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri "
    "sat sun montag dienstag mittwoch donnerstag freitag samstag sonntag mo di mi do fr sa so "
    "lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes mi\u00e9rcoles jueves "
    "viernes s\u00e1bado domingo"
).replace(" ", "|")

_DAY, _YEAR = r"(?P<d>[0-3]?[0-9])", r"(?P<y>[12][0-9]{3})"
_ORDINAL = r"(?P<o>st|nd|rd|th|er)?"
_NAME = rf"(?P<m>{_ANY_MONTH})"
_BEFORE = r"(?P<range>[0-3]?[0-9](?:st|nd|rd|th|\.)? ?(?:-|\u2013|to|bis|au|al) ?)?"
_AFTER = r"(?P<range> ?[-\u2013] ?[0-3]?[0-9](?:st|nd|rd|th)?)?"
_CORE = "|".join(
    [
        (
            rf"{_BEFORE}{_DAY}{_ORDINAL}\.?(?: of | de |[ -]|/)?{_NAME}\.?"
            rf"(?:,? (?:de |del )?{_YEAR}|[-/](?P<y>[12][0-9]{{3}}|[0-9]{{2}}))?"
        ),
        rf"{_NAME}\.? {_DAY}{_ORDINAL}{_AFTER}(?:,? {_YEAR})?",
        rf"{_NAME}\.?,? (?:de |del |of )?{_YEAR}",
        rf"{_YEAR}(?P<s>[-/.])(?P<n>[01]?[0-9])(?P=s){_DAY}",
        r"(?P<a>[0-3]?[0-9])(?P<s>[-/.])(?P<b>[0-3]?[0-9])(?P=s)(?P<y>[12][0-9]{3}|[0-9]{2})",
    ]
)
_CLOCK = r"[0-2]?[0-9][:.h][0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
DATE = regex.compile(_CORE, regex.IGNORECASE | regex.POSIX)
"""A date more exact than a year, without weekday and time. Leftmost and longest."""

_WHOLE = regex.compile(
    rf"(?:(?:{_WEEKDAYS})\b[.,]{{0,2}} ?)?(?P<core>{_CORE})"
    rf"(?:(?:,? (?:at |um |a las |\u00e0 )?|T){_CLOCK}"
    r"(?: ?[ap]\.?m\.?| Uhr)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    regex.IGNORECASE | regex.POSIX,
)
_PIVOT = 40  # years of two digits up to here are of this century
_MONTH_DAYS = 30.44
_NO_LEAP = 2001


class Day(NamedTuple):
    """A date as far as a text tells it. Without a year or without a day, never without both."""

    year: int | None
    month: int
    day: int | None


@dataclass(frozen=True, slots=True)
class Read:
    """A date in a text: what it says, and where its parts stand."""

    text: str = field(repr=False)
    day: Day = field(repr=False)
    spans: tuple[tuple[str, int, int], ...]
    row: str | None

    def write(self, day: Day) -> str:
        """Another date in the same form."""
        out, position = [], 0
        for part, start, end in self.spans:
            out += [self.text[position:start], self._part(part, self.text[start:end], day)]
            position = end
        return "".join(out) + self.text[position:]

    def _part(self, part: str, was: str, day: Day) -> str:
        if part == "o":
            return _ordinal(day.day or 1) if was.lower() != "er" else was
        if part == "m" and self.row is not None:
            name = _NAMES[self.row][day.month - 1]
            return name.upper() if was.isupper() else name.title() if was[0].isupper() else name
        number = {"y": day.year, "month": day.month, "day": day.day}[part] or 0
        if part == "y":
            return f"{number % 100:02}" if len(was) == 2 else f"{number:04}"  # noqa: PLR2004
        return f"{number:02}" if was[0] == "0" or (len(was) == 2 and self.padded) else str(number)  # noqa: PLR2004

    @property
    def padded(self) -> bool:
        """Whether numbers under ten have a zero in front."""
        parts = [self.text[a:b] for part, a, b in self.spans if part in ("day", "month")]
        told = any(part[0] == "0" for part in parts)
        return told or (self.row is None and all(len(part) > 1 for part in parts))


class Shift:
    """The offset of one conversation."""

    def __init__(self, draw: Draw) -> None:
        weeks = MIN_WEEKS + draw.number("weeks") % (MAX_WEEKS - MIN_WEEKS + 1)
        self.days = 7 * weeks * (1 if draw.number("direction") % 2 else -1)
        self.months = round(self.days / _MONTH_DAYS)

    def shifted(self, value: str, *, day_first: bool) -> str | None:
        """The value on another day, in its form; None where it is not read."""
        whole = _WHOLE.fullmatch(value)
        core = whole["core"] if whole else None
        if whole is None or core is None:
            return None
        read = parse(core, day_first=day_first)
        if read is None:
            return None
        moved = self._moved(read.day)
        if moved is None:
            return None
        text = read.write(moved)
        again = parse(text, day_first=day_first)
        if again is None or again.day != moved:
            return None
        return value[: whole.start("core")] + text + value[whole.end("core") :]

    def _moved(self, day: Day) -> Day | None:
        try:
            if day.day is None and day.year is not None:
                months = day.year * 12 + day.month - 1 + self.months
                return Day(months // 12, months % 12 + 1, None)
            if day.year is None:
                first = date(_NO_LEAP, 1, 1)
                at = (date(_NO_LEAP, day.month, day.day or 1) - first).days
                moved = first + timedelta((at + self.days) % 365)
                return Day(None, moved.month, moved.day)
            moved = date(day.year, day.month, day.day or 1) + timedelta(self.days)
        except (ValueError, OverflowError):
            return None
        return Day(moved.year, moved.month, moved.day)


def core_of(value: str) -> tuple[int, int] | None:
    """Where in a value that was shifted the date stands, without its weekday and its time."""
    whole = _WHOLE.fullmatch(value)
    return None if whole is None else whole.span("core")


def parse(text: str, *, day_first: bool) -> Read | None:
    """Read a date that is all of ``text``; None for a range or where there is no such day."""
    match = DATE.fullmatch(text)
    if match is None or match["range"]:
        return None
    spans, row, names = [], None, {}
    for group, part in (("y", "y"), ("d", "day"), ("n", "month"), ("m", "m"), ("o", "o")):
        if match[group]:
            spans.append((part, *match.span(group)))
            names[part] = match[group]
    if match["a"]:
        first, second = ("day", "month") if _day_first(match, day_first) else ("month", "day")
        spans += [(first, *match.span("a")), (second, *match.span("b"))]
        names |= {first: match["a"], second: match["b"]}
    month = int(names.get("month", 0))
    if "m" in names:
        row = _row(names["m"].lower(), text)
        month = _NAMES[row].index(names["m"].lower()) + 1
    day = int(names["day"]) if "day" in names else None
    year = _full_year(names["y"]) if "y" in names else None
    try:
        date(year or 2000, month, day or 1)
    except ValueError:
        return None
    if day is None and year is None:
        return None
    return Read(text, Day(year, month, day), tuple(sorted(spans, key=lambda s: s[1])), row)


def ambiguous(text: str) -> bool | None:
    """Whether the day stands first: True or False where only one is possible, else None."""
    match = DATE.fullmatch(text)
    if match is None or not match["a"]:
        return None
    if int(match["a"]) > 12:  # noqa: PLR2004
        return True
    return False if int(match["b"]) > 12 else None  # noqa: PLR2004


def _day_first(match: regex.Match[str], preferred: bool) -> bool:
    first, second = int(match["a"]), int(match["b"])
    if first > 12 or second > 12:  # noqa: PLR2004
        return first > 12  # noqa: PLR2004
    return preferred or match["s"] == "."


def _row(name: str, text: str) -> str:
    """The language of a month's name; of several the one that the rest of the date speaks."""
    rows = [row for row, names in _NAMES.items() if name in names]
    wanted = "es" if " de " in text else "de" if regex.match(r"[0-9]+\.", text) else rows[0][:2]
    return next((row for row in rows if row.startswith(wanted)), rows[0])


def _full_year(text: str) -> int:
    year = int(text)
    if len(text) > 2:  # noqa: PLR2004
        return year
    return year + (2000 if year <= _PIVOT else 1900)


def _ordinal(day: int) -> str:
    if 10 < day % 100 < 14:  # noqa: PLR2004
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
