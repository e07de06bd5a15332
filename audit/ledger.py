"""The ledger: group commit, and nothing acknowledged that is not durable.

The contract (audit-format.md §8):

- A future of ``submit`` resolves only after the transaction that holds the record was synced.
  Keys that the record is sealed under MUST be durable before it; they are committed first.
- One writer thread collects what waits, seals it, writes it in one durable transaction, then
  releases all of it. (A second thread that seals ahead is slower: they take turns in CPython.)
- An error of the disk is a LedgerError for everybody in the batch, and ``writable`` is False
  until a write succeeds again. MUST NOT be retried behind the caller's back.
- A checkpoint is signed every N records or T seconds, and on close.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from audit.appending import Appended, Appender, Options, StaleKeysError
from audit.auditorlist import Watched, first_registry, save_registry
from audit.blind import BlindIndex
from audit.chain import ROTATED, Chain
from audit.checkpoint import Checkpoint
from audit.errors import LedgerError, ProofError, RecordError
from audit.exclusive import exclusive
from audit.keyring import Randomness
from audit.keys import KeyStore
from audit.merkle import inclusion_proof, leaf_hash, verify_inclusion
from audit.preparing import Clock, Prepared, Preparer, Unindex, Wanted
from audit.recipients import Auditor, Scope
from audit.record import Entry, minute, parse
from audit.replay import replay
from audit.seal import Sealer
from audit.storage.place import place_of
from audit.store import LedgerStore, Pending, Reader, Row

__all__ = ["Appended", "Clock", "Ledger", "Options", "StoredRecord", "Unindex", "init_home"]

KEYSTORE_FILE, AUDITORS_FILE = "keystore.db", "auditors.json"
DEMO_PREFIX = "demo."


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as anybody may see it, with the proof that it stands under ``checkpoint``."""

    index: int
    event: str
    rid: str | None
    minute: str
    features: dict[str, Any]
    commits: dict[str, str]
    leaf_hash: bytes
    receipt: str
    proof: tuple[bytes, ...]
    checkpoint: str
    body: bytes = field(repr=False, default=b"")


# --- a home -----------------------------------------------------------------------------------


