"""The ledger under real faults: kill -9, a full disk, a read-only home, a lost key store.

Nothing acknowledged is ever lost, nothing is acknowledged that is not durable, and ``verify``
tells the truth afterwards. The processes here are real ones; nothing is simulated.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from audit.errors import AuditError, LedgerError
from audit.export import open_evidence
from audit.ledger import Options
from audit.store import LedgerStore
from audit.verify import Code, verify
from tests.auditkit import append_requests, intent, make_home, planted_forms

ROOT = Path(__file__).parents[2]
PLANTED = "Zebulon-Quark-4711"

PRELUDE = """
import os, resource, signal, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path
from audit.errors import AuditError, LedgerError
from audit.ledger import Ledger, Options
from tests.auditkit import intent, outcome
HOME = Path(sys.argv[1])
OPTIONS = Options(checkpoint_records=8, checkpoint_seconds=0.05, probe_seconds=0.05)
def start():
    return Ledger.open(HOME, clock=lambda: datetime.now(UTC), options=OPTIONS)
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""

# Forks a writer per line read and kills it -9 after that many milliseconds: 20 and fewer count from
# the fork, so that some die while they open the ledger, the rest from its first moment of work.
KILLED = """
def work(ledger, base):
    for number in range(base, base + 10_000):
        texts = {"prompt": "%s was seen"}
        appended = ledger.submit(intent(number, texts=texts)).result()
        say("ack", appended.index, appended.leaf_hash.hex())
start().close()  # imports done: what is killed is work
for line in sys.stdin:
    opened, tell = os.pipe()
    child = os.fork()
    if child == 0:
        ledger = start()
        os.write(tell, b".")
        for thread in range(4):
            threading.Thread(target=work, args=(ledger, thread * 10_000)).start()
        signal.pause()
    if float(line) > 20:
        os.read(opened, 1)
    os.close(opened), os.close(tell)
    time.sleep(float(line) / 1000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    say("killed")
""".replace("%s", PLANTED)

# No file may grow: the next write fails as on a full disk, until the limit is lifted again.
FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = start()
say("before", ledger.submit(intent(0)).result().index, ledger.writable)
sizes = [path.stat().st_size for path in HOME.iterdir()]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for number in range(1, 4):
    try:
        say("acknowledged", ledger.submit(intent(number)).result().index)
    except LedgerError as error:
        say("refused", error)
say("full", ledger.writable)
time.sleep(0.3)
say("still", ledger.writable)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for _ in range(200):
    if ledger.writable:
        break
    time.sleep(0.02)
say("probed", ledger.writable)
say("after", ledger.submit(intent(9)).result().index)
ledger.close()
"""

READ_ONLY = """
import pwd, sqlalchemy
sqlalchemy.create_engine("sqlite://").connect().close()  # all imports before the rights go
if os.getuid() == 0:
    os.setuid(pwd.getpwnam("nobody").pw_uid)
try:
    ledger = start()
    say("acknowledged", ledger.submit(intent(1)).result().index)
except AuditError as error:
    say("refused", type(error).__name__)
"""

TOGETHER = """
ledger = start()
futures = [ledger.submit(intent(number)) for number in range(60)]
for future in futures:
    say("ack", future.result().index, future.result().leaf_hash.hex())
