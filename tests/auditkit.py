"""A home with a ledger for the tests of ``audit/``: real files, a clock that is set by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from audit.keys import generate_auditor, load_private
from audit.ledger import Appended, Ledger, Options, init_home
from audit.record import Entry

START = datetime(2026, 3, 1, 9, 30, 15, tzinfo=UTC)


@dataclass
class HandClock:
    """A clock that stands still until the test moves it."""

    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **by: float) -> None:
        self.moment += timedelta(**by)


def seeded(seed: int) -> Callable[[int], bytes]:
    """Reproducible bytes in the place of the system's randomness."""
    return random.Random(seed).randbytes  # noqa: S311 - reproducible on purpose


@dataclass
class Home:
    """A gateway's home, and what lies outside it: the auditor's private key."""

    path: Path
    private: X25519PrivateKey
    clock: HandClock = field(default_factory=HandClock)

    @contextmanager
    def ledger(self, options: Options | None = None) -> Iterator[Ledger]:
        ledger = Ledger.open(self.path, clock=self.clock, options=options)
        try:
            yield ledger
        finally:
            ledger.close()

    def fill(self, count: int, options: Options | None = None) -> list[Appended]:
        """Append ``count`` requests (an intent and an outcome each) in a process' lifetime."""
        with self.ledger(options) as ledger:
            boot = ledger.submit(Entry("boot")).result()
            return [boot, *append_requests(ledger, count)]


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: for tests that are not about the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    where = memory if os.access(memory, os.W_OK) else None
    with TemporaryDirectory(dir=where, prefix="audit-") as folder:
        yield Path(folder)


def make_home(folder: Path, *, demo: bool = False) -> Home:
    auditor, pem = generate_auditor("auditor")
    init_home(folder, [auditor], demo=demo)
    return Home(folder, load_private(pem))


def rid(number: int) -> str:
    return f"{number:032x}"


def intent(number: int, **changes: object) -> Entry:
    fields: dict[str, object] = {
        "event": "intent",
        "receipt_id": rid(number),
        "features": {"role": "clinician", "purpose": "treatment", "entities": {"PERSON": "1"}},
        "sealed": {"principal": "ward-7", "matter": None, "findings": [["PERSON", 0.93]]},
        "texts": {"prompt": f"<PERSON_1> was seen, visit {number}."},
        "values": {"PERSON_1": {"<PERSON_1>": f"Zebulon Quark {number}"}},
    }
    return Entry(**(fields | changes))  # type: ignore[arg-type]


def outcome(number: int) -> Entry:
    return Entry(
        "outcome",
        rid(number),
        {"status": 200, "finish": "stop"},
        {"tokens": [12, 7]},
        {"answer": f"Seen, visit {number}."},
    )


def append_requests(ledger: Ledger, count: int) -> list[Appended]:
    waiting = []
    for number in range(count):
        waiting += [ledger.submit(intent(number)), ledger.submit(outcome(number))]
    return [future.result() for future in waiting]


def planted_forms(value: str) -> Sequence[bytes]:
    """The forms in which promise 2 looks for a planted value."""
    import base64  # noqa: PLC0415 - only leak tests need these
    import json  # noqa: PLC0415
    from urllib.parse import quote  # noqa: PLC0415

    raw = value.encode()
    forms = [raw, value.encode("utf-16-le"), value.encode("utf-16-be"), quote(value).encode()]
    forms.append(json.dumps(value)[1:-1].encode())
    forms += [base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)]
    return [form for form in forms if len(form) > 5]
