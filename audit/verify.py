"""The verifier: bytes in, a verdict out. Trusts the bytes of nobody but the auditor.

Does I/O through ``Evidence`` only (``export.py`` reads bundles and ledgers). What is verified are
the bytes as stored, never a re-serialisation. Checks run in the order of audit-format.md §9.2,
and the first that fails decides, so that every verifier of the format gives the same answer:

    1. the log's key and its checkpoints: signatures, origins, growing sizes
    2. the records, in order: none missing, none twice, each a record of this log, and the tree
       over them as each checkpoint says
    3. the end: as many records as the newest checkpoint covers; what a live ledger holds beyond
       it carries the log's signed receipt
    4. what the auditor kept: checkpoints, then receipts

Of a partial bundle, whose records are chosen ones, each record's place and the growth from
checkpoint to checkpoint are proven instead (``audit.partial``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol

from audit.chain import Chain
from audit.checkpoint import RECEIPT_MAGIC, Checkpoint, VerifyingKey, signers
from audit.cosignature import WitnessKey, cosigners
from audit.errors import AuditError, FormatError, MissingError, NoteError
from audit.merkle import Frontier, leaf_hash
from audit.mldsa import MlDsaKey, first_unsigned
from audit.partial import check_growth, check_place
from audit.record import Header, parse

# A policy that a record names by the digest of its text; records are canonical (§2.1).
_NAMED = re.compile(rb'"policy:[^"]*":"([0-9a-f]{64})"')


class Code(IntEnum):
    """Exit codes of ``auditlog verify``; stable (DESIGN §3)."""

    ANCHORED = 0
    UNANCHORED = 10
    MISSING = 20
    CONTRADICTED = 30
    TAMPERED = 40


class VerdictError(AuditError):
    """A check that failed, in words for people. Evidence is positions, never text."""

    verdict: ClassVar[Code] = Code.TAMPERED


class TamperedError(VerdictError):
    pass


class ContradictedError(VerdictError):
    verdict = Code.CONTRADICTED


class BytesMissingError(VerdictError):
    verdict = Code.MISSING


@dataclass(frozen=True, slots=True)
class Item:
    """A record as found. A ledger has also its leaf hash and its receipt; a bundle does not.

    ``proof``: of its place, in a partial bundle.
    """

    index: int
    body: bytes = field(repr=False)
    leaf: bytes | None = None
    receipt: str | None = field(repr=False, default=None)
    proof: str = field(repr=False, default="")


class Evidence(Protocol):
    """A log as somebody handed it over.

    Methods raise MissingError where bytes are missing or unreadable, FormatError where they are
    not what they should be.
    """

    live: ClassVar[bool]
    """Whether records may stand behind the newest checkpoint (a ledger in use)."""

    @property
    def partial(self) -> bool:
        """Whether it holds chosen records only, each with a proof of its place."""
        ...

    def vkey(self) -> str: ...

    def checkpoints(self) -> Iterator[str]: ...

    def items(self) -> Iterator[Item]: ...

    def growth(self) -> Sequence[str]:
        """For each checkpoint but the first, the proof that it extends the one before it."""
        ...

    def policies(self) -> Iterator[tuple[str, bytes]]:
        """Names and texts of the policies that were handed over with the log."""
        ...


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent without an outcome: evidence of a crash. ``reason`` is crashed or overdue."""

    index: int
    rid: str
    minute: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``anchored``: how many records the kept checkpoints vouch for."""

    code: Code
    words: str
    origin: str = ""
    records: int = 0
    covered: int = 0
    root: str = ""
    anchored: int = 0
    receipts: int = 0
    open_intents: tuple[OpenIntent, ...] = ()
    chosen: int | None = None
    """How many of the records are here, where only chosen ones are."""
    policies: tuple[str, ...] = ()
    unnamed_policies: tuple[str, ...] = ()
    """Texts handed over as policies, which no record here names."""
    keys: tuple[tuple[int, str], ...] = ()
    """The first record that each key of the log signs, and the key."""

    @property
    def demo(self) -> bool:
        return self.origin.startswith("demo.")


@dataclass(slots=True)
class _Log:
    """What the walk over the evidence has established so far."""

    chain: Chain
    checkpoints: list[Checkpoint]
    tree: Frontier = field(default_factory=Frontier)
    roots: dict[int, bytes] = field(default_factory=dict)
    leaves: dict[int, bytes] = field(default_factory=dict)
    sequence: dict[str, int] = field(default_factory=dict)
    intents: dict[str, list[tuple[int, Header]]] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    chosen: list[int] | None = None
    """Of a partial bundle: the indexes of the first and last record that are here."""
    held: int = 0
    named: set[bytes] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many records the log has."""
        if self.chosen is None:
            return self.tree.size
        return self.checkpoints[-1].size if self.checkpoints else 0


