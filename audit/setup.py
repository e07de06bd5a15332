"""The set-up on record: who may read the log, and what its key store is encrypted with (§7.9)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from audit.auditorlist import load_registry
from audit.keystore.change import state
from audit.ledger import AUDITORS_FILE, KEYSTORE_FILE, record_act
from audit.record import Entry
from audit.storage.place import place_of
from audit.store import LedgerStore

MADE = "home.made"


def setup(home: Path) -> tuple[str, dict[str, object]]:
    """The digest of the list of auditors, and what is sealed of the set-up: ids, no names.

    Raises:
        KeyStoreError: the list or the key store cannot be read.
    """
    registry, lock = load_registry(home / AUDITORS_FILE), state(home / KEYSTORE_FILE)
    ids = sorted(auditor.id for auditor in registry.auditors.values())
    return registry.digest, {"auditors": ids, "lock": "none" if lock is None else lock.kind}


def record_setup(home: Path, now: datetime) -> None:
    """Let the log begin with its set-up, under a checkpoint. A log with records is left alone.

    Raises:
        KeyStoreError, LedgerError: it cannot be put on record.
    """
    store = LedgerStore(place_of(home), readonly=True)
    try:
        with store.reading() as reader:
            count, _ = reader.last()
    finally:
        store.close()
    if not count:
        digest, sealed = setup(home)
        features = {"role": "operator", "digests": {"key:auditors": digest}}
        record_act(home, Entry(MADE, None, features, sealed), clock=lambda: now)
