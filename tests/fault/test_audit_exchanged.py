"""Files that are exchanged, deleted or rolled back under a running ledger; forks; odd clocks.

What was written to a file that is not at its path any more is gone with the process: nothing of
it is acknowledged, and the ledger stays red until it is opened anew (audit-format.md §8.5).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from audit.errors import LedgerError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Ledger, Options
from audit.record import parse
from audit.seal import open_entry
from audit.verify import Code, verify
from tests import postgres
from tests.auditkit import START, append_requests, intent, make_home, outcome, rid

ROOT = Path(__file__).parents[2]
QUICK = Options(checkpoint_records=4, checkpoint_seconds=0.05, probe_seconds=0.02)


@pytest.fixture
def home(tmp_path):
    made = make_home(tmp_path / "home")
    made.fill(2)
    return made


def copied(path, to):
    """A whole copy of a database, as a backup holds it."""
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(to)) as new:
        old.backup(new)
    return to


def assert_refuses(ledger, times=3):
    """Not only once: no probe calls it mended."""
    for number in range(times):
        with pytest.raises(LedgerError):
            ledger.submit(intent(900 + number)).result()
        assert not ledger.writable
        threading.Event().wait(0.06)
        assert not ledger.writable


def report(home, **held):
    with open_evidence(home.path) as evidence:
        return verify(evidence, **held)


def assert_readable(home, index):
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    try:
        with open_evidence(home.path) as evidence:
            body = next(item.body for item in evidence.items() if item.index == index)
        assert open_entry(parse(body), keys.key, home.private).erased == 0
    finally:
        keys.close()


@pytest.mark.parametrize("name", ["ledger.db", "keystore.db"])
def test_a_database_exchanged_for_its_backup_is_not_written_to(home, tmp_path, name):
    """Neither the file that is away nor the one in its place; a new start goes on with the latter.

    Keys that are remembered as durable are not in an older key store: what they seal would be
    unreadable though it was acknowledged.
    """
    older = copied(home.path / name, tmp_path / name)
    with home.ledger(QUICK) as ledger:
        one = ledger.submit(intent(50, subject="MRN 1")).result()
        older.replace(home.path / name)
        assert_refuses(ledger)
        with pytest.raises(LedgerError):
            ledger.submit(outcome(50)).result()
    for path in home.path.glob(f"{name}-*"):
        path.unlink()  # of the file that is away
    with home.ledger(QUICK) as ledger:
        again = ledger.submit(intent(51, subject="MRN 1")).result()
    assert again.index == one.index + (name == "keystore.db")
    assert_readable(home, again.index)
    note = one.receipt.note.encode()
    assert report(home).code is Code.UNANCHORED
    lost = report(home, receipts=(note,)).code
    assert lost is (Code.UNANCHORED if name == "keystore.db" else Code.TAMPERED)


@pytest.mark.parametrize("name", ["ledger.db", "keystore.db"])
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_deleted_while_it_is_open_is_noticed(home, name, suffix):
    """Nothing is acknowledged that lives in a deleted file only."""
    with home.ledger(QUICK) as ledger:
        append_requests(ledger, 1)
        (home.path / (name + suffix)).unlink()
        assert_refuses(ledger)


def test_a_ledger_rolled_back_in_its_place_is_not_signed_on(home, tmp_path):
    """The same file with older contents: to go on would sign a fork of what was acknowledged."""
    older = copied(home.path / "ledger.db", tmp_path / "older.db")
    with home.ledger(QUICK) as ledger:
        append_requests(ledger, 4)
        kept = ledger.find(rid(3))[0].checkpoint.encode()
        with (
            closing(sqlite3.connect(older)) as old,
            closing(sqlite3.connect(home.path / "ledger.db")) as new,
        ):
            old.backup(new)
        assert_refuses(ledger)
    found = report(home)
    assert (found.code, found.records) == (Code.UNANCHORED, 5)
    assert report(home, kept=(kept,)).code is Code.MISSING


@pytest.mark.parametrize("what", ["all of it", "its checkpoints"])
def test_what_was_signed_before_this_process_appended_counts_too(home, tmp_path, what):
    """Rolled back behind the checkpoint that the start found: not appended to, not signed on."""
    older = copied(home.path / "ledger.db", tmp_path / "older.db")
    home.fill(3)
    with home.ledger(Options(checkpoint_records=1, probe_seconds=0.02)) as ledger:
        with closing(sqlite3.connect(home.path / "ledger.db")) as new:
            if what == "all of it":
                with closing(sqlite3.connect(older)) as old:
                    old.backup(new)
            else:
                new.execute("DELETE FROM checkpoints WHERE size > 5")
                new.commit()
        for number in (70, 71):
            with pytest.raises(LedgerError):
                ledger.submit(intent(number)).result()
        sizes = [size for size, _ in checkpoints(ledger)]
    assert max(sizes) == 5


def checkpoints(ledger):
    with ledger.reading() as reader:
        return list(reader.checkpoints())


def test_a_record_that_another_took_the_place_of_is_noticed(home, tmp_path):
    """Rolled back and grown again by another process: our leaf is not where it was."""
    older = copied(home.path / "ledger.db", tmp_path / "older.db")
    with home.ledger(QUICK) as ledger:
        append_requests(ledger, 1)
        with (
            closing(sqlite3.connect(older)) as old,
            closing(sqlite3.connect(home.path / "ledger.db")) as new,
        ):
            old.backup(new)
        with home.ledger(QUICK) as other:
            append_requests(other, 5)
        assert_refuses(ledger)
    assert report(home).code is Code.UNANCHORED


@pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)
def test_a_server_rolled_back_under_a_gateway_is_not_signed_on(tmp_path):
    """The same on PostgreSQL, where a dump was restored or a standby took over that lagged."""
    with postgres.running() as server:
        postgres.settle(tmp_path / "home", server.url)
        home = make_home(tmp_path / "home")
        with home.ledger(QUICK) as ledger:
            append_requests(ledger, 6)
            server.sql("DELETE FROM records WHERE idx > 4; DELETE FROM checkpoints WHERE size > 5")
            assert_refuses(ledger)


FORKS = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from audit.errors import LedgerError
from audit.ledger import Ledger
from tests.auditkit import intent
ledger = Ledger.open(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
print(ledger.submit(intent(50)).result().index, flush=True)
child = os.fork()
if child == 0:
    try:
        ledger.submit(intent(51)).result()
    except LedgerError as error:
        print("refused", error, ledger.writable, flush=True)
    ledger.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(ledger.submit(intent(52)).result().index, flush=True)
ledger.close()
"""


