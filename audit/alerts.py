"""Alerts: who asks of many people, is often denied or breaks glass; open intents.

audit-format.md §12.2. An alert is itself a record: ``alert.raised`` names its cause in the open
(``rules``), and the rules of the policies that set its threshold; who it was and how often is
sealed. Counts live in memory, for a day of UTC, under a key that is drawn each day and never
written: principals and subjects stand there as MACs. After a restart counting starts anew.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from audit.errors import AuditError
from audit.ledger import Appended, StoredRecord
from audit.record import Entry, count_bucket
from audit.store import Pending

RAISED = "alert.raised"
_BREAK_GLASS = "break-glass"
_EVERYBODY = "-"


class Log(Protocol):
    """What a ledger does for those who write to it."""

    def submit(self, entry: Entry) -> Future[Appended]: ...

    def publish(self) -> Future[None]: ...

    def find(self, rid: str) -> tuple[StoredRecord, ...]: ...


class Cause(StrEnum):
    """Why an alert was raised: the value stands in ``features.rules``."""

    SUBJECTS = "watch/distinct-subjects"
    DENIALS = "watch/denials"
    BREAK_GLASS = "watch/break-glass"
    OPEN_INTENTS = "watch/open-intents"


@dataclass(frozen=True, slots=True)
class SetBy:
    """A policy's rule that set a threshold: ``policy/rule``, file and line, clause."""

    rule: str
    where: str
    clause: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From how many in a day of one principal (open intents: at once) on; 0 raises none.

    ``by``: the rules that set them, where a policy did.
    """

    subjects: int = 0
    denials: int = 0
    break_glass: int = 0
    open_intents: int = 0
    by: Mapping[Cause, Sequence[SetBy]] = field(default_factory=dict)

    def of(self, cause: Cause) -> int:
        match cause:
            case Cause.SUBJECTS:
                return self.subjects
            case Cause.DENIALS:
                return self.denials
            case Cause.BREAK_GLASS:
                return self.break_glass
            case Cause.OPEN_INTENTS:
                return self.open_intents


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds by role, and ``others`` for records that name none of these (open intents)."""

    others: Thresholds
    roles: Mapping[str, Thresholds] = field(default_factory=dict)

    def of(self, entry: Entry) -> Thresholds:
        return self.roles.get(str(entry.features.get("role")), self.others)


@dataclass(slots=True)
class _Day:
    date: str
    key: bytes = field(repr=False)
    subjects: dict[bytes, set[bytes]] = field(repr=False, default_factory=dict)
    counts: dict[tuple[Cause, bytes], int] = field(repr=False, default_factory=dict)
    raised: set[tuple[Cause, bytes]] = field(repr=False, default_factory=set)

    def tag(self, name: str) -> bytes:
        return hmac.digest(self.key, name.encode("utf-8", "replace"), "sha256")[:16]


class Watched:
    """A ledger that counts what is put on record through it. Thread-safe; adds no waiting."""

    def __init__(
        self,
        log: Log,
        clock: Callable[[], datetime],
        thresholds: Thresholds | Limits,
        retain_months: int = 72,
    ) -> None:
        self._log, self._clock, self._months = log, clock, retain_months
        self._limits = thresholds if isinstance(thresholds, Limits) else Limits(thresholds)
        self._lock = threading.Lock()
        self._day = _Day("", b"")

    def submit(self, entry: Entry) -> Future[Appended]:
        """As the ledger's. An alert that cannot be put on record fails nobody's record."""
        future = self._log.submit(entry)
        for alert in self._count(entry):
            self._raise(alert)
        return future

    def publish(self) -> Future[None]:
        return self._log.publish()

    def find(self, rid: str) -> tuple[StoredRecord, ...]:
        return self._log.find(rid)

    def check_open(self, intents: Sequence[Pending]) -> None:
        """Raise an alert where this many intents have no outcome."""
        limits = self._limits.others
        if not limits.open_intents or len(intents) < limits.open_intents:
            return
        with self._lock:
            alert = self._once(Cause.OPEN_INTENTS, _EVERYBODY, len(intents), limits, None)
        if alert is not None:
            self._raise(alert)

    def _raise(self, alert: Entry) -> None:
        with suppress(AuditError):  # a ledger that takes no record fails readiness already
            self._log.submit(alert)

    def _count(self, entry: Entry) -> list[Entry]:
        principal = entry.sealed.get("principal")
        if not isinstance(principal, str):
            return []
        first = entry.event == "intent" and entry.features.get("attempt", 1) == 1
        denied = first and entry.features.get("decision") == "denied"
        denied = denied or entry.event == "auth.denied"
        with self._lock:
            alerts = [
                self._of_subject(principal, entry) if first else None,
                self._of_event(Cause.DENIALS, principal, entry) if denied else None,
                self._of_event(Cause.BREAK_GLASS, principal, entry)
                if entry.event.startswith(_BREAK_GLASS)
                else None,
            ]
        return [alert for alert in alerts if alert is not None]

    def _of_subject(self, principal: str, entry: Entry) -> Entry | None:
        limits, subject = self._limits.of(entry), entry.subject
        if not limits.subjects or subject is None:
            return None
        day = self._today()
        seen = day.subjects.setdefault(day.tag(principal), set())
        if len(seen) < limits.subjects:  # more need not be remembered: the alert is raised
            seen.add(day.tag(f"subject/{subject}"))
        return self._once(Cause.SUBJECTS, principal, len(seen), limits, entry)

    def _of_event(self, cause: Cause, principal: str, entry: Entry) -> Entry | None:
        day = self._today()
        place = (cause, day.tag(principal))
        day.counts[place] = day.counts.get(place, 0) + 1
        return self._once(cause, principal, day.counts[place], self._limits.of(entry), entry)

    def _once(
        self, cause: Cause, principal: str, count: int, limits: Thresholds, entry: Entry | None
    ) -> Entry | None:
        """The alert, the first time that the threshold is reached on this day."""
        day = self._today()
        place, limit, by = (cause, day.tag(principal)), limits.of(cause), limits.by.get(cause, ())
        if not limit or count < limit or place in day.raised:
            return None
        day.raised.add(place)
        role = entry.features.get("role") if entry is not None else None
        features: dict[str, object] = {
            "rules": [str(cause), *(each.rule for each in by)],
            "count": count_bucket(count),
        }
        if role is not None:
            features["role"] = role
        who = None if principal == _EVERYBODY else principal
        sealed: dict[str, object] = {
            "principal": who,
            "day": day.date,
            "count": count,
            "threshold": limit,
        }
        if by:
            sealed["set_by"] = [asdict(each) for each in by]
        return Entry(RAISED, features=features, sealed=sealed, retain_months=self._months)

    def _today(self) -> _Day:
        date = self._clock().date().isoformat()
        if self._day.date != date:
            self._day = _Day(date, os.urandom(32))
        return self._day
