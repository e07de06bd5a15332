"""A real ledger behind the auditor's addresses, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import VerifyingKey
from audit.ledger import Ledger
from audit.record import Entry, Record, parse
from audit.seal import Opened, open_entry
from audit.store import Row
from gateway.api.auditor.desk import Desk
from tests import echo
from tests.auditkit import Home, append_requests
from tests.fakes import House


@dataclass
class Office:
    """``house`` serves ``ledger``, which has a boot record and ``requests`` requests, unsigned."""

    house: House
    home: Home
    ledger: Ledger
    desk: Desk

    def rows(self) -> list[Row]:
        with self.ledger.reading() as reader:
            return list(reader.rows())

    def records(self) -> list[Record]:
        return [parse(row.body) for row in self.rows()]

    def opened(self, record: Record) -> Opened:
        return open_entry(record, key=self.ledger.keys.key, private=self.home.private)

    def vkey(self) -> VerifyingKey:
        with self.ledger.reading() as reader:
            return VerifyingKey.parse(reader.fact("vkey").decode())

    def sign(self) -> None:
        self.ledger.publish().result()


@contextmanager
def office(folder: Path, *, requests: int = 5) -> Iterator[Office]:
    numbers = itertools.count(1)
    with echo.ward(folder / "ward") as ward:
        ward.ledger.submit(Entry("boot", features={"version": "1.0.0"})).result()
        append_requests(ward.ledger, requests)
        record = ward.pipeline._record
        desk = Desk(ward.ledger, record, lambda: f"{next(numbers):08x}" + 24 * "e")
        house = House(folder / "keys.json", pipeline=ward.pipeline, desk=desk)
        try:
            yield Office(house, ward.home, ward.ledger, desk)
        finally:
            desk.close()
