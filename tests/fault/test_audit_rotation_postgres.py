"""The log's key is exchanged on a PostgreSQL server while two gateways append (§7.8)."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from contextlib import closing

import pytest

from audit.chain import Chain
from audit.errors import LedgerError
from audit.ledger import Options
from audit.rotate import rotate_signing
from audit.storage.place import place_of
from audit.store import LedgerStore
from audit.verify import Code
from tests import postgres
from tests.auditkit import Home, intent, make_home
from tests.conformance.test_audit_verifiers import judge

pytestmark = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)


@pytest.fixture(scope="module")
def server():
    with postgres.running() as running:
        yield running


@pytest.fixture
def home(server, tmp_path):
    """A home whose ledger is a fresh database of the server."""
    postgres.settle(tmp_path / "home", server.fresh(f"t{random.getrandbits(48):x}"))
    return make_home(tmp_path / "home")


def test_two_gateways_take_the_new_key_up_from_the_database(home):
    """Rotated twice beside them: each receipt is by the key of its place, and the chain is one."""
    command = [sys.executable, "-m", "audit", "keystore", "rotate-signing", str(home.path)]
    options, done = Options(checkpoint_records=5), []
    with home.ledger(options) as one, home.ledger(options) as two:
        for _ in range(2):
            rotating = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while rotating.poll() is None:
                both = [ledger.submit(intent(len(done) + n)) for n, ledger in enumerate((one, two))]
                done += [future.result() for future in both]
                time.sleep(0.01)
            assert rotating.returncode == 0
        done += [ledger.submit(intent(len(done))).result() for ledger in (one, two)]
    store = LedgerStore(place_of(home.path), readonly=True)
    with closing(store), store.reading() as reader:
        chain = Chain.stored(reader)
        kept = [note.encode() for _, note in reader.checkpoints()]
    assert len(chain.later) == 2
    assert {chain.at(one.index) for one in done} == {key for _, key in chain.keys}
    for one in done:
        assert chain.receipt(one.receipt.note).index == one.index
    report = judge(home.path, kept)
    assert report.code is Code.ANCHORED, report.words


def test_a_gateway_whose_copy_of_the_key_store_lacks_the_new_key_writes_nothing(home, tmp_path):
    """It signs nothing with the old key: who waits is told, until the copy is made anew."""
    other = Home(tmp_path / "other", home.private, home.clock)
    shutil.copytree(home.path, other.path)
    with other.ledger(Options(probe_seconds=0.02)) as ledger:
        ledger.submit(intent(1)).result()
        rotate_signing(home.path, clock=home.clock)
        with pytest.raises(LedgerError, match="lacks the key that signs"):
            ledger.submit(intent(2)).result()
        time.sleep(0.3)  # a disk that takes writes again does not make it writable
        assert not ledger.writable
    for file in other.path.glob("keystore.db*"):
        file.unlink()
    shutil.copy(home.path / "keystore.db", other.path)
    with other.ledger() as ledger:
        ledger.submit(intent(3)).result()
    assert judge(home.path).code is Code.UNANCHORED
