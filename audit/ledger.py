"""The ledger: one writer, group commit, and nothing acknowledged that is not durable.

The contract (audit-format.md §8):

- A future of ``submit`` resolves only after the transaction that holds the record was synced.
  Keys that the record is sealed under MUST be durable before it; they are committed first.
- One writer thread collects what waits, seals it, writes it in one durable transaction, then
  releases all of it. Position and tree are read inside that transaction: another process may
  have appended since, and a remembered size is trusted only where the last leaf confirms it.
- An error of the disk is a LedgerError for everybody in the batch, and ``writable`` is False
  until a write succeeds again. MUST NOT be retried behind the caller's back.
- A checkpoint is signed over what its own transaction commits, every N records or T seconds,
  and on close. Two checkpoints of one log never contradict each other: the tree they are
  signed over is the stored one, checked against the newest checkpoint at the start.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit.auditorlist import Watched, first_registry, save_registry
from audit.blind import EVENT as INDEX_KEY
from audit.blind import BlindIndex
from audit.chain import ROTATED, Chain, rotations
from audit.checkpoint import Checkpoint, SignedReceipt
from audit.errors import (
    KeyStoreError,
    LedgerError,
    MissingError,
    NoteError,
    ProofError,
    RecordError,
)
from audit.exclusive import exclusive
from audit.keys import KeyStore
from audit.merkle import Frontier, inclusion_proof, leaf_hash, verify_inclusion
from audit.recipients import Auditor
from audit.record import Entry, deadline_minute, expiry_month, minute, parse
from audit.replay import ERASED, replay
from audit.seal import Position, Randomness, Sealed, Sealer
from audit.store import LedgerStore, Pending, Reader, Row, Writer

Clock = Callable[[], datetime]

LEDGER_FILE, KEYSTORE_FILE, AUDITORS_FILE = "ledger.db", "keystore.db", "auditors.json"
DEMO_PREFIX = "demo."
ACTS = frozenset({INDEX_KEY, ERASED, "hold.set", "hold.release", "export.made"})
"""Events that are found again without reading the whole log (audit-format.md §11.1)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the writer works. Seconds, records, and how much one transaction takes at most.

    ``reserve``: how many subjects' keys are made durable ahead of the records that will use them;
    each saves an append one commit of the key store. ``index``: keep a blind index of subjects and
    matters, and seal a pseudonym of the subject in each record (audit-format.md §11).
    """

    checkpoint_records: int = 256
    checkpoint_seconds: float = 10.0
    probe_seconds: float = 1.0
    batch: int = 128
    reserve: int = 0
    queue: int = 4096
    index: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """A record is durable at ``index``; ``receipt`` is the log's signed word for it."""

    index: int
    leaf_hash: bytes
    receipt: SignedReceipt


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


@dataclass(slots=True)
class _Waiting:
    entry: Entry | None  # None asks for a checkpoint
    future: Future[Any]
    unindex: Unindex | None = None


