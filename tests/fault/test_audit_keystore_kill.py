"""Killed in the middle of a lock, a rotation or an unlocking: every key stays readable (§7.6)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from audit.keyring import SubjectKey
from audit.keys import KeyStore
from audit.keystore.change import Change, state
from audit.keystore.lock import PLAIN
from audit.keystore.passphrase import Passphrase
from tests.auditkit import make_home, quick_folder

GUARD = Passphrase(b"a passphrase", cost=1 << 14)
# Small transactions, so that there are many places to be killed in.
WORK = """
import sys
from pathlib import Path
from audit.keystore import change
from audit.keystore.lock import PLAIN
from audit.keystore.passphrase import Passphrase
change._ROWS = 8
guard = Passphrase(b"a passphrase", cost=1 << 14)
one = change.Change(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
getattr(one, sys.argv[2])(guard)
"""


# What a change that was broken off may be followed by.
FROM = {
    "none": ["lock"],
    "unlocking": ["unlock", "lock"],
    "locking": ["lock", "rotate", "unlock"],
    "complete": ["rotate", "unlock"],
}


def kind_of(path):
    lock = state(path)
    if lock is None:
        return "none"
    if lock.current == PLAIN:
        return "unlocking"
    return "complete" if lock.complete else "locking"


def opened(path):
    return closing(KeyStore.open(path, readonly=True, guard=lambda kind: kind and GUARD))


def killed_once(path, verb, delay):
    """Start a change and kill it after ``delay`` seconds."""
    command = [sys.executable, "-c", WORK, str(path), verb]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)


def loop(rounds):
    """Kill each change at random places; between them, keys are added and all are read."""
    chance, broken = random.Random(5), 0  # noqa: S311 - reproducible on purpose
    with quick_folder() as folder:
        path = make_home(folder / "home").path / "keystore.db"
        keys = [SubjectKey(os.urandom(16), "2032-03", os.urandom(32)) for _ in range(400)]
        with closing(KeyStore.open(path)) as store:
            store.add(keys)
            public = store.signing_key.public
        for number in range(rounds):
            verb = chance.choice(FROM[kind_of(path)])
            killed_once(path, verb, chance.uniform(0.02, 0.4))
            found = state(path)
            broken += found is not None and not found.complete
            more = [SubjectKey(os.urandom(16), "2032-03", os.urandom(32))]
            with closing(KeyStore.open(path, guard=lambda kind: kind and GUARD)) as store:
                store.add(more)
            keys += more
            with opened(path) as store:
                assert store.signing_key.public == public
                assert [store.key(k.id) for k in keys] == [k.key for k in keys], (number, verb)
        if kind_of(path) != "complete":
            Change(path).lock(GUARD)
        assert state(path).complete
        with opened(path) as store:
            assert [store.key(k.id) for k in keys] == [k.key for k in keys]
    return broken


def test_a_change_that_is_killed_loses_no_key():
    """A few kills; some of them hit the middle of a change."""
    assert loop(12) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_change_that_is_killed_again_and_again_loses_no_key():
    """A hundred kills in one key store, at any place."""
    assert loop(100) > 10
