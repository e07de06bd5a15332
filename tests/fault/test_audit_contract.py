"""The writer's contract (audit-format.md §8) under schedules: who waits, who leaves, what fails.

Every caller is told exactly once, positions have no gap, and what was acknowledged is on record.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.blind import SUBJECT
from audit.errors import LedgerError, MissingError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.landing import Landing
from audit.ledger import Options
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.subjects import look_up
from audit.verify import Code, verify
from tests.auditkit import intent, make_home, quick_folder

ROOT = Path(__file__).parents[2]
QUIET = Options(checkpoint_records=10_000, checkpoint_seconds=3600)
BAD = {"principal": ValueError("not to be sealed")}


@pytest.fixture
def home():
    with quick_folder() as folder:
        yield make_home(folder / "home")


class Stopped:
    """The writer cannot go on while this holds: another transaction is open on its database."""

    def __init__(self, ledger):
        self._store = ledger._store

    def __enter__(self):
        from audit.store import LedgerStore  # noqa: PLC0415 - a second process' worth of it

        self._other = LedgerStore(self._path())
        self._writing = self._other.writing()
        self._writing.__enter__()
        return self

    def _path(self):
        return Path(self._store._write.url.database)

    def __exit__(self, *_):
        self._writing.__exit__(None, None, None)
        self._other.close()


def report(home):
    with open_evidence(home.path) as evidence:
        return verify(evidence)


def told(future):
    """What a caller was told: an index, or None for an error of the ledger."""
    try:
        return future.result(timeout=30).index
    except LedgerError:
        return None


def test_a_full_queue_refuses_and_loses_nothing(home):
    """Beyond its bound each submit fails at once; all that got in is on record; room comes back."""
    with home.ledger(Options(queue=50, batch=8)) as ledger:
        with Stopped(ledger):
            waiting, refused = [], 0
            for number in range(80):
                try:
                    waiting.append(ledger.submit(intent(number)))
                except LedgerError:
                    refused += 1
            assert (len(waiting), refused) == (50, 30)
            with pytest.raises(LedgerError):
                ledger.publish()
        assert sorted(map(told, waiting)) == list(range(50))
        again = [ledger.submit(intent(number)) for number in range(50)]
        assert sorted(map(told, again)) == list(range(50, 100))


def test_thousands_that_leave_are_on_record_and_free_their_places(home):
    """Who cancels is written all the same, and takes no room in the queue for ever."""
    indices = []
    with home.ledger(Options(queue=600)) as ledger:
        for _ in range(5):
            with Stopped(ledger):
                for number in range(599):
                    future = ledger.submit(Entry("outcome", f"{number:032x}"))
                    assert future.cancel()
                stays = ledger.submit(Entry("boot"))
            indices.append(told(stays))
        assert indices == [599, 1199, 1799, 2399, 2999]
    assert report(home).covered == 3000


def test_an_entry_that_cannot_be_sealed_in_the_middle_of_a_batch(home):
    """It fails alone, wherever it stands, and the index finds all others under a key on record."""
    with home.ledger(Options(index=True, batch=64)) as ledger:
        with Stopped(ledger):
            first = ledger.submit(intent(0, subject="MRN 1"))
            futures = [
                ledger.submit(intent(n, subject="MRN 1", **({"sealed": BAD} if n % 3 == 1 else {})))
                for n in range(1, 40)
            ]
        found = [told(future) for future in (first, *futures)]
        assert [n for n, index in enumerate(found) if index is None] == list(range(1, 40, 3))
        written = {index for index in found if index is not None}
        with ledger.reading() as reader:
            indexed, _ = look_up(reader, ledger.keys.key, home.private, SUBJECT, "MRN 1")
        assert set(indexed) == written
    assert report(home).code is Code.UNANCHORED


def test_the_key_of_the_index_is_drawn_anew_when_its_record_was_lost(home):
    """A failed batch took the record of the day's key with it: no token stands under that key."""
    options = Options(index=True, probe_seconds=0.02)
    database = home.path / "ledger.db"
    with home.ledger(options) as ledger:
        away = database.with_name("away")
        os.link(database, away)
        database.unlink()
        database.write_bytes(b"")
        assert told(ledger.submit(intent(1, subject="MRN 1"))) is None
        away.replace(database)
    with home.ledger(options) as ledger:
        index = told(ledger.submit(intent(2, subject="MRN 1")))
        with ledger.reading() as reader:
            found, _ = look_up(reader, ledger.keys.key, home.private, SUBJECT, "MRN 1")
        assert set(found) == {index}
    assert report(home).code is Code.UNANCHORED


def test_closing_while_hundreds_wait_tells_each_of_them(home):
    """What was taken in is written before the end; what comes after is refused; nobody hangs."""
    ledger_options = Options(batch=32)
    futures, refused, started = [], [], threading.Event()

    def work(ledger, base):
        for number in range(200):
            try:
                futures.append(ledger.submit(Entry("outcome", f"{base + number:032x}")))
            except LedgerError:
                refused.append(number)
            if len(futures) > 150:
                started.set()

    with home.ledger(ledger_options) as ledger:
        threads = [threading.Thread(target=work, args=(ledger, n * 1000)) for n in range(4)]
        with Stopped(ledger):
            for thread in threads:
                thread.start()
            assert started.wait(30)
        ledger.close()
        for thread in threads:
            thread.join()
    assert len(futures) + len(refused) == 800
    done, left = wait(futures, timeout=1)
    assert not left
    assert sorted(future.result().index for future in done) == list(range(len(futures)))
    found = report(home)
    assert (found.records, found.covered) == (len(futures), len(futures))


