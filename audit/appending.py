"""One append: keys first, then records, tree, index and checkpoint in one durable transaction.

audit-format.md §8. Position and tree are read inside the transaction: another process may have
appended since, and a remembered size is trusted only where the last leaf confirms it. A
checkpoint is signed over what its own transaction commits. Two checkpoints of one log never
contradict each other: the tree they are signed over is the stored one, checked against the
newest checkpoint at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from audit.blind import EVENT as INDEX_KEY
from audit.chain import Chain, rotations
from audit.checkpoint import Checkpoint, SignedReceipt, SigningKey
from audit.errors import KeyStoreError, LedgerError, MissingError, NoteError
from audit.keyring import KeyRing
from audit.keys import KeyStore
from audit.merkle import Frontier, leaf_hash
from audit.preparing import Prepared
from audit.replay import ERASED
from audit.store import LedgerStore, Pending, Reader, Row, Writer

ACTS = frozenset({INDEX_KEY, ERASED, "hold.set", "hold.release", "export.made"})
"""Events that are found again without reading the whole log (audit-format.md §11.1)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the log is written. Seconds, records, and how much one transaction takes at most.

    ``reserve``: how many subjects' keys are made durable ahead of the records that will use them;
    each saves an append one commit of the key store. ``queue``: how many entries may wait.
    ``index``: keep a blind index of subjects and matters, and seal a pseudonym of the subject in
    each record (audit-format.md §11).
    """

    checkpoint_records: int = 256
    checkpoint_seconds: float = 10.0
    probe_seconds: float = 1.0
    batch: int = 256
    reserve: int = 0
    queue: int = 4096
    index: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """A record is durable at ``index``; ``receipt`` is the log's signed word for it."""

    index: int
    leaf_hash: bytes
    receipt: SignedReceipt


class StaleKeysError(Exception):
    """A subject was erased since keys of subjects were remembered. Nothing was written."""


