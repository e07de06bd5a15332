"""Deadlines of a breach notification, counted from its discovery (45 CFR 164.404-408, GDPR 33-34).

Dates are calendar arithmetic, not advice: other laws, contracts and authorities may ask for less.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

HIPAA_DAYS = 60
GDPR_HOURS = 72


@dataclass(frozen=True, slots=True)
class Deadline:
    """Who is told by when at the latest, and which clause says so."""

    whom: str
    latest: str
    clause: str
    words: str


def deadlines(discovered: datetime) -> tuple[Deadline, ...]:
    """The latest moments, in UTC. ``discovered`` carries a time zone."""
    known = discovered.astimezone(UTC)
    day = (known.date() + timedelta(days=HIPAA_DAYS)).isoformat()
    # Fewer than 500: within 60 days after the end of the calendar year of the discovery.
    yearly = (date(known.year, 12, 31) + timedelta(days=HIPAA_DAYS)).isoformat()
    hours = (known + timedelta(hours=GDPR_HOURS)).strftime("%Y-%m-%d %H:%M UTC")
    promptly = "without unreasonable delay; this date is the outer limit, not the aim"
    return (
        Deadline("supervisory authority", hours, "GDPR 33(1)",
                 "where feasible, unless a risk to people is unlikely; a delay is explained"),
        Deadline("data subjects", "without undue delay", "GDPR 34(1)",
                 "where a high risk to people is likely; no number of hours is set"),
        Deadline("controller (if you process for one)", "without undue delay", "GDPR 33(2)",
                 "no number of hours is set; the contract may set one"),
        Deadline("individuals", day, "45 CFR 164.404(b)", promptly),
        Deadline("media, where more than 500 residents of a State are affected", day,
                 "45 CFR 164.406(b)", promptly),
        Deadline("Secretary of HHS, for 500 individuals or more", day, "45 CFR 164.408(b)",
                 "at the same time as the individuals"),
        Deadline("Secretary of HHS, for fewer than 500", yearly, "45 CFR 164.408(c)",
                 "at most 60 days after the end of the year of the discovery"),
    )  # fmt: skip
