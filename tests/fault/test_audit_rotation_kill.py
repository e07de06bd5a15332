"""Killed in the middle of a rotation of the signing key, beside a ledger that appends (§7.8)."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from audit.chain import Chain
from audit.checkpoint import SignedReceipt
from audit.keys import KeyStore
from audit.ledger import Options
from audit.rotate import rotate_signing
from audit.store import LedgerStore
from audit.verify import Code
from tests.auditkit import intent, make_home, quick_folder
from tests.conformance.test_audit_verifiers import judge

WORK = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from audit.rotate import rotate_signing
print("ready", flush=True)
sys.stdin.readline()
rotate_signing(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
"""


def killed_once(home, ledger, delay, number):
    """Start a rotation, append beside it, kill it after ``delay`` seconds; what was appended."""
    command = [sys.executable, "-c", WORK, str(home.path)]
    appended = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        end = time.monotonic() + delay
        while time.monotonic() < end:
            appended.append(ledger.submit(intent(number + len(appended))).result())
        process.send_signal(signal.SIGKILL)
    return appended


def chain_of(home):
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        return Chain.stored(reader)


def loop(rounds):
    """Kill rotations anywhere; how many were begun, and how many were left to be finished."""
    chance, acknowledged, unfinished = random.Random(7), [], 0  # noqa: S311 - reproducible
    with quick_folder() as folder:
        home = make_home(folder / "home")
        with home.ledger(Options(checkpoint_records=7)) as ledger:
            for _ in range(rounds):
                delay = chance.uniform(0.02, 0.5)
                acknowledged += killed_once(home, ledger, delay, len(acknowledged))
                acknowledged.append(ledger.submit(intent(len(acknowledged))).result())
                chain = chain_of(home)
                assert chain.receipt(acknowledged[-1].receipt.note).index == acknowledged[-1].index
                with closing(KeyStore.open(home.path / "keystore.db", readonly=True)) as keys:
                    assert keys.signer(chain.current).public == chain.current
                    unfinished += not keys.is_settled(chain.current)
        report = judge(home.path)
        assert report.code is Code.UNANCHORED, report.words
        chain = chain_of(home)
        for done in acknowledged:
            assert SignedReceipt.open(done.receipt.note, chain.at(done.index)).index == done.index
        last = rotate_signing(home.path, clock=home.clock)
        assert judge(home.path, [last.checkpoint.encode()]).code is Code.ANCHORED
    return len(chain.later), unfinished


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rotation_that_is_killed_again_and_again_loses_nothing():
    """A hundred kills in one home: what was acknowledged is there, under the key of its time."""
    begun, unfinished = loop(100)
    assert begun > 10
    assert unfinished > 0


def test_a_rotation_that_is_killed_loses_nothing():
    """A few kills, at any place."""
    begun, _ = loop(10)
    assert begun >= 1
