"""Erasure and expiry, killed with -9 at each of their steps: the next run completes them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s

from audit.errors import MissingError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import MAX_ERASED, Entry, parse
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
from audit import unfinished as parts
from audit.erase import Request, erase
from audit.keys import load_private
from audit.ledger import Ledger
from audit.retention import Expirer, expire
from gateway import upkeep
from audit.subjects import Subject

HOME, PEM, WHAT, STEP = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
left = [STEP]
parts.MAX_ERASED = int(sys.argv[5])

def dies(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

when = datetime(2040 if WHAT == "expire" else 2026, 3, 1, tzinfo=UTC)
ledger = Ledger.open(HOME, clock=lambda: when)
if WHAT == "start":
    upkeep.expire(ledger, Expirer(ledger))
    ledger.close()
    sys.exit()
wrote = []

def writes(_connection, _cursor, statement, *_):
    if statement.split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
        wrote.append(statement)

def commits(*_):
    if wrote:
        wrote.clear()
        dies()

if WHAT == "many":  # only what is written counts: it reads each of many keys
    event.listen(Engine, "before_cursor_execute", writes)
    event.listen(Engine, "commit", commits)
for name in () if WHAT == "many" else ("begin", "commit", "before_cursor_execute"):
    event.listen(Engine, name, dies)
if WHAT in ("erase", "many"):
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


def killed_at(home, pem, what, step, most=MAX_ERASED):
    arguments = [str(home.path), str(pem), what, str(step), str(most)]
    command = [sys.executable, "-c", KILLED, *arguments]
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


def filled_with_many(folder, people, requests):
    """One subject with keys for each request's text and for each person in it."""
    home = make_home(folder / "home")
    values = {f"PERSON_{n}": {f"<PERSON_{n}>": f"Zebulon Quark {n}"} for n in range(people)}
    with home.ledger(Options(index=True)) as ledger:
        ledger.submit(Entry("boot")).result()
        asked = [intent(n, subject="MRN 1", values=values) for n in range(requests)]
        for future in [ledger.submit(each) for each in asked]:
            future.result()
        ledger.submit(intent(requests, subject="MRN 2")).result()
    raw = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(raw)
    return home, folder / "auditor.pem"


def begun(home):
    """The plan beside the keys, or None."""
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    try:
        return keys.note("erasures-begun")
    finally:
        keys.close()


def check_completed(home, pem, step, most, people, requests):
    """Kill an erasure at a commit, start again, and say how many of its records there were."""
    died = killed_at(home, pem, "many", step, most)
    _, acts = texts(home)
    recorded = acts.count("subject.erased")
    assert not killed_at(home, pem, "start", 0, most)
    found, acts = texts(home)
    whole = [shown for index, shown in found.items() if shown != (False, 0)]
    if recorded:
        assert whole == [(True, 1)]  # the other subject's
        assert acts.count("subject.erased") == 2
        assert begun(home) is None
    else:
        assert whole == [(True, people)] * requests + [(True, 1)]
    with open_evidence(home.path) as evidence:
        assert verify(evidence).code in (Code.UNANCHORED, Code.MISSING)
    return recorded, died


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_between_its_records_an_erasure_is_completed_by_the_next_start(tmp_path, stride):
    """At each commit of an erasure of two records all goes or nothing; nobody has to ask again.

    The keys that one record names at most are few here, so that each step is quick.
    """
    home, pem = filled_with_many(tmp_path, 2, 2)
    seen = set()
    for step in range(1, 100, stride):
        copy = replace(home, path=tmp_path / f"home-{step}")
        shutil.copytree(home.path, copy.path)
        recorded, died = check_completed(copy, pem, step, 4, 2, 2)
        seen.add((recorded, died))
        if not died:
            break
    every = {(0, True), (1, True), (2, True), (2, False)}
    assert seen == every if stride == 1 else {(2, False)} <= seen <= every


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_between_two_whole_records_the_rest_of_4096_keys_goes(tmp_path):
    """The same at the format's own limit: the second record is made by the next start."""
    home, pem = filled_with_many(tmp_path, 100, 42)
    seen = []
    for step in range(2, 20):
        copy = replace(home, path=tmp_path / f"home-{step}")
        shutil.copytree(home.path, copy.path)
        seen.append(check_completed(copy, pem, step, MAX_ERASED, 100, 42))
        if seen[-1] == (1, True):
            break
    assert seen[-1] == (1, True)
