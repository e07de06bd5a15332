"""``kill -9`` at each step of an append, on SQLite and on PostgreSQL (audit-format.md §8).

A step is a line that the writer's thread runs, in the ledger's own code or in the code of the
database's driver. A first append, which is let live, lists them; then a process is killed in front
of each of many. Nothing is replaced: the kernel kills a real process that appends for real.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from audit.export import open_evidence
from audit.keys import KeyStore
from audit.record import parse
from audit.seal import open_entry
from audit.storage.place import place_of
from audit.store import LedgerStore
from audit.verify import Code, verify
from tests import postgres
from tests.auditkit import intent, make_home

ROOT = Path(__file__).parents[2]

# For each number on its input it forks a process that appends one record, then four more, and dies
# in front of the line of that number; 0 lists the lines. SIGKILL leaves no time to tidy up.
APPENDS = """
import json, os, signal, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from audit.ledger import Ledger, Options
from tests.auditkit import intent, outcome
HOME = Path(sys.argv[1])
OPTIONS = Options(checkpoint_records=2, checkpoint_seconds=3600, reserve=4, index=True)
OURS = ("/audit/", "/pg8000/", "/sqlalchemy/engine/")
left, seen, armed = [0], [], []

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def start():
    return Ledger.open(HOME, clock=lambda: datetime.now(UTC), options=OPTIONS)

def steps(frame, what, _):
    code = frame.f_code
    if not any(part in code.co_filename for part in OURS):
        return None
    if what == "line" and armed:
        if not left[0]:
            seen.append(f"{code.co_filename.rpartition('/')[2]} {code.co_name}")
        else:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
    return steps

def append(number):
    threading.settrace(steps)
    ledger = start()
    threading.settrace(None)
    first = ledger.submit(intent(number, subject="MRN 1")).result()
    say("ack", first.index, first.leaf_hash.hex())
    left[0] = STEP
    armed.append(True)
    entries = [outcome(number), *(intent(number + n, subject=f"MRN {n}") for n in (1, 2, 3))]
    for some in (entries[:1], entries[1:2], entries[2:]):  # the last two may share a transaction
        for future in [ledger.submit(entry) for entry in some]:
            say("ack", future.result().index, future.result().leaf_hash.hex())
    armed.clear()
    if not STEP:
        say("steps", json.dumps(seen))
    ledger.close()

start().close()  # imports done
for number, line in enumerate(sys.stdin, start=1):
    STEP = int(line)
    child = os.fork()
    if child == 0:
        append(number * 10)
        os._exit(0)
    say("ended", os.waitpid(child, 0)[1])
"""

PLACES = {
    "before the keys": "_add_keys",
    "while the keys are written": "add",
    "between the keys and the records": "_check_erased",
    "inside the transaction": "_write",
    "while a checkpoint is signed": "_sign_if_due",
    "after the commit, before anybody is told": "_release",
}
"""The steps that have to be among those where a process dies, by a function of ours."""

LONG_RUN = 300


class Victim:
    """Processes that append to one home and are killed; what they said was acknowledged."""

    def __init__(self, home):
        self.home, self.acknowledged = home, {}
        command = [sys.executable, "-c", APPENDS, str(home.path)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, step):
        """Append, dying at a step; the list of steps, the signal that ended it, the new records."""
        self._process.stdin.write(f"{step}\n")
        self._process.stdin.flush()
        listed, fresh = [], {}
        while (line := self._process.stdout.readline().split(" ", 1))[0] != "ended":
            assert line[0] in ("ack", "steps"), line
            if line[0] == "steps":
                listed = json.loads(line[1])
            else:
                index, leaf = line[1].split()
                fresh[int(index)] = leaf
        self.acknowledged |= fresh
        return listed, int(line[1]), fresh

    def close(self):
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0
        self._process.stdout.close()


def chosen(listed, count, seed):
    """Where each function of ``PLACES`` begins, in a long run where it ends, too; and elsewhere."""
    draw = random.Random(seed)  # noqa: S311 - reproducibly
    by_name = {}
    for step, name in enumerate(listed, start=1):
        by_name.setdefault(name, []).append(step)
    named = [each for each in by_name if each.split()[1] in PLACES.values()]
    ends = (0,) if count < LONG_RUN else (0, -1)
    placed = {by_name[name][end] for name in named for end in ends}
    drawn = draw.sample(range(1, len(listed) + 1), max(count - len(placed), 0))
    return sorted({*placed, *drawn}), {name.split()[1] for name in named}


def assert_whole(home, acknowledged, fresh):
    """What was acknowledged is there and readable, and the log is what it says it is."""
    store = LedgerStore(place_of(home.path), readonly=True)
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    try:
        with store.reading() as reader:
            stored = {row.index: row for row in reader.rows()}
        assert sorted(stored) == list(range(len(stored)))
        assert acknowledged.items() <= {n: row.leaf.hex() for n, row in stored.items()}.items()
        for index in fresh:
            opened = open_entry(parse(stored[index].body), keys.key, home.private)
            assert (opened.erased, len(opened.text["texts"])) == (0, 1)
    finally:
        store.close()
        keys.close()
    with open_evidence(home.path) as evidence:
        found = verify(evidence)
    assert found.code is Code.UNANCHORED, found.words


def kill_at_steps(home, count, seed):
    victim = Victim(home)
    listed, ended, _ = victim.run(0)
    assert (ended, len(victim.acknowledged)) == (0, 5)
    steps, names = chosen(listed, count, seed)
    assert names == set(PLACES.values())
    died, silent = 0, 0
    for step in steps:
        _, ended, fresh = victim.run(step)
        assert ended in (0, 9)
        died += ended == 9
        silent += ended == 9 and len(fresh) == 1
        assert_whole(home, victim.acknowledged, fresh)
    victim.close()
    # A step late in a run that took fewer transactions than the listed one may not be reached.
    assert died > 0.6 * len(steps)
    assert silent > 0.2 * len(steps)
    with home.ledger() as ledger:
        assert ledger.submit(intent(1)).result().index >= max(victim.acknowledged) + 1
    return died


LONG = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = [(9, 0), pytest.param(400, 1, marks=LONG)]


@pytest.mark.parametrize(("count", "seed"), KILLS)
def test_killed_at_any_step_on_sqlite(tmp_path, count, seed):
    """Nothing acknowledged is missing or unreadable, the log is intact, the next one goes on."""
    kill_at_steps(make_home(tmp_path / "home"), count, seed)


@pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)
@pytest.mark.parametrize(("count", "seed"), KILLS)
def test_killed_at_any_step_on_postgresql(tmp_path, count, seed):
    """The same where a server holds the records, and the sequencer's lock with them."""
    with postgres.running() as server:
        postgres.settle(tmp_path / "home", server.url)
        kill_at_steps(make_home(tmp_path / "home"), count, seed)