ledger.close()
"""


def spawn(script, home, **options):
    command = [sys.executable, "-c", PRELUDE + script, str(home)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def lines_of(script, home):
    process = spawn(script, home)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [line.split(" ") for line in out.splitlines()]


def report(home):
    with open_evidence(home) as evidence:
        return verify(evidence)


def leaves(home):
    store = LedgerStore(home / "ledger.db", readonly=True)
    try:
        with store.reading() as reader:
            return {row.index: row.leaf.hex() for row in reader.rows()}
    finally:
        store.close()


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))]
)
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path, seed):
    """A writer is killed 25 times at random moments; each time the truth is on disk."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    moments = random.Random(seed)  # noqa: S311 - when to kill, reproducibly
    acknowledged = {}
    process = spawn(KILLED, home.path)
    for _ in range(25):
        process.stdin.write(f"{moments.uniform(1, 250)}\n")
        process.stdin.flush()
        while (line := process.stdout.readline().split()) != ["killed"]:
            assert line[0] == "ack", line
            acknowledged[int(line[1])] = line[2]
        found = report(home.path)
        assert found.code is Code.UNANCHORED, found.words
        stored = leaves(home.path)
        assert acknowledged.items() <= stored.items()
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    assert acknowledged
    for path in home.path.iterdir():
        data = path.read_bytes()
        assert not [form for form in planted_forms(PLANTED) if form in data], path.name
    with home.ledger() as ledger:
        assert ledger.submit(intent(1)).result().index == len(stored)
        assert len(ledger.open_intents()) >= len(acknowledged)
    found = report(home.path)
    assert (found.code, found.covered) == (Code.UNANCHORED, len(stored) + 1)


def test_a_full_disk_refuses_and_recovers(tmp_path):
    """LedgerError for all that waits, not writable until a probe succeeds, then it goes on."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    said = lines_of(FULL, home.path)
    assert [line[0] for line in said] == [
        "before", "refused", "refused", "refused", "full", "still", "probed", "after",
    ]  # fmt: skip
    states = {line[0]: line[-1] for line in said}
    assert (states["full"], states["still"], states["probed"]) == ("False", "False", "True")
    assert (states["before"], said[0][1]) == ("True", "3")
    assert int(states["after"]) == 4  # nothing of what was refused is on record
    assert report(home.path).code is Code.UNANCHORED


def test_a_home_that_cannot_be_written_is_refused():
    """A read-only ledger gives our error, at the start or at the first record."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = make_home(Path(folder) / "home")
        home.fill(1)
        for path in home.path.iterdir():
            path.chmod(0o444)
        home.path.chmod(0o555)
        try:
            said = lines_of(READ_ONLY, home.path)
        finally:
            home.path.chmod(0o700)
        assert [line[0] for line in said] == ["refused"]
        assert report(home.path).records == 3


def test_two_processes_append_to_one_tree(tmp_path):
    """Every acknowledged position is unique, and the tree holds all of them."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    processes = [spawn(TOGETHER, home.path) for _ in range(2)]
    acknowledged = []
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        acknowledged += [tuple(line.split()[1:]) for line in out.splitlines()]
    assert len(dict(acknowledged)) == 120
    stored = leaves(home.path)
    assert all(stored[int(index)] == leaf for index, leaf in acknowledged)
    found = report(home.path)
    assert (found.code, found.records) == (Code.UNANCHORED, 123)


def test_without_a_key_store_nothing_is_appended(tmp_path):
    """Keys are durable before what is sealed under them: no key store, no record."""
    home = make_home(tmp_path / "home")
    with home.ledger(Options(probe_seconds=0.05)) as ledger:
        append_requests(ledger, 1)
        with sqlite3.connect(home.path / "keystore.db") as database:
            database.execute("alter table keys rename to lost")
        with pytest.raises(LedgerError):
            ledger.submit(intent(7)).result()
        assert leaves(home.path).keys() == {0, 1}
        with sqlite3.connect(home.path / "keystore.db") as database:
            database.execute("alter table lost rename to keys")
        assert ledger.submit(intent(8)).result().index == 2
        assert ledger.writable


@pytest.mark.parametrize("name", ["ledger.db", "keystore.db", "auditors.json"])
@pytest.mark.parametrize("data", [None, b"", b"not what it should be" * 999])
def test_a_home_with_a_broken_file_does_not_open(tmp_path, name, data):
    """Each missing, empty or overwritten file gives our error before anything is written."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    path = home.path / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(AuditError), home.ledger():
        pass
    assert path.exists() == (data is not None)
