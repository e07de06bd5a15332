"""The keys of a log in their order: the key before it signs for each (audit-format.md §5.8). Pure.

A rotation is a checkpoint with the line ``next-key VKEY`` that both keys signed. Its last record is
the ``key.rotated`` one; what comes behind it is signed by the new key alone. So who holds the new
key rewrites nothing that the old one signed, and who stole the old one signs nothing behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from audit.checkpoint import Checkpoint, SignedReceipt, VerifyingKey, signature_lines
from audit.errors import FormatError, MissingError, NoteError
from audit.record import Header

ROTATED = "key.rotated"
FEATURE = "signing"
"""The readable feature that holds the new verifier key, in hex."""
FACT = "rotations"
_LINE = "next-key "


class Facts(Protocol):
    """What a ledger says of itself (a snapshot of its database)."""

    def fact(self, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Chain:
    """A log's first key, and each later one with the number of records it follows."""

    first: VerifyingKey
    later: tuple[tuple[int, VerifyingKey], ...] = ()

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def current(self) -> VerifyingKey:
        return self.later[-1][1] if self.later else self.first

    @property
    def keys(self) -> tuple[tuple[int, VerifyingKey], ...]:
        """Each key with the first record that it signs, oldest first."""
        return ((0, self.first), *self.later)

    def at(self, index: int) -> VerifyingKey:
        """The key that signs the receipt of record ``index``."""
        return next((key for size, key in reversed(self.later) if size <= index), self.first)

    # --- what is signed ---

    def open(self, note: str | bytes) -> Checkpoint:
        """A checkpoint that the key of its time signed; a rotation's: that both keys signed.

        Raises:
            NoteError: it is none, or they did not.
        """
        size = Checkpoint.parse(signature_lines(note)[0]).size
        old, new = self.at(size - 1), self.at(size)
        checkpoint = Checkpoint.open(note, old)
        return checkpoint if new == old else Checkpoint.open(note, new)

    def receipt(self, note: str | bytes) -> SignedReceipt:
        """A receipt that the key of its record signed.

        Raises:
            NoteError: it is none, or that key did not.
        """
        claimed = SignedReceipt.parse(signature_lines(note)[0])
        return SignedReceipt.open(note, self.at(claimed.index))

    # --- rotations ---

    def extended(self, note: str | bytes) -> Chain:
        """With the key that a checkpoint names, once both keys signed it; else as it is.

        Checkpoints MUST be given in the order of their sizes.

        Raises:
            NoteError: the key is none, of another log, or was this log's before.
        """
        head = Checkpoint.parse(signature_lines(note)[0])
        if not head.more or not head.more[0].startswith(_LINE):
            return self
        key = VerifyingKey.parse(head.more[0].removeprefix(_LINE))
        if key.name != self.name or key in (self.first, *(old for _, old in self.later)):
            raise NoteError("not a new key of this log")
        chain = Chain(self.first, (*self.later, (head.size, key)))
        chain.open(note)
        return chain

    @classmethod
    def follow(cls, vkey: str, notes: Iterable[str]) -> Chain:
        """The chain from a log's first key over its checkpoints, oldest first.

        Raises:
            NoteError: a rotation that does not verify.
        """
        chain = cls(VerifyingKey.parse(vkey))
        for note in notes:
            chain = chain.extended(note)
        return chain

    def check_record(self, index: int, header: Header) -> None:
        """A rotation's last record names the new key, and no other record does.

        Raises:
            FormatError: record and checkpoint do not agree.
        """
        key = next((key for size, key in self.later if size == index + 1), None)
        rotated = header.event == ROTATED
        if rotated != (key is not None):
            raise FormatError("the checkpoints know of another change of the log's key")
        if key is not None and header.features.get(FEATURE) != key.public.hex():
            raise FormatError("the checkpoints know of another change of the log's key")

    # --- in the ledger's database, never trusted by verify ---

    @classmethod
    def stored(cls, facts: Facts) -> Chain:
        """The chain as the ledger remembers it.

        Raises:
            MissingError, NoteError: it does not say which key is its own.
        """
        first = VerifyingKey.parse(facts.fact("vkey").decode("utf-8", "replace"))
        try:
            later = json.loads(rotations(facts))
            return cls(first, tuple((int(n), VerifyingKey.parse(vkey)) for n, vkey in later))
        except (ValueError, TypeError, AttributeError):
            raise NoteError("the ledger's list of its keys is damaged") from None

    def to_fact(self) -> bytes:
        return json.dumps([[size, key.vkey()] for size, key in self.later]).encode("ascii")


def rotations(facts: Facts) -> bytes:
    """The rotations as the ledger remembers them: where they are as before, so is the key."""
    try:
        return facts.fact(FACT)
    except MissingError:  # nothing was rotated
        return b"[]"


def next_key(key: VerifyingKey) -> str:
    """The line of a checkpoint that names the key of what comes behind it."""
    return _LINE + key.vkey()