def test_many_threads_and_one_event_loop_at_once(home):
    """Each hears of its own record, cancelled tasks disturb nobody, no position is twice."""
    heard, lock = [], threading.Lock()

    def work(ledger, base):
        for number in range(60):
            index = told(ledger.submit(intent(base + number, values={})))
            with lock:
                heard.append(index)

    async def serve(ledger):
        landing = Landing()

        async def one(number):
            done = await landing.of(ledger.submit(intent(number, values={})))
            heard.append(done.index)

        tasks = [asyncio.create_task(one(10_000 + number)) for number in range(300)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(result, asyncio.CancelledError) for result in results)

    with home.ledger(QUIET) as ledger:
        threads = [threading.Thread(target=work, args=(ledger, n * 100)) for n in range(4)]
        for thread in threads:
            thread.start()
        cancelled = asyncio.run(serve(ledger))
        for thread in threads:
            thread.join()
    assert cancelled == 100
    assert len(heard) == len(set(heard)) == 4 * 60 + 200
    assert report(home).covered == 4 * 60 + 300


ACTIONS = st.lists(
    st.sampled_from(["append", "bad", "leave", "publish", "stop", "go", "erased", "day"]),
    min_size=1, max_size=40,
)  # fmt: skip


@given(ACTIONS, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_schedule_tells_everybody_and_leaves_no_gap(  # noqa: C901 - a case for each action
    actions, batch, reserve
):
    """Whatever is submitted, cancelled, refused, erased beside it or held up, in whatever order."""
    with quick_folder() as folder:
        home = make_home(folder / "home")
        options = Options(batch=batch, reserve=reserve, index=True, checkpoint_records=3, queue=64)
        futures, others = [], 0
        with home.ledger(options) as ledger:
            stopped = None
            for number, action in enumerate(actions):
                match action:
                    case "append" | "leave":
                        future = ledger.submit(intent(number, subject=f"MRN {number % 3}"))
                        others += action == "leave" and future.cancel()
                        if not future.cancelled():
                            futures.append(future)
                    case "bad":
                        futures.append(ledger.submit(intent(number, sealed=BAD)))
                    case "publish":
                        ledger.publish()
                    case "stop" if stopped is None:
                        stopped = Stopped(ledger)
                        stopped.__enter__()
                    case "go" if stopped is not None:
                        stopped = stopped.__exit__()
                    case "erased" if stopped is None:
                        others += 1
                        with home.ledger(options) as other:
                            other.submit(Entry("subject.erased", features={"erased": []})).result()
                    case "day":
                        home.clock.forward(days=1)
            if stopped is not None:
                stopped.__exit__()
        bad = sum(action == "bad" for action in actions)
        indices = [told(future) for future in futures]
        assert indices.count(None) == bad
        written = [index for index in indices if index is not None]
        assert len(set(written)) == len(written)
        if written or others:
            found = report(home)
            assert (found.code, found.covered) == (Code.UNANCHORED, found.records)
        assert_opens(home, written)


def assert_opens(home, indices):
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    try:
        if indices:
            with open_evidence(home.path) as evidence:
                bodies = {item.index: item.body for item in evidence.items()}
            for index in indices:
                assert open_entry(parse(bodies[index]), keys.key, home.private).erased == 0
    finally:
        keys.close()


WRITES = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from audit.ledger import Ledger, Options
from tests.auditkit import intent
ledger = Ledger.open(
    Path(sys.argv[1]), clock=lambda: datetime.now(UTC), options=Options(index=True, reserve=8)
)
print("started", flush=True)
number = 0
while not Path(sys.argv[2]).exists():
    futures = [ledger.submit(intent(number + n, subject=f"MRN {n % 2}")) for n in range(4)]
    number += 4
    for n, future in enumerate(futures):
        print(future.result().index, n % 2, flush=True)
    time.sleep(0.1)
ledger.close()
"""


@contextmanager
def ended(end):
    """The writers stop when the block is left, whatever happened in it."""
    try:
        yield
    finally:
        end.touch()


def test_erasures_under_load_from_two_processes(home, tmp_path):
    """Nothing acknowledged after an erasure is under a key that it destroyed, and none is an error.

    Texts of the other subject stay, whichever process sealed them.
    """
    from audit.erase import Request, erase  # noqa: PLC0415
    from audit.subjects import Subject  # noqa: PLC0415

    end = tmp_path / "end"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, str(home.path), str(end)],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "started\n"
    with home.ledger(Options(index=True)) as ledger, ended(end):
        for _ in range(2):
            threading.Event().wait(0.3)
            done = erase(ledger, home.private, Request(Subject("MRN 1"), "17(1)(a)"))
        cut = done.records[0]  # what is before it goes, to the last; what is behind it stays whole
        threading.Event().wait(0.3)
    acknowledged = {}
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        acknowledged |= {int(i): int(s) for i, s in map(str.split, out.splitlines())}
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    readable = {}
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            if item.index in acknowledged:
                try:
                    opened = open_entry(parse(item.body), keys.key, home.private)
                except MissingError:
                    continue
                readable[item.index] = bool(opened.text.get("texts"))
        assert verify(evidence).code is Code.UNANCHORED
    keys.close()
    assert all(readable[index] for index, subject in acknowledged.items() if subject == 0)
    later = [index for index, subject in acknowledged.items() if subject == 1 and index > cut]
    assert later
    assert all(readable[index] for index in later)
    before = [index for index, subject in acknowledged.items() if subject == 1 and index < cut]
    assert before
    assert not any(readable.get(index) for index in before)
