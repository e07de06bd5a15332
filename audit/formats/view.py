"""A record as an export shows it, and which records an export takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from audit.errors import RecordError
from audit.record import Header
from audit.seal import Opened

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z?")


@dataclass(frozen=True, slots=True)
class View:
    """One record: its place, what is readable, and what was opened, if anything was.

    ``unreadable`` says why nothing was opened although a key was given.
    """

    index: int
    header: Header
    opened: Opened | None = field(repr=False, default=None)
    unreadable: str | None = None

    def principal(self) -> str:
        value = self.opened.sealed.get("principal") if self.opened else None
        return value if isinstance(value, str) else ""

    def subject(self) -> str:
        value = self.opened.text.get("subject") if self.opened else None
        return value if isinstance(value, str) else ""

    def feature(self, name: str) -> str:
        """A readable feature as text, empty where the record has none."""
        value = self.header.features.get(name)
        return "" if value is None else str(value)

    def mapping(self, name: str) -> Mapping[str, object]:
        value = self.header.features.get(name)
        return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are wanted; both minutes are part of the span. Nothing set takes all."""

    since: str | None = None
    until: str | None = None
    event: str | None = None
    principal: str | None = field(repr=False, default=None)
    subject: str | None = field(repr=False, default=None)

    @property
    def needs_key(self) -> bool:
        return self.principal is not None or self.subject is not None

    def readable(self) -> dict[str, str]:
        """What is asked for of the readable part, as a manifest tells it."""
        asked = {"from": self.since, "to": self.until, "event": self.event}
        return {name: value for name, value in asked.items() if value is not None}

    def takes_header(self, header: Header) -> bool:
        return (
            (self.since is None or header.minute >= self.since)
            and (self.until is None or header.minute <= self.until)
            and (self.event is None or header.event == self.event)
        )

    def takes(self, view: View) -> bool:
        """Also by what is sealed: a record that could not be opened is nobody's."""
        return (self.principal is None or view.principal() == self.principal) and (
            self.subject is None or view.subject() == self.subject
        )


def moment(text: str, *, last: bool) -> str:
    """A date or minute in UTC as the minute of a record; a date is its first or ``last`` one.

    Raises:
        RecordError: it is neither.
    """
    try:
        if _DATE.fullmatch(text):
            datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
            return f"{text}T23:59Z" if last else f"{text}T00:00Z"
        if _MINUTE.fullmatch(text):
            datetime.strptime(text.rstrip("Z"), "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
            return text.rstrip("Z") + "Z"
    except ValueError:
        pass
    raise RecordError("a time is a date or a minute in UTC: 2026-03-01 or 2026-03-01T09:30Z")