def verify(  # noqa: PLR0913 - what an auditor may bring
    evidence: Evidence,
    *,
    kept: Sequence[bytes] = (),
    receipts: Sequence[bytes] = (),
    now: str | None = None,
    witnesses: Sequence[WitnessKey] = (),
    threshold: int = 0,
    second: MlDsaKey | None = None,
    known: VerifyingKey | None = None,
) -> Report:
    """Verify a log against itself and against what the auditor kept.

    Args:
        evidence: the log.
        kept: checkpoints, as signed notes, that the auditor stored elsewhere.
        receipts: signed receipts that somebody was given.
        now: the present minute (``2026-01-31T23:59Z``), to tell overdue intents.
        witnesses: whose cosignatures count.
        threshold: a checkpoint that so many of them cosigned anchors the log as a kept one does;
            without one, the log is unanchored (audit-format.md §9.6).
        second: the log's ML-DSA-65 key. Its line must stand on the newest checkpoint, and on all
            since the first that has it.
        known: a verifier key of the log that the auditor kept: it must be one of the chain.

    Raises:
        FormatError: a kept checkpoint or receipt is no such thing. Everything else is a verdict.
    """
    check_kept(kept, receipts)
    log = None
    try:
        log = _Log(*_signed_heads(evidence))
        anchors = _readable(log.chain, kept)
        positions = _positions(log.chain, receipts)
        if evidence.partial:
            _walk_chosen(log, evidence, positions)
        else:
            _walk(log, evidence, {a.size for a in anchors if a}, positions)
        _check_end(log)
        _check_second(log, second)
        _check_known(log, known)
        _check_anchors(log, anchors)
        _check_receipts(log, receipts)
        cosigned = _cosigned(log, witnesses, threshold)
        log.texts = [(name, hashlib.sha256(text).hexdigest()) for name, text in evidence.policies()]
    except VerdictError as failed:
        return _report(log, failed.verdict, str(failed), now)
    except MissingError as failed:
        return _report(log, Code.MISSING, f"Bytes are missing: {failed}.", now)
    except FormatError as failed:
        return _report(log, Code.TAMPERED, f"Tampered: {failed}.", now)
    if threshold and cosigned is None:
        words = _too_few(log, witnesses, threshold)
        return _report(log, Code.UNANCHORED, words, now, 0, len(receipts))
    kept_size = max((a.size for a in anchors if a), default=0)
    covered = max(kept_size, cosigned or 0)
    if log.chosen is not None and covered <= log.chosen[0]:
        covered = 0  # it vouches for none of the records that are here
    code = Code.ANCHORED if covered else Code.UNANCHORED
    words = _good_news(log, kept_size, cosigned or 0, threshold)
    if log.chosen is not None:
        words = _partial_news(log, covered)
    return _report(log, code, words, now, covered, len(receipts))


def check_kept(kept: Sequence[bytes], receipts: Sequence[bytes]) -> None:
    """What the auditor brings must be what it is called, whoever signed it."""
    for note in (*kept, *receipts):
        signers(note)
    if any(Checkpoint.parse(_text(note)).size == 0 for note in kept):
        raise FormatError("a checkpoint of an empty log anchors nothing")
    if not all(_text(note).startswith(f"{RECEIPT_MAGIC}\n") for note in receipts):
        raise FormatError("not a receipt")