def test_a_fork_of_the_process_does_not_append(home):
    """It has no writer: it is refused and not left waiting, and disturbs nothing when it ends."""
    command = [sys.executable, "-W", "error", "-c", FORKS, str(home.path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["5", "refused the ledger is closed False", "6"]
    found = report(home)
    assert (found.code, found.covered) == (Code.UNANCHORED, 7)


@pytest.mark.parametrize("days", [400, -400, 365 * 60, -365 * 40])
def test_a_clock_that_jumps_changes_no_position(home, days):
    """Forwards and backwards by years: positions, proofs, checkpoints and readability hold."""
    with home.ledger(Options(checkpoint_records=2, index=True)) as ledger:
        before = ledger.submit(intent(60, subject="MRN 1")).result()
        home.clock.moment += timedelta(days=days)
        after = ledger.submit(intent(61, subject="MRN 1")).result()
        home.clock.moment = START
        last = ledger.submit(outcome(60)).result()
    assert before.index < after.index < last.index
    found = report(home)
    assert (found.code, found.covered) == (Code.UNANCHORED, found.records)
    for one in (before, after, last):
        assert_readable(home, one.index)


def test_a_clock_that_fails_fails_what_waits_and_not_the_writer(home):
    """An error for each caller instead of a wait without end; then it goes on."""
    broken = threading.Event()

    def clock():
        if broken.is_set():
            raise OSError
        return START

    ledger = Ledger.open(home.path, clock=clock, options=QUICK)
    try:
        broken.set()
        for future in [ledger.submit(intent(n)) for n in range(20)]:
            with pytest.raises(LedgerError):
                future.result(timeout=10)
        broken.clear()
        assert ledger.submit(intent(70)).result(timeout=10).index == 5
        assert ledger.writable
    finally:
        broken.clear()
        ledger.close()


FULL = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from audit.errors import LedgerError
from audit.ledger import Ledger, Options
from tests.auditkit import intent
HOME, FULL = Path(sys.argv[1]), Path(sys.argv[2])
ledger = Ledger.open(
    HOME, clock=lambda: datetime.now(UTC), options=Options(probe_seconds=0.02, checkpoint_records=4)
)
acknowledged = [ledger.submit(intent(n)).result().index for n in range(3)]
filler = FULL / "filler"
with filler.open("wb", buffering=0) as out:
    try:
        while out.write(bytes(4096)):
            pass
    except OSError:
        pass
refused = 0
for number in range(100, 400):
    try:
        acknowledged.append(ledger.submit(intent(number)).result().index)
    except LedgerError:
        refused += 1
        if refused == 5:
            break
print("refused", refused, ledger.writable)
filler.unlink()
for _ in range(500):
    if ledger.writable:
        break
    __import__("time").sleep(0.02)
acknowledged.append(ledger.submit(intent(500)).result().index)
ledger.close()
print("acknowledged", *acknowledged)
"""


def test_the_disk_of_one_database_is_full_and_that_of_the_other_is_not(tmp_path):
    """A small file system of its own holds the ledger, or the key store; both ways it refuses."""
    for name in ("ledger.db", "keystore.db"):
        home = make_home(tmp_path / name / "home")
        home.fill(2)
        small = tmp_path / name / "small"
        small.mkdir()
        # In a namespace of its own a mount takes no privilege, and goes with the process.
        script = """
set -e
mount -t tmpfs -o size=600k tmpfs "$2"
mv "$1/$3" "$2/$3"
ln -s "$2/$3" "$1/$3"
status=0
"$4" -c "$5" "$1" "$2" || status=$?
rm "$1/$3"
mv "$2/$3" "$1/$3"
exit $status
"""
        words = ["unshare", "-rm", "sh", "-c", script, "sh"]
        words += [str(home.path), str(small), name, sys.executable, FULL]
        if not mounts():
            pytest.skip("no mounts without privileges here")
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == "refused 5 False"
        indices = [int(index) for index in second.split()[1:]]
        found = report(home)
        assert (found.code, found.records) == (Code.UNANCHORED, 5 + len(indices))
        for index in indices:
            assert_readable(home, index)


def mounts():
    """Whether this kernel lets anybody mount a file system in a namespace of their own."""
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
