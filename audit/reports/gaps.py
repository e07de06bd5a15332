"""What is not there: open intents, holes in numbering, stretches without checkpoint or boot.

Sees each record once, in order. Memory grows with open intents and starts, not with records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from audit.record import Header

MOST_PLACES = 200
SILENCE = timedelta(hours=24)
CHECKPOINT_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is missing: a record's index, its minute, and what was seen, in words."""

    index: int
    minute: str
    words: str


@dataclass(slots=True)
class Kind:
    """One kind of gap, how often, and its first ``MOST_PLACES`` places."""

    count: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, index: int, minute: str, words: str) -> None:
        self.count += 1
        if len(self.places) < MOST_PLACES:
            self.places.append(Place(index, minute, words))


@dataclass(slots=True)
class _Process:
    last: int
    started: bool
    told: bool = False


@dataclass(slots=True)
class Watcher:
    """Walks along. ``heads``: the sizes of the log's checkpoints, growing."""

    heads: Sequence[int] = ()
    anchored: int = 0
    records: int = 0
    sequence: Kind = field(default_factory=Kind)
    unstarted: Kind = field(default_factory=Kind)
    silence: Kind = field(default_factory=Kind)
    backwards: Kind = field(default_factory=Kind)
    failures: Kind = field(default_factory=Kind)
    unsigned: Kind = field(default_factory=Kind)
    _processes: dict[str, _Process] = field(default_factory=dict)
    _last: str = ""
    _next_head: int = 0
    _stretch: tuple[int, str] | None = None

    def see(self, index: int, header: Header) -> None:
        """Take the next record of the log."""
        self._numbering(index, header)
        self._times(index, header)
        self._checkpoints(index, header)
        if header.event in ("auth.failures", "auth.denied"):
            count = header.features.get("count", "1")
            known = count if count in ("0", "1", "2-4", "5+") else "?"
            self.failures.add(index, header.minute, f"{header.event}, count {known}")
        self.records = index + 1
        self._last = max(self._last, header.minute)

    def _numbering(self, index: int, header: Header) -> None:
        process = self._processes.get(header.boot)
        if process is None:
            process = _Process(0, started=header.event == "boot")
            self._processes[header.boot] = process
        missing = header.seq - process.last - 1
        if missing > 0:
            words = f"{missing} missing before number {header.seq} of process {header.boot[:8]}"
            self.sequence.add(index, header.minute, words)
        process.last = header.seq
        if header.event == "intent" and not process.started and not process.told:
            process.told = True
            words = f"process {header.boot[:8]} served requests, its start is not on record"
            self.unstarted.add(index, header.minute, words)

    def _times(self, index: int, header: Header) -> None:
        if not self._last:
            return
        passed = _moment(header.minute) - _moment(self._last)
        if passed >= SILENCE:
            self.silence.add(index, header.minute, f"no record since {self._last}")
        elif passed < timedelta(0):
            self.backwards.add(index, header.minute, f"after a record of {self._last}")

    def _checkpoints(self, index: int, header: Header) -> None:
        while self._next_head < len(self.heads) and self.heads[self._next_head] <= index:
            self._next_head += 1
            self._stretch = None
        if self._stretch is None:
            self._stretch = (index, header.minute)
        start, since = self._stretch
        ends = self._next_head >= len(self.heads) or self.heads[self._next_head] == index + 1
        if ends and _moment(header.minute) - _moment(since) >= CHECKPOINT_WAIT:
            self.unsigned.add(index, header.minute, f"records {start} to {index}, from {since}")

    @property
    def uncovered(self) -> int:
        """Records behind the newest checkpoint."""
        return self.records - (self.heads[-1] if self.heads else 0)

    @property
    def unanchored(self) -> int:
        """Records that no checkpoint vouches for which the auditor kept."""
        return self.records - self.anchored


def _moment(minute: str) -> datetime:
    """The shape is checked when a record is read; the day may still not exist (31 February)."""
    try:
        return datetime.fromisoformat(minute)
    except ValueError:
        return datetime.fromisoformat("0001-01-01T00:00+00:00")