# --- 1: the signed heads ----------------------------------------------------------------------


def _signed_heads(evidence: Evidence) -> tuple[Chain, list[Checkpoint]]:
    """The checkpoints, each signed by the key of its time, and the keys that they tell of."""
    chain = Chain(VerifyingKey.parse(evidence.vkey()))
    found: list[Checkpoint] = []
    for number, note in enumerate(evidence.checkpoints()):
        try:
            chain = chain.extended(note)
            checkpoint = chain.open(note)
        except NoteError as failed:
            raise TamperedError(f"Tampered: checkpoint {number}: {failed}.") from None
        if checkpoint.size <= (found[-1].size if found else 0):
            raise TamperedError(f"Tampered: checkpoint {number} does not grow the log.")
        found.append(checkpoint)
    return chain, found


def _text(note: bytes) -> str:
    return note.decode("utf-8").rpartition("\n\n")[0] + "\n"


def _readable(chain: Chain, kept: Sequence[bytes]) -> list[Checkpoint | None]:
    """The kept checkpoints; None for one that this log's key did not sign (judged in step 4)."""
    result: list[Checkpoint | None] = []
    for note in kept:
        try:
            result.append(chain.open(note))
        except NoteError:
            result.append(None)
    return result


def _positions(chain: Chain, receipts: Sequence[bytes]) -> set[int]:
    wanted = set()
    for note in receipts:
        try:
            wanted.add(chain.receipt(note).index)
        except NoteError:
            continue
    return wanted


# --- 2: the records ---------------------------------------------------------------------------


def _walk(log: _Log, evidence: Evidence, sizes: set[int], positions: set[int]) -> None:
    heads = {checkpoint.size: checkpoint.root for checkpoint in log.checkpoints}
    covered = log.checkpoints[-1].size if log.checkpoints else 0
    for item in evidence.items():
        index = log.tree.size
        if item.index > index:
            raise BytesMissingError(f"Bytes are missing: record {index} is not there.")
        if item.index < index:
            raise TamperedError(f"Tampered: record {item.index} stands where {index} should.")
        if index >= covered and not evidence.live:
            raise TamperedError(f"Tampered: record {index} stands under no checkpoint.")
        leaf = leaf_hash(item.body)
        _check_record(log, item, leaf)
        if index >= covered:
            _check_tail(log.chain, item, leaf)
        log.tree.add(leaf)
        if index in positions:
            log.leaves[index] = leaf
        size = log.tree.size
        if size in heads or size in sizes:
            log.roots[size] = log.tree.root()
        if size in heads and heads[size] != log.roots[size]:
            raise TamperedError(
                f"Tampered: the first {size} records are not those of checkpoint {size}."
            )


def _check_record(log: _Log, item: Item, leaf: bytes) -> None:
    if item.leaf is not None and item.leaf != leaf:
        raise TamperedError(f"Tampered: record {item.index} is not what its leaf says.")
    try:
        header = parse(item.body).header
        log.chain.check_record(item.index, header)
    except FormatError as failed:
        raise TamperedError(f"Tampered: record {item.index}: {failed}.") from None
    if header.origin != log.chain.name:
        raise TamperedError(f"Tampered: record {item.index} belongs to another log.")
    if header.seq <= log.sequence.get(header.boot, -1):
        raise TamperedError(f"Tampered: record {item.index} was written before, or out of order.")
    log.sequence[header.boot] = header.seq
    log.named.update(_NAMED.findall(item.body))
    if header.event == "boot":
        log.started[header.boot] = item.index
    if header.rid and header.event == "intent":
        log.intents.setdefault(header.rid, []).append((item.index, header))
    elif header.rid and header.event == "outcome":
        log.intents.pop(header.rid, None)


