"""Entries on their way into a transaction: numbered, sealed, and with their rows of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from audit.blind import BlindIndex
from audit.record import Entry, deadline_minute, expiry_month, minute
from audit.seal import Batch, Position, Sealed, Sealer

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Unindex:
    """Rows of the blind index that go in the transaction of a record: by token, by month."""

    tokens: Sequence[bytes] = field(repr=False, default=())
    before: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody waits for. ``future`` is None where nobody does."""

    entry: Entry
    future: Future[Any] | None = None
    unindex: Unindex | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sealed entry. ``found_by``: token and day of its rows in the blind index."""

    wanted: Wanted
    position: Position
    sealed: Sealed
    found_by: tuple[tuple[bytes, str], ...] = field(repr=False, default=())

    @property
    def event(self) -> str:
        return self.wanted.entry.event

    @property
    def rid(self) -> str | None:
        return self.wanted.entry.receipt_id


class _Moment:
    """One reading of the clock, in the forms that records show, for all that is sealed at once."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._months: dict[int, str] = {}

    @cached_property
    def minute(self) -> str:
        return minute(self.now)

    @cached_property
    def exact(self) -> str:
        return self.now.astimezone(UTC).isoformat(timespec="milliseconds")

    def month(self, months: int) -> str:
        found = self._months.get(months)
        if found is None:
            found = self._months[months] = expiry_month(self.now, months)
        return found


class Preparer:
    """Numbers and seals. For one thread."""

    def __init__(self, origin: str, sealer: Sealer, clock: Clock, index: BlindIndex | None) -> None:
        self._origin, self._sealer, self._clock, self._index = origin, sealer, clock, index
        self._seq = 0

    def prepare(self, wanted: Iterable[Wanted], failed: Callable[[Wanted], None]) -> list[Prepared]:
        """Seal what is appended together. ``failed`` is told what could not be: it goes alone."""
        wanted = list(wanted)
        try:
            moment = _Moment(self._clock())
        except Exception:  # noqa: BLE001 - a clock that fails is told to who waits, too
            for one in wanted:
                failed(one)
            return []
        prepared: list[Prepared] = []
        batch: Batch | None = None
        for one in wanted:
            try:
                batch = batch or self._sealer.begin()
                prepared += self._prepare(one, batch, moment)
            except Exception:  # noqa: BLE001 - what was to be sealed must not show in an error
                self.forget_index()
                failed(one)
        return prepared

    def forget_owners(self) -> None:
        """Keys of owners were destroyed: none that is remembered may be used any more."""
        self._sealer.ring.forget()

    def forget_index(self) -> None:
        """The record of the index' key may not be durable: the next entry draws another."""
        if self._index is not None:
            self._index.lost()

    def _prepare(self, wanted: Wanted, batch: Batch, moment: _Moment) -> list[Prepared]:
        """The entry, behind the record of the index' key where one is due."""
        key = self._index.due(wanted.entry, moment.now) if self._index else None
        first = [] if key is None else [self._one(Wanted(key), batch, moment)]
        return [*first, self._one(wanted, batch, moment)]

    def _one(self, wanted: Wanted, batch: Batch, moment: _Moment) -> Prepared:
        self._seq += 1
        entry = wanted.entry
        position = Position(
            origin=self._origin,
            boot=self._sealer.boot,
            seq=self._seq,
            minute=moment.minute,
            expires=moment.month(entry.retain_months),
            at=moment.exact,
            deadline=None if entry.deadline is None else deadline_minute(entry.deadline),
            floor=moment.month(entry.floor_months) if entry.floor_months else None,
        )
        found_by = self._index.rows(entry) if self._index else ()
        return Prepared(wanted, position, batch.seal(entry, position), found_by)
