"""The set-up is on record: who may read, and what the key store is locked with (§7.9)."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.auditorlist import load_registry
from audit.checkpoint import Checkpoint, signature_lines
from audit.keys import KeyStore, auditor_line, generate_auditor, load_private
from audit.keystore.change import Change
from audit.keystore.passphrase import Passphrase
from audit.ledger import Ledger
from audit.record import parse
from audit.seal import open_entry
from audit.setup import record_setup, setup
from audit.store import LedgerStore
from audit.verify import Code
from gateway.provision import provision
from gateway.recorder import Recorder, Site
from tests.auditkit import HandClock, make_home, quick_folder
from tests.conformance.test_audit_verifiers import judge


@pytest.fixture
def folder():
    with quick_folder() as path:
        yield path


def now() -> datetime:
    return datetime.now(UTC)


def opened(home: Path, index: int, pem: bytes):
    """A record's header and what it sealed."""
    keys = KeyStore.open(home / "keystore.db", readonly=True)
    store = LedgerStore(home / "ledger.db", readonly=True)
    with closing(keys), closing(store), store.reading() as reader:
        record = parse(reader.row(index).body)
        return record.header, open_entry(record, keys.key, load_private(pem)).sealed


def count(home: Path) -> int:
    store = LedgerStore(home / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        return reader.last()[0]


def test_a_home_begins_with_who_may_read_it(folder):
    """Ids and no names, under a checkpoint that can be kept from the first day on; once."""
    home = folder / "home"
    people = [generate_auditor(name) for name in ("A.B.", "C.D.")]
    lines = [auditor_line(auditor) for auditor, _ in people]
    for _ in range(2):
        provision(home, now, auditors=lines)
        assert count(home) == 1
    for auditor, pem in people:
        header, sealed = opened(home, 0, pem)
        assert (header.event, header.features["role"]) == ("home.made", "operator")
        digest = load_registry(home / "auditors.json").digest
        assert header.features["digests"] == {"key:auditors": digest}
        assert sealed == {"auditors": sorted(a.id for a, _ in people), "lock": "none"}
        assert auditor.name not in str(sealed)
    report = judge(home)
    assert (report.code, report.covered) == (Code.UNANCHORED, 1)


def test_a_log_that_has_begun_is_left_alone(folder):
    """A home of before gets no second beginning."""
    home = make_home(folder / "home")
    home.fill(1)
    record_setup(home.path, now())
    assert count(home.path) == 3


def test_an_empty_log_of_before_gets_its_beginning(folder):
    """Whoever made it, and the clock says when."""
    home = make_home(folder / "home")
    record_setup(home.path, datetime(2026, 5, 1, 8, 0, tzinfo=UTC))
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        assert parse(reader.row(0).body).header.minute == "2026-05-01T08:00Z"
        assert Checkpoint.parse(signature_lines(reader.newest_checkpoint()[1])[0]).size == 1


async def test_each_start_tells_the_auditors_and_the_lock(folder):
    """What the first record says is said again by each start: a lock that came later shows."""
    home = folder / "home"
    auditor, pem = generate_auditor("A.B.")
    provision(home, now, auditors=[auditor_line(auditor)])
    (home / "phrase").write_bytes(b"correct horse")
    (home / "phrase").chmod(0o600)
    (home / "settings.toml").write_text(
        '[keystore]\nlock = "passphrase"\npassphrase_file = "phrase"\n'
    )
    Change(home / "keystore.db").lock(Passphrase(b"correct horse", cost=1 << 14))
    clock = HandClock()
    digest, found = setup(home)
    site = Site(
        detector_digest="0" * 64, categories_digest="0" * 64, isolation=lambda: "none",
        deadline_s=1, retain_months=12, owner_key=bytes(32),
    )  # fmt: skip
    ledger = Ledger.open(home, clock=clock)
    await Recorder(ledger, clock, site).boot("0.1.0", digest, found)
    ledger.close()
    header, sealed = opened(home, 1, pem)
    assert header.event == "boot"
    assert header.features["digests"] == {"key:auditors": digest}
    assert sealed == {"auditors": [auditor.id], "lock": "passphrase"}
