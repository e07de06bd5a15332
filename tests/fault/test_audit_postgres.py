"""The ledger on a real PostgreSQL server under real faults (audit-format.md §12).

Nothing acknowledged is ever lost and nothing is acknowledged that is not durable: gateways are
killed, connections cut in the middle of an append, the server stopped, its disk filled.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from datetime import timedelta

import pytest

from audit.errors import AuditError, LedgerError
from audit.ledger import Options
from audit.storage.place import place_of
from audit.store import LedgerStore, Row
from audit.verify import Code
from tests import postgres
from tests.auditkit import append_requests, intent, make_home
from tests.fault.test_audit_faults import KILLED, TOGETHER, report, spawn

pytestmark = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)

QUICK = Options(checkpoint_records=8, checkpoint_seconds=0.05, probe_seconds=0.05)


@pytest.fixture(scope="module")
def server():
    with postgres.running() as running:
        yield running


@pytest.fixture
def home(server, tmp_path):
    """A home whose ledger is a fresh database of the server."""
    name = f"t{random.getrandbits(48):x}"
    postgres.settle(tmp_path / "home", server.fresh(name))
    return make_home(tmp_path / "home")


def leaves(home):
    store = LedgerStore(place_of(home.path), readonly=True)
    try:
        with store.reading() as reader:
            return {row.index: row.leaf.hex() for row in reader.rows()}
    finally:
        store.close()


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within ten seconds")


def test_records_are_found_again_and_verify(home):
    """What is appended is read, proven and verified as from a SQLite ledger."""
    appended = home.fill(20)
    assert report(home.path).code is Code.UNANCHORED
    assert leaves(home) == {one.index: one.leaf_hash.hex() for one in appended}
    assert not (home.path / "ledger.db").exists()
    with home.ledger() as ledger:
        found = ledger.find("0" * 32)
        assert [record.event for record in found] == ["intent", "outcome"]


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(0, 30), *(pytest.param(seed, 60, marks=pytest.mark.slow) for seed in range(1, 6))],
)
def test_kill_9_loses_nothing_that_was_acknowledged(home, seed, kills):
    """A gateway is killed at random moments of its appends; the next one goes on at once."""
    moments = random.Random(seed)  # noqa: S311 - when to kill, reproducibly
    acknowledged = {}
    process = spawn(KILLED, home.path)
    for _ in range(kills):
        process.stdin.write(f"{moments.uniform(1, 300)}\n")
        process.stdin.flush()
        while (line := process.stdout.readline().split()) != ["killed"]:
            assert line[0] == "ack", line
            acknowledged[int(line[1])] = line[2]
        stored = leaves(home)
        assert acknowledged.items() <= stored.items()
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    assert len(acknowledged) > kills
    with home.ledger() as ledger:
        assert ledger.submit(intent(1)).result().index >= len(stored)
    found = report(home.path)
    assert (found.code, found.covered) == (Code.UNANCHORED, found.records)


def test_two_gateways_append_to_one_tree(home):
    """Every acknowledged position is unique, and the tree holds all of them."""
    processes = [spawn(TOGETHER, home.path) for _ in range(3)]
    acknowledged = []
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        acknowledged += [tuple(line.split()[1:]) for line in out.splitlines()]
    assert len(dict(acknowledged)) == 180
    stored = leaves(home)
    assert all(stored[int(index)] == leaf for index, leaf in acknowledged)
    found = report(home.path)
    assert (found.code, found.records) == (Code.UNANCHORED, 180)


def test_a_killed_sequencer_frees_its_turn_at_once(home):
    """One gateway dies inside its append, holding the lock: another goes on without a wait."""
    script = """
from audit.storage.place import place_of
from audit.store import LedgerStore
with LedgerStore(place_of(HOME)).writing() as writer:
    say("holding", writer.last()[0])
    time.sleep(60)
