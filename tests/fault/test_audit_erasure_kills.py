"""Erasure and expiry, killed with -9 at each of their steps: the next run completes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s

from audit.errors import MissingError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.verify import Code, verify
from tests.auditkit import intent, make_home

ROOT = Path(__file__).parents[2]

# Dies at the N-th of these statements of SQLite, before it runs: transactions end with COMMIT, and
# the log of the key store is emptied by a checkpoint. Nothing of ours is replaced.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import Engine, event
from audit.erase import Request, erase
from audit.keys import load_private
from audit.ledger import Ledger
from audit.retention import expire
from audit.subjects import Subject

HOME, PEM, WHAT, STEP = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
left = [STEP]

def dies(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

when = datetime(2026 if WHAT == "erase" else 2040, 3, 1, tzinfo=UTC)
ledger = Ledger.open(HOME, clock=lambda: when)
for name in ("begin", "commit", "before_cursor_execute"):
    event.listen(Engine, name, dies)
if WHAT == "erase":
    erase(ledger, load_private(PEM.read_bytes()), Request(Subject("MRN 1"), "17(1)(a)"))
else:
    expire(ledger)
ledger.close()
"""


def texts(home):
    """What opens of each intent, and the number of erasures and expiries on record."""
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    found, acts = {}, []
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            record = parse(item.body)
            acts.append(record.header.event)
            try:
                done = open_entry(record, keys.key, home.private)
            except MissingError:
                continue
            found[item.index] = (bool(done.text.get("texts")), len(done.values))
    keys.close()
    return found, acts


def killed_at(home, pem, what, step):
    command = [sys.executable, "-c", KILLED, str(home.path), str(pem), what, str(step)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def filled(folder):
    home = make_home(folder / "home")
    with home.ledger(Options(index=True)) as ledger:
        ledger.submit(Entry("boot")).result()
        for number in (1, 2):
            ledger.submit(intent(number, subject=f"MRN {number}")).result()
    raw = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(raw)
    return home, folder / "auditor.pem"


@pytest.mark.parametrize(
    ("what", "stride"),
    [
        ("erase", 23),
        ("expire", 23),
        pytest.param("erase", 1, marks=[pytest.mark.slow, pytest.mark.timeout(1500)]),
        pytest.param("expire", 1, marks=[pytest.mark.slow, pytest.mark.timeout(1500)]),
    ],
)
def test_killed_at_each_step_the_next_run_completes_it(tmp_path, what, stride):
    """Never a key that is gone without its record; after the next run all is as if never killed."""
    died = 0
    for step in range(1, 10_000, stride):
        folder = tmp_path / str(step)
        folder.mkdir()
        home, pem = filled(folder)
        before, _ = texts(home)
        alive = not killed_at(home, pem, what, step)
        died += not alive
        between, acts = texts(home)
        event = "subject.erased" if what == "erase" else "keys.expired"
        if not alive and event not in acts:
            assert between == before  # nothing on record, nothing gone
        with open_evidence(home.path) as evidence:
            assert verify(evidence).code in (Code.UNANCHORED, Code.MISSING)
        if not alive:
            assert not killed_at(home, pem, what, 0)
        after, acts = texts(home)
        assert event in acts
        if what == "erase":
            assert (after[2], after[3]) == ((False, 0), (True, 1))
        else:
            assert {2, 3}.isdisjoint(after)
        with open_evidence(home.path) as evidence:
            assert verify(evidence).code is Code.UNANCHORED
        if alive:
            break
    assert died > 0
