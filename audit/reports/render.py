"""One self-contained HTML file: templates of this package, every value escaped, nothing remote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.reports.breach import Deadline
from audit.reports.facts import Facts, Period
from audit.reports.gaps import Watcher
from audit.reports.plots import COLOURS, MOST_COLUMNS, Columns, bars, columns
from audit.verify import Code, OpenIntent, Report


class Kind(StrEnum):
    ACTIVITY = "activity"
    ACCESS = "access"
    BREACH = "breach"
    ROPA = "ropa"
    DPIA = "dpia"
    GAPS = "gaps"


TITLES: Mapping[Kind, str] = {
    Kind.ACTIVITY: "Activity",
    Kind.ACCESS: "Access",
    Kind.BREACH: "Facts for a breach notification",
    Kind.ROPA: "Draft record of processing",
    Kind.DPIA: "Facts for an impact assessment",
    Kind.GAPS: "Gaps",
}
_DAY, _MONTH = 10, 7


def render(  # noqa: PLR0913 - what one page is made of
    kind: Kind,
    *,
    facts: Facts,
    verdict: Report,
    watcher: Watcher,
    made: str,
    deadlines: Iterable[Deadline] = (),
    discovered: str | None = None,
) -> str:
    """The page as text. ``made``: the minute it is made, UTC."""
    return (
        environment()
        .get_template(f"{kind}.html.j2")
        .render(
            title=TITLES[kind],
            facts=facts,
            verdict=verdict,
            anchor=anchor(verdict),
            sound=verdict.code in (Code.ANCHORED, Code.UNANCHORED),
            period=words(facts.period),
            watcher=watcher,
            made=made,
            deadlines=list(deadlines),
            discovered=discovered,
            css=_static("report.css"),
            over_time=over_time(facts.by_day),
            energy_over_time=energy_over_time(facts.energy_by_day),
            total_energy=energy(facts.millijoules),
        )
    )


@cache
def environment() -> Environment:
    """Templates with autoescaping on for every one of them, and no undefined name."""
    made = Environment(
        loader=PackageLoader("audit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(bars=bars, columns=columns, ranked=ranked, intent_rows=intent_rows)
    made.filters["number"] = lambda value: f"{value:,}"
    return made


def _static(name: str) -> Markup:
    """A style sheet of ours: no value of a log is ever in it."""
    loader = PackageLoader("audit.reports")
    return Markup(loader.get_source(Environment(autoescape=True), name)[0])  # noqa: S704 - ours


def ranked(counter: Counter[str]) -> list[tuple[str, int]]:
    """By count, then by name."""
    return sorted(counter.items(), key=lambda each: (-each[1], each[0]))


def intent_rows(intents: Iterable[OpenIntent]) -> list[tuple[object, ...]]:
    return [(each.index, each.minute, each.rid, each.reason) for each in intents]


def words(period: Period) -> str:
    if period.start is None and period.end is None:
        return "all records"
    if period.end is None:
        return f"from {period.start}"
    if period.start is None:
        return f"before {period.end}"
    return f"{period.start} to before {period.end}"


def anchor(verdict: Report) -> str:
    """The checkpoint that the report stands on, in a few words for every page's head."""
    if verdict.code not in (Code.ANCHORED, Code.UNANCHORED):
        return f"NOT VERIFIED: {verdict.code.name.lower()}"
    state = (
        f"first {verdict.anchored} records anchored to a kept checkpoint"
        if verdict.code is Code.ANCHORED
        else "UNANCHORED"
    )
    return f"checkpoint of {verdict.covered} records, root {verdict.root[:16] or '-'}, {state}"


def over_time(by_day: Counter[tuple[str, str]]) -> Columns:
    """Requests by purpose, a column for each day, or for each month where days are too many."""
    names = Counter[str]()
    for (_, name), count in by_day.items():
        names[name] += count
    listed = [name for name, _ in ranked(names)]
    kept = listed if len(listed) <= len(COLOURS) else [*listed[: len(COLOURS) - 1], "all others"]
    times, cut, unit = _times({day for day, _ in by_day})
    found = Counter[tuple[str, str]]()
    for (day, name), count in by_day.items():
        found[day[:cut], name if name in kept else "all others"] += count
    return Columns(times, {name: [found[time, name] for time in times] for name in kept}, unit)


def energy_over_time(by_day: Counter[str]) -> Columns:
    """Joules, a column for each day or month."""
    times, cut, unit = _times(set(by_day))
    found = Counter[str]()
    for day, count in by_day.items():
        found[day[:cut]] += count
    return Columns(times, {"joules": [round(found[time] / 1000) for time in times]}, unit)


def _times(days: set[str]) -> tuple[list[str], int, str]:
    """The columns' times, those without a record included, how a day is cut to one, the unit."""
    try:
        ends = [date.fromisoformat(day).toordinal() for day in (min(days), max(days))]
    except ValueError:  # no day at all, or one that no calendar has
        return sorted({day[:_MONTH] for day in days}), _MONTH, "month"
    if ends[1] - ends[0] < MOST_COLUMNS:
        return [date.fromordinal(at).isoformat() for at in range(ends[0], ends[1] + 1)], _DAY, "day"
    first, last = (date.fromordinal(at).year * 12 + date.fromordinal(at).month - 1 for at in ends)
    if last - first >= MOST_COLUMNS * 4:
        return sorted({day[:_MONTH] for day in days}), _MONTH, "month with requests"
    months = [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(first, last + 1)]
    return months, _MONTH, "month"


def energy(millijoules: int) -> str:
    """In the unit that reads best."""
    joules = millijoules / 1000
    if joules >= 3600:  # noqa: PLR2004 - a watt hour
        return f"{joules / 3600:,.1f} Wh"
    return f"{joules:,.1f} J"