@dataclass(frozen=True, slots=True)
class Unindex:
    """Rows of the blind index that go in the transaction of a record: by token, by month."""

    tokens: Sequence[bytes] = field(repr=False, default=())
    before: str = ""


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
        LedgerStore.create(home / LEDGER_FILE, facts).close()
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
        self,
        store: LedgerStore,
        keys: KeyStore,
        sealer: Sealer,
        clock: Clock,
        options: Options,
    ) -> None:
        self.boot = sealer.boot
        self._store, self._keys, self._clock, self._options = store, keys, clock, options
        self._sealer, self._ring = sealer, sealer.ring
        self._signer, self._rotations = keys.signing_key, b""  # see _take_key
        self._index = BlindIndex(sealer.randomness) if options.index else None
        self._seq = 0
        self._edge: tuple[Frontier, bytes] | None = None  # as of our last commit; see _frontier
        self._erased = -1  # the newest erasure that the remembered keys have been held against
        self._signed = self._check_newest()
        self._signed_at = clock()
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(options.queue)
        self._closed, self._writable = False, True
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
            store = LedgerStore(home / LEDGER_FILE)
            store.extend()
            replay(store, keys)
            chosen = options or Options()
            sealer = Sealer(auditors.first, randomness, auditors.newest, pseudonyms=chosen.index)
            return cls(store, keys, sealer, clock, chosen)
        except BaseException:
            keys.close()
            raise

    @property
    def origin(self) -> str:
        return self._signer.name

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

        Never blocks: a full queue is a LedgerError, too.

        Raises:
            RecordError: the entry may not be written (at once, before anything is queued).
        """
        entry.check()
        if entry.event == ROTATED:
            raise RecordError("the log's key changes with `auditlog keystore rotate-signing`")
        return self._enqueue(entry, unindex)

    def publish(self) -> Future[None]:
        """Sign a checkpoint over all that is durable now, unless the newest one covers it."""
        return self._enqueue(None)

    def _enqueue(self, entry: Entry | None, unindex: Unindex | None = None) -> Future[Any]:
        future: Future[Any] = Future()
        with self._door:
            if self._closed:
                raise LedgerError("the ledger is closed")
            try:
                self._queue.put_nowait(_Waiting(entry, future, unindex))
            except queue.Full:
                raise LedgerError("the ledger's queue is full") from None
        return future

    def close(self) -> None:
        """Write what waits, sign the end, let go of the files. Idempotent."""
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
            batch, closing = self._collect()
            self._work(batch, closing=closing)

    def _collect(self) -> tuple[list[_Waiting], bool]:
        """What waits, at most a batch of it, and whether the ledger closes after it."""
        pause = self._options.checkpoint_seconds if self._writable else self._options.probe_seconds
        batch: list[_Waiting] = []
        try:
            found = self._queue.get(timeout=pause)
            while found is not None:
                batch.append(found)
                if len(batch) >= self._options.batch:
                    return batch, False
                found = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _work(self, batch: list[_Waiting], *, closing: bool) -> None:
        """One round: seal what waits, write it, release it; or use the quiet to sign or probe."""
        asked = [waiting.future for waiting in batch if waiting.entry is None]
        sealed, futures = self._seal_batch(batch)
        appended: list[Appended] = []
        error: LedgerError | None = None
        try:
            if sealed or asked or closing or self._unsigned():
                appended = self._write_fresh(sealed, sign=bool(asked) or closing)
            elif not self._writable:
                self._probe()
        except LedgerError as failed:
            error = failed
        except Exception:  # noqa: BLE001 - the writer must outlive whatever one batch does
            error = LedgerError("the ledger cannot be written")
        self._writable = error is None
        self._forget_index_key(failed=error is not None)
        for future, result in zip(futures, appended, strict=error is None):
            _resolve(future, result)
        for future in futures[len(appended) :]:
            _resolve(future, error)
        for future in asked:
            _resolve(future, error)
        if self._writable and sealed:
            self._restock(sealed[-1].position.expires)

    def _forget_index_key(self, *, failed: bool) -> None:
        """Where the record of the index' key may not be durable, the next entry draws another."""
        if failed and self._index is not None:
            self._index.lost()

    def _restock(self, month: str) -> None:
        """Make keys durable for records to come. Nobody waits for it, and it may fail."""
        keys = self._ring.wanted(month, self._options.reserve)
        if keys:
            with suppress(KeyStoreError):
                self._keys.add(keys)
                self._ring.stock(keys)

    def _seal_batch(self, batch: list[_Waiting]) -> tuple[list[_Ready], list[Future[Any]]]:
        """Seal before the write lock is taken. An entry that cannot be sealed fails alone."""
        now = self._clock()
        sealed: list[_Ready] = []
        futures: list[Future[Any]] = []
        for waiting in batch:
            if waiting.entry is None:
                continue
            try:
                key = self._index.due(waiting.entry, now) if self._index else None
                if key is not None:
                    sealed.append(self._seal(key, now))
                    futures.append(Future())  # nobody waits for it
                sealed.append(self._seal(waiting.entry, now, waiting.unindex))
            except Exception:  # noqa: BLE001 - what was to be sealed must not show in an error
                _resolve(waiting.future, LedgerError("an entry could not be sealed"))
                self._forget_index_key(failed=True)
            else:
                futures.append(waiting.future)
        return sealed, futures

    def _seal(self, entry: Entry, now: datetime, unindex: Unindex | None = None) -> _Ready:
        self._seq += 1
        floor = entry.floor_months
        position = Position(
            origin=self.origin,
            boot=self.boot,
            seq=self._seq,
            minute=minute(now),
            expires=expiry_month(now, entry.retain_months),
            at=now.astimezone(UTC).isoformat(timespec="milliseconds"),
            deadline=None if entry.deadline is None else deadline_minute(entry.deadline),
            floor=expiry_month(now, floor) if floor else None,
        )
        found_by = self._index.rows(entry) if self._index else ()
        return _Ready(entry, position, self._sealer.seal(entry, position), found_by, unindex)

    def _again(self, ready: _Ready) -> _Ready:
        """Seal once more, under keys that no erasure has destroyed meanwhile."""
        self._seq += 1
        position = replace(ready.position, seq=self._seq)
        return replace(ready, position=position, sealed=self._sealer.seal(ready.entry, position))

    def _write_fresh(self, batch: list[_Ready], *, sign: bool) -> list[Appended]:
        """Write a batch, sealed once more where an erasure came between."""
        try:
            return self._write(batch, sign=sign)
        except _StaleKeysError:
            return self._write([self._again(ready) for ready in batch], sign=sign)

    def _write(self, batch: list[_Ready], *, sign: bool) -> list[Appended]:
        """Make keys durable, then append in one transaction and sign where it is time."""
        keys = self._ring.not_durable([key for ready in batch for key in ready.sealed.keys])
        if keys:
            try:
                self._keys.add(keys)
            except KeyStoreError:
                raise LedgerError("the key store cannot be written") from None
            self._ring.made_durable(keys)
        with self._store.writing() as writer:
            self._check_erased(writer)
            self._take_key(writer)
            edge = self._frontier(writer)
            appended = self._append(writer, edge, batch)
            signed = self._sign_if_due(writer, edge, asked=sign)
        if appended:
            self._edge = (edge, appended[-1].leaf_hash)
        if signed:
            self._signed, self._signed_at = edge.size, self._clock()
        return appended

    def _check_erased(self, writer: Writer) -> None:
        """Forget the owners' keys where an erasure came since: it may be one of them that is gone.

        Raises:
            _StaleKeysError: what this transaction is to append is sealed under keys of before.
        """
        newest = writer.last_act(ERASED)
        if newest != self._erased:
            self._erased = newest
            self._ring.forget()
            raise _StaleKeysError

    def _take_key(self, reader: Reader) -> None:
        """Sign with the log's key of now: another process may have rotated it (§5.8)."""
        try:
            told = rotations(reader)
            if told != self._rotations:
                self._signer = self._keys.signer(Chain.stored(reader).current)
                self._rotations = told
        except (MissingError, NoteError):
            raise LedgerError("the ledger does not say which key signs it") from None
        except KeyStoreError:
            raise LedgerError("the key store lacks the key that signs this ledger") from None

    def _frontier(self, writer: Writer) -> Frontier:
        """The tree's right edge as stored; the remembered one where the stored end confirms it."""
        size, leaf = writer.last()
        if self._edge is not None and (self._edge[0].size, self._edge[1]) == (size, leaf):
            return self._edge[0].copy()
        return Frontier.load(size, writer.node)

    def _append(self, writer: Writer, edge: Frontier, batch: list[_Ready]) -> list[Appended]:
        rows: list[Row] = []
        nodes: list[tuple[int, int, bytes]] = []
        appended: list[Appended] = []
        intents: list[Pending] = []
        indexed: list[tuple[bytes, int, str, str]] = []
        for ready in batch:
            leaf, index, place = leaf_hash(ready.sealed.body), edge.size, ready.position
            receipt = SignedReceipt(
                self.origin, ready.rid, ready.event, index, leaf, place.minute
            ).sign(self._signer)
            rows.append(Row(index, ready.rid, ready.sealed.body, leaf, receipt.note))
            nodes.extend(edge.append(leaf))
            appended.append(Appended(index, leaf, receipt))
            if ready.event == "intent" and ready.rid:
                intents.append(Pending(ready.rid, index, place.boot, place.deadline))
            indexed += [(token, index, day, place.expires) for token, day in ready.found_by]
        if rows:
            writer.append(rows, nodes)
        writer.index(indexed)
        writer.note_acts(
            [
                (done.index, ready.event)
                for ready, done in zip(batch, appended, strict=True)
                if ready.event in ACTS
            ]
        )
        for ready in batch:
            if ready.unindex is not None:
                writer.unindex(ready.unindex.tokens, before=ready.unindex.before)
        writer.open_intents(intents)
        writer.close_intents([r.rid for r in batch if r.event == "outcome" and r.rid])
        return appended

    def _sign_if_due(self, writer: Writer, edge: Frontier, *, asked: bool) -> bool:
        unsigned = edge.size - self._signed
        if not (asked or unsigned >= self._options.checkpoint_records or self._unsigned()):
            return False
        newest = writer.newest_checkpoint()
        if edge.size > (newest[0] if newest else 0):
            checkpoint = Checkpoint(self.origin, edge.size, edge.root()).sign(self._signer)
            writer.checkpoint(edge.size, checkpoint.note)
        return True

    def _unsigned(self) -> bool:
        """Whether records of ours have waited long enough for a checkpoint."""
        waited = self._clock() - self._signed_at
        return (
            self._edge is not None
            and self._edge[0].size > self._signed
            and abs(waited) >= timedelta(seconds=self._options.checkpoint_seconds)
        )

    def _probe(self) -> None:
        """Find out whether the disk takes writes again."""
        try:
            self._keys.probe()
        except KeyStoreError:
            raise LedgerError("the key store cannot be written") from None
        with self._store.writing() as writer:
            writer.probe()

    def _check_newest(self) -> int:
        """The size of the newest checkpoint, once the stored tree was found to agree with it."""
        with self._store.reading() as reader:
            newest, (size, _) = reader.newest_checkpoint(), reader.last()
            self._take_key(reader)
            if newest is None:
                return 0
            try:
                checkpoint = Chain.stored(reader).open(newest[1])
                root = Frontier.load(checkpoint.size, reader.node).root()
            except (NoteError, MissingError):
                raise LedgerError("the ledger contradicts its newest checkpoint") from None
            if checkpoint.size > size or checkpoint.root != root:
                raise LedgerError("the ledger contradicts its newest checkpoint")
            return checkpoint.size


@dataclass(frozen=True, slots=True)
class _Ready:
    """A sealed entry on its way into the transaction."""

    entry: Entry
    position: Position
    sealed: Sealed
    found_by: tuple[tuple[bytes, str], ...] = field(repr=False, default=())
    unindex: Unindex | None = None

    @property
    def event(self) -> str:
        return self.entry.event

    @property
    def rid(self) -> str | None:
        return self.entry.receipt_id


class _StaleKeysError(Exception):
    """A subject was erased since keys of subjects were remembered."""


def _resolve(future: Future[Any], result: object) -> None:
    """Release one caller. Who has stopped waiting does not undo what was written."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


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