class Appender:
    """Puts sealed entries on record. For one thread."""

    def __init__(
        self,
        store: LedgerStore,
        keys: KeyStore,
        ring: KeyRing,
        clock: Callable[[], datetime],
        options: Options,
    ) -> None:
        """Check the stored tree first.

        Raises:
            LedgerError: it contradicts its newest checkpoint, or is another key store's.
        """
        self._store, self._keys, self._ring = store, keys, ring
        self._clock, self._options = clock, options
        self._signer: SigningKey = keys.signing_key
        self._rotations = b""  # as of _take_key
        self._edge: tuple[Frontier, bytes] | None = None  # as of our last commit; see _frontier
        self._signed, self._erased = self._check_newest()
        self._signed_at = clock()

    @property
    def unsigned(self) -> bool:
        """Whether records of ours have waited long enough for a checkpoint."""
        waited = self._clock() - self._signed_at
        return (
            self._edge is not None
            and self._edge[0].size > self._signed
            and abs(waited) >= timedelta(seconds=self._options.checkpoint_seconds)
        )

    def append(self, batch: Sequence[Prepared], *, sign: bool) -> list[Appended]:
        """Make keys durable, then append in one transaction, signed where it is time or asked.

        Raises:
            LedgerError: nothing of it is certain to be durable.
            StaleKeysError: the entries have to be sealed once more.
        """
        self._add_keys(batch)
        with self._store.writing() as writer:
            self._check_erased(writer)
            self._take_key(writer)
            edge = self._frontier(writer)
            appended = self._write(writer, edge, batch)
            signed = self._sign_if_due(writer, edge, asked=sign)
        if appended:
            self._edge = (edge, appended[-1].leaf_hash)
        if signed:
            self._signed, self._signed_at = edge.size, self._clock()
        return appended

    def restock(self, month: str) -> None:
        """Make keys durable for records to come. Nobody waits for it, and it may fail."""
        keys = self._ring.wanted(month, self._options.reserve)
        if keys:
            with suppress(KeyStoreError):
                self._keys.add(keys)
                self._ring.stock(keys)

    def probe(self) -> None:
        """Find out whether the disk takes writes again.

        Raises:
            LedgerError: it does not.
        """
        try:
            self._keys.probe()
        except KeyStoreError:
            raise LedgerError("the key store cannot be written") from None
        with self._store.writing() as writer:
            self._take_key(writer)
            self._frontier(writer)
            writer.probe()

    def _add_keys(self, batch: Sequence[Prepared]) -> None:
        keys = self._ring.not_durable([key for one in batch for key in one.sealed.keys])
        try:
            if keys:
                self._keys.add(keys)
            else:  # those that are remembered as durable MUST still be there
                self._keys.check_place()
        except KeyStoreError:
            raise LedgerError("the key store cannot be written") from None
        self._ring.made_durable(keys)

    def _check_erased(self, writer: Writer) -> None:
        """Find out whether a key that is remembered here may have been destroyed meanwhile."""
        newest = writer.last_act(ERASED)
        if newest != self._erased:
            self._erased = newest
            raise StaleKeysError

    def _take_key(self, reader: Reader) -> None:
        """Sign with the log's key of now: another process may have rotated it (§7.8)."""
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
        """The tree's right edge as stored; the remembered one where the stored end confirms it.

        Raises:
            LedgerError: what was appended here is not there any more.
        """
        size, leaf = writer.last()
        if self._edge is not None:
            known, end = self._edge
            if (known.size, end) == (size, leaf):
                return known.copy()
            if size < known.size or writer.node(0, known.size - 1) != end:
                # Rolled back under us: to go on would sign a fork of what was acknowledged (§8.5).
                raise LedgerError("the ledger lacks records that were appended to it")
        elif size < self._signed:
            raise LedgerError("the ledger lacks records that a checkpoint was signed over")
        return Frontier.load(size, writer.node)

    def _write(self, writer: Writer, edge: Frontier, batch: Sequence[Prepared]) -> list[Appended]:
        rows: list[Row] = []
        nodes: list[tuple[int, int, bytes]] = []
        appended: list[Appended] = []
        intents: list[Pending] = []
        closed: list[str] = []
        indexed: list[tuple[bytes, int, str, str]] = []
        for one in batch:
            leaf, index, place = leaf_hash(one.sealed.body), edge.size, one.position
            receipt = SignedReceipt(
                place.origin, one.rid, one.event, index, leaf, place.minute
            ).sign(self._signer)
            rows.append(
                Row(index, one.rid, one.sealed.body, leaf, receipt.note, place.boot, place.seq)
            )
            nodes.extend(edge.append(leaf))
            appended.append(Appended(index, leaf, receipt))
            if one.event == "intent" and one.rid:
                intents.append(Pending(one.rid, index, place.boot, place.deadline))
            elif one.event == "outcome" and one.rid:
                closed.append(one.rid)
            indexed += [(token, index, day, place.expires) for token, day in one.found_by]
        writer.append(rows, nodes)
        writer.index(indexed)
        writer.note_acts([(row.index, one.event) for one, row in zip(batch, rows, strict=True)
                          if one.event in ACTS])  # fmt: skip
        for one in batch:
            if one.wanted.unindex is not None:
                writer.unindex(one.wanted.unindex.tokens, before=one.wanted.unindex.before)
        writer.open_intents(intents)
        writer.close_intents(closed)
        return appended

    def _sign_if_due(self, writer: Writer, edge: Frontier, *, asked: bool) -> bool:
        unsigned = edge.size - self._signed
        if not (asked or unsigned >= self._options.checkpoint_records or self.unsigned):
            return False
        newest = writer.newest_checkpoint()
        stored = newest[0] if newest else 0
        if stored < self._signed:
            raise LedgerError("the ledger lacks a checkpoint that was signed")
        if edge.size > stored:
            checkpoint = Checkpoint(self._signer.name, edge.size, edge.root()).sign(self._signer)
            writer.checkpoint(edge.size, checkpoint.note)
        return True

    def _check_newest(self) -> tuple[int, int]:
        """The size of the newest checkpoint, once the stored tree was found to agree with it.

        And where the newest erasure is.
        """
        with self._store.reading() as reader:
            newest, (size, _) = reader.newest_checkpoint(), reader.last()
            erased = reader.last_act(ERASED)
            self._take_key(reader)
            if newest is None:
                return 0, erased
            try:
                checkpoint = Chain.stored(reader).open(newest[1])
                root = Frontier.load(checkpoint.size, reader.node).root()
            except (NoteError, MissingError):
                raise LedgerError("the ledger contradicts its newest checkpoint") from None
            if checkpoint.size > size or checkpoint.root != root:
                raise LedgerError("the ledger contradicts its newest checkpoint")
            return checkpoint.size, erased
