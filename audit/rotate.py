"""Rotation of the key that signs the log, while gateways run (audit-format.md §7.8).

The new key is durable in the key store before anything names it. One transaction of the ledger
then appends the ``key.rotated`` record, has old and new key sign the checkpoint over it, and makes
the new key the log's. Who appends next reads that in the transaction that appends. Last, the old
private key is destroyed. Killed anywhere, the log has one key to go on with, and it is there.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from audit.chain import FACT, FEATURE, ROTATED, Chain, next_key
from audit.checkpoint import Checkpoint, SignedReceipt, SigningKey, VerifyingKey
from audit.errors import MissingError
from audit.exclusive import exclusive
from audit.keyring import Randomness
from audit.keys import load_auditors
from audit.keystore.store import KeyStore
from audit.ledger import AUDITORS_FILE, KEYSTORE_FILE, Clock, Ledger
from audit.merkle import Frontier, leaf_hash
from audit.record import Entry, expiry_month, minute
from audit.seal import Position, Sealed, Sealer
from audit.storage.place import place_of
from audit.store import LedgerStore, Row, Writer


@dataclass(frozen=True, slots=True)
class Rotated:
    """The log is signed with ``key`` behind the ``size`` records of ``checkpoint``."""

    key: VerifyingKey
    size: int
    checkpoint: str


def rotate_signing(home: Path, *, clock: Clock, randomness: Randomness = os.urandom) -> Rotated:
    """Let a new key sign the log from here on; or finish that where it was broken off.

    Raises:
        LedgerError: the ledger cannot be written, or contradicts what it signed.
        KeyStoreError: the key store cannot be used; what was begun is finished by the next call.
    """
    with exclusive(home):
        # For the checks of the ledger: a tree that contradicts its checkpoint MUST NOT be signed.
        Ledger.open(home, clock=clock).close()
        store = LedgerStore(place_of(home))
        with closing(store), closing(KeyStore.open(home / KEYSTORE_FILE)) as keys:
            with store.reading() as reader:
                current = Chain.stored(reader).current
            if keys.is_settled(current):
                sealer = Sealer(load_auditors(home / AUDITORS_FILE), randomness)
                successor = keys.prepare()
                sealed, position = _seal(sealer, successor, clock)
                keys.add(sealed.keys)
                with store.writing() as writer:
                    _append(writer, keys, successor, sealed, position)
                current = successor.public
            keys.settle(current)
            return _done(store)


def _seal(sealer: Sealer, successor: SigningKey, clock: Clock) -> tuple[Sealed, Position]:
    features = {"role": "operator", FEATURE: successor.public.public.hex()}
    entry, now = Entry(ROTATED, features=features), clock()
    entry.check()
    position = Position(
        origin=successor.name,
        boot=sealer.boot,
        seq=1,
        minute=minute(now),
        expires=expiry_month(now, entry.retain_months),
        at=now.astimezone(UTC).isoformat(timespec="milliseconds"),
    )
    return sealer.begin().seal(entry, position), position


def _append(
    writer: Writer, keys: KeyStore, successor: SigningKey, sealed: Sealed, position: Position
) -> None:
    """The record, its receipt by the old key, the checkpoint by both, and the new key in force."""
    chain = Chain.stored(writer)
    old, (size, _) = keys.signer(chain.current), writer.last()
    edge, leaf = Frontier.load(size, writer.node), leaf_hash(sealed.body)
    receipt = SignedReceipt(old.name, None, ROTATED, size, leaf, position.minute).sign(old)
    row = Row(size, None, sealed.body, leaf, receipt.note, position.boot, position.seq)
    writer.append([row], list(edge.append(leaf)))
    head = Checkpoint(old.name, edge.size, edge.root(), more=(next_key(successor.public),))
    signed = head.sign(old, successor)
    writer.checkpoint(edge.size, signed.note)
    writer.set_fact(FACT, chain.extended(signed.note).to_fact())


def _done(store: LedgerStore) -> Rotated:
    with store.reading() as reader:
        size, key = Chain.stored(reader).later[-1]
        note = reader.checkpoint_at(size)
    if note is None:
        raise MissingError("the checkpoint of the rotation is not there")
    return Rotated(key, size, note)