def init_home(
    home: Path,
    auditors: Sequence[Auditor] = (),
    *,
    demo: bool = False,
    randomness: Randomness = os.urandom,
) -> str:
    """Make ledger and key store under ``home`` unless they are there; return the log's origin.

    ``auditors`` are registered where none are: to add one later takes two people (§7.7). A demo
    log says so in its origin, hence in every record, checkpoint and receipt: it cannot be promoted.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{DEMO_PREFIX if demo else ''}cloister.local/{randomness(8).hex()}"
    keys = KeyStore.create(home / KEYSTORE_FILE, name, randomness)
    try:
        public = keys.signing_key.public
        facts = {"format": b"1", "vkey": public.vkey().encode()}
        LedgerStore.create(place_of(home), facts).close()
    finally:
        keys.close()
    if auditors:
        listed = home / AUDITORS_FILE
        with exclusive(home):
            save_registry(listed, first_registry(listed, auditors))
    return public.name


# --- the ledger -------------------------------------------------------------------------------


class Ledger:
    """The log of one gateway. Thread-safe. ``Ledger.open`` opens it; closing signs its end."""

    def __init__(
        self, store: LedgerStore, keys: KeyStore, sealer: Sealer, clock: Clock, options: Options
    ) -> None:
        self.boot = sealer.boot
        self._store, self._keys, self._clock, self._options = store, keys, clock, options
        self._sealer = sealer
        index = BlindIndex(sealer.randomness) if options.index else None
        self._preparer = Preparer(keys.signing_key.name, sealer, clock, index)
        self._appender = Appender(store, keys, sealer.ring, clock, options)
        self._queue: queue.SimpleQueue[Wanted | _Ask | None] = queue.SimpleQueue()
        self._room = threading.BoundedSemaphore(options.queue)
        self._closed, self._writable, self._process = False, True, os.getpid()
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        clock: Clock,
        options: Options | None = None,
        randomness: Randomness = os.urandom,
    ) -> Ledger:
        """Open the ledger of a home that ``init_home`` made.

        Raises:
            KeyStoreError: no key store, or no auditor registered (nobody could ever read).
            MissingError, LedgerError: no ledger, or one that contradicts its own checkpoint.
        """
        auditors = Watched(home / AUDITORS_FILE)
        keys = KeyStore.open(home / KEYSTORE_FILE)
        try:
            store = LedgerStore(place_of(home))
        except BaseException:
            keys.close()
            raise
        try:
            replay(store, keys)
            chosen = options or Options()
            sealer = Sealer(auditors.first, randomness, auditors.newest, pseudonyms=chosen.index)
            return cls(store, keys, sealer, clock, chosen)
        except BaseException:
            store.close()
            keys.close()
            raise

    @property
    def origin(self) -> str:
        return self._keys.signing_key.name

    @property
    def demo(self) -> bool:
        return self.origin.startswith(DEMO_PREFIX)

    @property
    def writable(self) -> bool:
        """False from the first failed write until one succeeds; for readiness."""
        return self._writable and not self._closed and self._thread.is_alive()

    # --- writing ---

    def submit(self, entry: Entry, *, unindex: Unindex | None = None) -> Future[Appended]:
        """Put an entry on record. The future resolves when it is durable, or with LedgerError.

        ``unindex`` goes from the blind index in the same transaction.

        Never blocks: where too many wait already, that is a LedgerError, too.

        Raises:
            RecordError: the entry may not be written (at once, before anything is queued).
        """
        entry.check()
        if entry.event == ROTATED:
            raise RecordError("the log's key changes with `auditlog keystore rotate-signing`")
        future: Future[Appended] = Future()
        self._enqueue(Wanted(entry, future, unindex))
        return future

    def publish(self) -> Future[None]:
        """Sign a checkpoint over all that is durable now, unless the newest one covers it."""
        asked = _Ask()
        self._enqueue(asked)
        return asked.future

    def _enqueue(self, what: Wanted | _Ask) -> None:
        # A fork has a copy of us without the writer's thread: it would wait for ever (§8.5).
        if os.getpid() != self._process or not self._thread.is_alive():
            raise LedgerError("the ledger is closed")
        with self._door:
            if self._closed:
                raise LedgerError("the ledger is closed")
            if not self._room.acquire(blocking=False):
                raise LedgerError("the ledger's queue is full")
            self._queue.put(what)

    def close(self) -> None:
        """Write what waits, sign the end, let go of the files. Idempotent.

        In a fork of the process that opened it, only that process lets go.
        """
        if os.getpid() != self._process:
            return
        with self._door:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._store.close()
        self._keys.close()

    # --- reading ---

    @property
    def keys(self) -> KeyStore:
        """The key store, for erasure and expiry."""
        return self._keys

    def scope(self, auditor: str) -> Scope | None:
        """What an auditor may read, by the id of their key; None where nobody has this id."""
        return self._sealer.scope(auditor)

    def reading(self) -> AbstractContextManager[Reader]:
        """A snapshot of all records."""
        return self._store.reading()

    @property
    def now(self) -> datetime:
        return self._clock()

    def find(self, rid: str) -> tuple[StoredRecord, ...]:
        """The records of one receipt id with their proofs; blocks until a checkpoint covers them.

        Raises:
            LedgerError: no checkpoint could be written.
        """
        with self._store.reading() as reader:
            newest, rows = reader.newest_checkpoint(), reader.by_rid(rid)
        if not rows:
            return ()
        if newest is None or newest[0] <= rows[-1].index:
            self.publish().result()
        with self._store.reading() as reader:
            newest = reader.newest_checkpoint()
            if newest is None:
                raise LedgerError("the ledger has no checkpoint")
            head = Chain.stored(reader).open(newest[1])
            return tuple(_proven(row, head, reader) for row in rows)

    def checkpoint(self) -> str | None:
        """The newest signed checkpoint: for the auditor to keep elsewhere."""
        with self._store.reading() as reader:
            newest = reader.newest_checkpoint()
        return None if newest is None else newest[1]

    def open_intents(self) -> tuple[Pending, ...]:
        """Intents without an outcome: past their deadline, or older than this process."""
        now = minute(self._clock())
        with self._store.reading() as reader:
            return tuple(
                intent
                for intent in reader.pending()
                if intent.boot != self.boot
                or (intent.deadline is not None and intent.deadline <= now)
            )

    # --- the writer thread ---

    def _run(self) -> None:
        closing = False
        while not closing:
            options = self._options
            pause = options.checkpoint_seconds if self._writable else options.probe_seconds
            found, closing = _drain(self._queue, options.batch, pause)
            self._round(
                [one for one in found if isinstance(one, Wanted)],
                [one for one in found if isinstance(one, _Ask)],
                closing=closing,
            )

    def _round(self, wanted: Sequence[Wanted], asked: Sequence[_Ask], *, closing: bool) -> None:
        """Seal what waits, write it, release it; or use the quiet to sign or to probe."""
        batch = self._preparer.prepare(wanted, self._unsealed)
        results: Sequence[Appended] = []
        error: LedgerError | None = None
        try:
            batch, results = self._append(batch, sign=bool(asked) or closing)
        except LedgerError as failed:
            error = failed
        except Exception:  # noqa: BLE001 - the writer must outlive whatever one batch does
            error = LedgerError("the ledger cannot be written")
        self._writable = error is None
        if error is not None:
            self._preparer.forget_index()
        for prepared, result in zip_longest(batch, results):
            self._release(prepared.wanted.future, result or error)
        for one in asked:
            self._release(one.future, error)
        if error is None and batch:
            self._appender.restock(batch[-1].position.expires)

    def _append(
        self, batch: list[Prepared], *, sign: bool
    ) -> tuple[list[Prepared], Sequence[Appended]]:
        """What was written in the end, and what became of it."""
        if not (batch or sign or self._appender.unsigned):
            if not self._writable:
                self._appender.probe()
            return [], []
        while True:  # an erasure at a time, each of which was put on record by somebody
            try:
                return batch, self._appender.append(batch, sign=sign)
            except StaleKeysError:
                self._preparer.forget_owners()
                again = self._preparer.prepare([one.wanted for one in batch], self._unsealed)
                batch[:] = again  # the caller's, too: who failed now is released already

    def _unsealed(self, wanted: Wanted) -> None:
        self._release(wanted.future, LedgerError("an entry could not be sealed"))

    def _release(self, future: Future[Any] | None, result: object) -> None:
        """Release one caller. Who has stopped waiting does not undo what was written."""
        if future is None:
            return
        self._room.release()
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


@dataclass(frozen=True, slots=True)
class _Ask:
    """Somebody asks for a checkpoint."""

    future: Future[None] = field(default_factory=Future)


def _drain(
    source: queue.SimpleQueue[Any], most: int, pause: float | None = None
) -> tuple[list[Any], bool]:
    """What waits, ``most`` at most, and whether the end is among it; empty after ``pause``."""
    found: list[Any] = []
    try:
        one = source.get(timeout=pause)
        while one is not None:
            found.append(one)
            if len(found) >= most:
                return found, False
            one = source.get_nowait()
    except queue.Empty:
        return found, False
    return found, True


def _proven(row: Row, head: Checkpoint, reader: Reader) -> StoredRecord:
    """The record with its proof, checked before it is handed out."""
    proof = inclusion_proof(row.index, head.size, reader.node)
    leaf = leaf_hash(row.body)
    try:
        verify_inclusion(leaf, row.index, head.size, proof, head.root)
    except ProofError:
        raise LedgerError("the ledger contradicts its newest checkpoint") from None
    header = parse(row.body).header
    return StoredRecord(
        index=row.index,
        event=header.event,
        rid=header.rid,
        minute=header.minute,
        features=dict(header.features),
        commits=dict(header.commits),
        leaf_hash=leaf,
        receipt=row.receipt,
        proof=proof,
        checkpoint=head.note,
        body=row.body,
    )


def record_act(home: Path, entry: Entry, *, clock: Clock | None = None) -> Appended:
    """Put one act of an operator on record from a process of its own, and sign the end."""
    ledger = Ledger.open(home, clock=clock or (lambda: datetime.now(UTC)))
    try:
        return ledger.submit(entry).result()
    finally:
        ledger.close()
