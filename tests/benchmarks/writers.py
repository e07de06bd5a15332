"""A process that writes to a ledger as the gateway does: 64 writers on one event loop.

    python -m tests.benchmarks.writers HOME --seconds 4      one round
    python -m tests.benchmarks.writers HOME --records 100000 until there are so many

Each writer waits until its record is durable before it makes the next. A request is an intent with
a prompt and an outcome with an answer, 1 KB of text each, about one of a thousand subjects. Prints
one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from audit.landing import Landing
from audit.ledger import Ledger, Options
from audit.record import Entry
from gateway.app import _KEYS_AHEAD
from gateway.clock import utc_now
from gateway.serving import _GC_THRESHOLD

WRITERS = 64
TEXT = 1000
SUBJECTS = 1000
OPTIONS = Options(checkpoint_seconds=60, reserve=_KEYS_AHEAD, index=True)
"""The gateway's own, as its settings are by default."""


def intent(rid: str, number: int, text: str, groups: int) -> Entry:
    """What the recorder hands over for a prompt with ``groups`` data subjects in its text."""
    return Entry(
        "intent",
        rid,
        {
            "role": "clinician",
            "purpose": "treatment",
            "decision": "allowed",
            "entities": {"PERSON": "1", "MEDICAL_RECORD": "1"},
            "scores": {"PERSON": "high", "MEDICAL_RECORD": "high"},
            "rules": ["hipaa/names", "hipaa/record-numbers"],
        },
        {"principal": f"ward-{number % 9}", "matter": None, "findings": [["PERSON", 0.93]]},
        {"prompt.masked": text},
        values={f"PERSON_{n}": {f"<PERSON_{n}>": f"Quark {number}"} for n in range(groups)},
        subject=f"MRN {number % SUBJECTS}",
    )


def outcome(rid: str, number: int, text: str) -> Entry:
    return Entry(
        "outcome",
        rid,
        {"status": 200, "finish": "stop"},
        {"tokens": [212, 180], "seconds": 1.5},
        {"answer.masked": text},
        subject=f"MRN {number % SUBJECTS}",
    )


@dataclass
class Round:
    """What is to be written, and how much was."""

    ledger: Ledger
    groups: int
    until: float
    most: int
    landing: Landing = field(default_factory=Landing)
    written: int = 0
    number: int = 0

    async def writer(self, text: str) -> None:
        while time.perf_counter() < self.until and self.written < self.most:
            self.number += 1
            number, rid = self.number, os.urandom(16).hex()
            await self.put(intent(rid, number, f"{text} {number}", self.groups))
            await self.put(outcome(rid, number, f"{text} {number}"))

    async def put(self, entry: Entry) -> None:
        await self.landing.of(self.ledger.submit(entry))
        self.written += 1

    async def run(self) -> None:
        words = random.Random(1)  # noqa: S311 - text, the same each time
        text = "".join(words.choice("abcdefghijklmnoprstu  ") for _ in range(TEXT))
        await asyncio.gather(*(self.writer(text) for _ in range(WRITERS)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--seconds", type=float, default=10**6)
    parser.add_argument("--records", type=int, default=10**12)
    parser.add_argument("--groups", type=int, default=0)
    asked = parser.parse_args()
    ledger = Ledger.open(asked.home, clock=utc_now, options=OPTIONS)
    gc.freeze()  # as the gateway does once it is up
    gc.set_threshold(_GC_THRESHOLD)
    began, used = time.perf_counter(), time.process_time()
    one = Round(ledger, asked.groups, began + asked.seconds, asked.records)
    asyncio.run(one.run())
    took, used = time.perf_counter() - began, time.process_time() - used
    ledger.close()
    print(json.dumps({"records": one.written, "seconds": took, "processor_s": used}))  # noqa: T201


if __name__ == "__main__":
    main()