def _walk_chosen(log: _Log, evidence: Evidence, positions: set[int]) -> None:
    """The records of a partial bundle (audit-format.md §10.2): in order, each in its place."""
    check_growth(log.checkpoints, evidence.growth())
    log.roots = {head.size: head.root for head in log.checkpoints}
    log.chosen = [-1, -1]
    for item in evidence.items():
        if item.index <= log.chosen[1] or item.index >= log.size:
            raise TamperedError(f"Tampered: record {item.index} stands where none should.")
        leaf = leaf_hash(item.body)
        _check_record(log, item, leaf)
        check_place(leaf, item.index, log.checkpoints[-1], item.proof)
        log.chosen = [item.index if log.held == 0 else log.chosen[0], item.index]
        log.held += 1
        if item.index in positions:
            log.leaves[item.index] = leaf
    if log.checkpoints and not log.held:
        raise BytesMissingError("Nothing to verify: no record is here.")


def _check_tail(chain: Chain, item: Item, leaf: bytes) -> None:
    """Behind the newest checkpoint, the record's own receipt vouches for it."""
    try:
        receipt = chain.receipt(item.receipt or "")
    except NoteError:
        raise TamperedError(f"Tampered: record {item.index} carries no valid receipt.") from None
    if (receipt.index, receipt.leaf_hash) != (item.index, leaf):
        raise TamperedError(f"Tampered: record {item.index} is not the one of its receipt.")


# --- 3 and 4: the end, and what was kept ------------------------------------------------------


def _check_end(log: _Log) -> None:
    if not log.size and not log.checkpoints:
        raise BytesMissingError("Nothing to verify: the log is empty.")
    if not log.checkpoints:
        raise BytesMissingError("Bytes are missing: no checkpoint was ever signed.")
    if log.size < log.checkpoints[-1].size:
        raise BytesMissingError(
            f"Bytes are missing: {log.size} of {log.checkpoints[-1].size} records are here."
        )


def _check_second(log: _Log, key: MlDsaKey | None) -> None:
    if key is None:
        return
    if key.name != log.chain.name:
        raise ContradictedError("Contradicts the ML-DSA-65 key you named: it is of another log.")
    try:
        lacking = first_unsigned([head.note for head in log.checkpoints], key)
    except NoteError as failed:
        raise TamperedError(f"Tampered: a checkpoint: {failed}.") from None
    if lacking is not None:
        raise ContradictedError(
            f"Contradicts the ML-DSA-65 key you named: it did not sign checkpoint {lacking}."
        )


def _check_known(log: _Log, key: VerifyingKey | None) -> None:
    """A log that was signed anew with another key does not have the one that was kept."""
    keys = (log.chain.first, *(later for _, later in log.chain.later))
    if key is not None and key not in keys:
        raise ContradictedError("Contradicts the key you kept: this log never had it.")


def _check_anchors(log: _Log, anchors: Sequence[Checkpoint | None]) -> None:
    for anchor in anchors:
        if anchor is None:
            raise ContradictedError(
                "Contradicts the checkpoint you kept: this log's key did not sign that one."
            )
        if anchor.size > log.size:
            raise BytesMissingError(
                f"Bytes are missing: the checkpoint you kept covers {anchor.size} records; "
                f"{log.size} are here."
            )
        if anchor.size not in log.roots:  # of a partial bundle
            raise BytesMissingError(
                f"Bytes are missing: the checkpoint you kept, of {anchor.size} records, is not "
                "among those that are here."
            )
        if log.roots[anchor.size] != anchor.root:
            raise ContradictedError(
                f"Contradicts the checkpoint you kept: the first {anchor.size} records were "
                "rewritten."
            )


def _check_receipts(log: _Log, receipts: Sequence[bytes]) -> None:
    for note in receipts:
        try:
            receipt = log.chain.receipt(note)
        except NoteError:
            raise ContradictedError(
                "Contradicts the receipt: this log's key did not sign it."
            ) from None
        if receipt.index >= log.size:
            raise BytesMissingError(
                f"Bytes are missing: the receipt is for record {receipt.index}; "
                f"{log.size} records are here."
            )
        if receipt.index not in log.leaves:  # of a partial bundle
            raise BytesMissingError(
                f"Bytes are missing: record {receipt.index}, which the receipt is for, is not "
                "among those that are here."
            )
        if log.leaves[receipt.index] != receipt.leaf_hash:
            raise TamperedError(
                f"Tampered: record {receipt.index} is not the one the receipt was signed for."
            )