"""
    holder = spawn(script, home.path)
    assert holder.stdout.readline().split() == ["holding", "0"]
    with home.ledger() as ledger:
        waiting = ledger.submit(intent(1))
        time.sleep(0.3)
        assert not waiting.done()
        holder.send_signal(signal.SIGKILL)
        began = time.monotonic()
        assert waiting.result(timeout=5).index == 0
        assert time.monotonic() - began < 2
    holder.wait()
    for pipe in (holder.stdin, holder.stdout):
        pipe.close()


def test_one_position_is_never_taken_twice(home):
    """The constraints hold where no lock does: same index, and same process and number."""
    home.fill(1)
    store = LedgerStore(place_of(home.path))
    boot = "ab" * 16
    leaf = bytes(32)
    try:
        with store.writing() as writer:
            writer.append([Row(50, None, b"x", leaf, "r", boot, 1)], [])
        for index, seq in ((50, 2), (51, 1)):
            with pytest.raises(LedgerError), store.writing() as writer:
                writer.append([Row(index, None, b"x", leaf, "r", boot, seq)], [])
        assert set(leaves(home)) == {0, 1, 2, 50}
    finally:
        store.close()


def test_a_connection_cut_in_the_middle_acknowledges_nothing_that_is_not_there(home, server):
    """Backends are terminated under load: refusals, never a lost acknowledgement, then recovery."""
    database = place_of(home.path).database
    cut = f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = '{database}' AND pid <> pg_backend_pid()"""  # noqa: S608
    acknowledged, refused = {}, []
    ended = threading.Event()

    def work(ledger, base):
        number = base
        while not ended.is_set():
            number += 1
            try:
                done = ledger.submit(intent(number)).result()
            except LedgerError:
                refused.append(number)
            else:
                acknowledged[done.index] = done.leaf_hash.hex()

    with home.ledger(QUICK) as ledger:
        threads = [threading.Thread(target=work, args=(ledger, n * 10**6)) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(25):
            time.sleep(0.05)
            server.sql(cut)
        ended.set()
        for thread in threads:
            thread.join()
        until(lambda: ledger.writable)
        assert ledger.submit(intent(1)).result().index >= len(acknowledged)
    assert refused
    assert acknowledged.items() <= leaves(home).items()
    found = report(home.path)
    assert (found.code, found.covered) == (Code.UNANCHORED, found.records)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_stops_and_starts_again(tmp_path, mode):
    """Red while it is away; what was acknowledged is there afterwards, after a crash, too."""
    with postgres.running() as server:
        postgres.settle(tmp_path / "home", server.url)
        home = make_home(tmp_path / "home")
        with home.ledger(QUICK) as ledger:
            before = append_requests(ledger, 10)
            server.stop(mode)
            with pytest.raises(LedgerError):
                ledger.submit(intent(50)).result()
            assert not ledger.writable
            with pytest.raises(AuditError):
                ledger.find("0" * 32)
            server.start()
            until(lambda: ledger.writable)
            assert ledger.submit(intent(51)).result().index == len(before)
            assert len(ledger.find("0" * 32)) == 2
        stored = leaves(home)
        assert {one.index: one.leaf_hash.hex() for one in before}.items() <= stored.items()
        assert report(home.path).code is Code.UNANCHORED


def test_a_clock_that_goes_backwards_changes_no_position(home):
    """Records follow each other by position and number; checkpoints are still signed."""
    with home.ledger(QUICK) as ledger:
        first = ledger.submit(intent(1)).result()
        home.clock.moment -= timedelta(days=400)
        second = ledger.submit(intent(2)).result()
    assert (first.index, second.index) == (0, 1)
    found = report(home.path)
    assert (found.code, found.covered) == (Code.UNANCHORED, 2)


def test_a_database_that_may_not_be_written_refuses(home, server):
    """A server that went read-only gives our error and red readiness, and is found mended."""
    database = place_of(home.path).database
    read_only = f"ALTER DATABASE {database} SET default_transaction_read_only = "
    home.fill(1)
    server.sql(read_only + "on")
    with home.ledger(QUICK) as ledger:
        with pytest.raises(LedgerError):
            ledger.submit(intent(5)).result()
        assert not ledger.writable
        server.sql(read_only + "off")
        until(lambda: ledger.writable)
        assert ledger.submit(intent(6)).result().index == 3


def test_a_server_that_does_not_sync_is_refused(home, server):
    """With fsync off nothing is durable whatever a commit says: not a record is written there."""
    server.stop()
    (server.folder / "data" / "postgresql.auto.conf").write_text("fsync = off\n")
    server.start()
    try:
        with pytest.raises(AuditError), home.ledger():
            pass
    finally:
        server.stop()
        (server.folder / "data" / "postgresql.auto.conf").write_text("")
        server.start()