def _cosigned(log: _Log, witnesses: Sequence[WitnessKey], threshold: int) -> int | None:
    """The size of the newest checkpoint that enough witnesses cosigned."""
    found = None
    for head in log.checkpoints:
        try:
            names = cosigners(head.note, witnesses)
        except NoteError as failed:
            raise TamperedError(f"Tampered: checkpoint of {head.size}: {failed}.") from None
        if threshold and len(names) >= threshold:
            found = head.size
    return found


# --- the answer -------------------------------------------------------------------------------


def _too_few(log: _Log, witnesses: Sequence[WitnessKey], threshold: int) -> str:
    most = max((len(cosigners(head.note, witnesses)) for head in log.checkpoints), default=0)
    return (
        f"Consistent but unanchored: {threshold} of the witnesses you named must have cosigned "
        f"one checkpoint, and {most} did."
    )


def _good_news(log: _Log, anchored: int, cosigned: int, threshold: int) -> str:
    records = log.tree.size
    if cosigned > anchored:
        return (
            f"Verified and anchored: {records} records, the first {cosigned} of them exactly as "
            f"{threshold} or more witnesses cosigned them."
        )
    if anchored:
        return (
            f"Verified and anchored: {records} records, the first {anchored} of them exactly as "
            "under the checkpoint you kept."
        )
    return (
        f"Consistent but unanchored: {records} records agree with the log's own signatures. "
        "Whoever holds the log's key could have rewritten them all; compare with a checkpoint "
        "kept elsewhere (--checkpoint FILE)."
    )


def _partial_news(log: _Log, covered: int) -> str:
    """What is proven, and what a choice of records never proves."""
    proven = f"{log.held} of {log.size} records, each proven to be in its place"
    limits = "that none is missing between them, a partial bundle cannot show"
    if covered:
        return (
            f"Verified and anchored: {proven}, those of the first {covered} exactly as kept or "
            f"cosigned; {limits}."
        )
    return (
        f"Consistent but unanchored: {proven} under the log's own signatures; {limits}. Compare "
        "with a checkpoint kept elsewhere that covers one of them (--checkpoint FILE)."
    )


def _report(  # noqa: PLR0913, PLR0917 - the fields of one report
    log: _Log | None, code: Code, words: str, now: str | None, anchored: int = 0, receipts: int = 0
) -> Report:
    if log is None:
        return Report(code, words)
    head = log.checkpoints[-1] if log.checkpoints else None
    return Report(
        code=code,
        words=words,
        origin=log.chain.name,
        records=log.size,
        covered=head.size if head else 0,
        root=head.root.hex() if head else "",
        anchored=anchored,
        receipts=receipts,
        open_intents=() if log.chosen else tuple(_open_intents(log, now)),
        chosen=None if log.chosen is None else log.held,
        policies=tuple(name for name, digest in log.texts if digest.encode() in log.named),
        unnamed_policies=tuple(
            name for name, digest in log.texts if digest.encode() not in log.named
        ),
        keys=tuple((start, key.vkey()) for start, key in log.chain.keys),
    )


def _open_intents(log: _Log, now: str | None) -> Iterator[OpenIntent]:
    """Intents whose process was followed by another start, or whose deadline has passed."""
    newest = max(log.started.values(), default=-1)
    for rid, intents in log.intents.items():
        for index, header in intents:
            if index < newest and log.started.get(header.boot, -1) != newest:
                yield OpenIntent(index, rid, header.minute, "crashed")
            elif now is not None and header.deadline is not None and header.deadline <= now:
                yield OpenIntent(index, rid, header.minute, "overdue")
