"""Cosignatures of witnesses on checkpoints (audit-format.md §5.4).

Pure. https://c2sp.org/tlog-cosignature: cosignature/v1, Ed25519. Bytes in, who cosigned and when,
or NoteError.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.checkpoint import is_strict, signature_lines, verify_ed25519
from audit.errors import NoteError
from audit.merkle import HASH_BYTES
from audit.vkey import key_id, read_vkey, write_vkey

_TYPE = b"\x04"  # signed-note: timestamped Ed25519 cosignatures
_BLOB_BYTES = 4 + 8 + 64  # key id, seconds since 1970, signature


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness' public key and the name it signs under."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, _TYPE, self.public)

    def vkey(self) -> str:
        return write_vkey(self.name, _TYPE, self.public)

    @classmethod
    def parse(cls, vkey: str) -> WitnessKey:
        key = cls(*read_vkey(vkey, _TYPE))
        if len(key.public) != HASH_BYTES or not is_strict(key.public):
            raise NoteError("not a witness' verifier key")
        return key

    def time_of(self, note: str | bytes) -> int | None:
        """When this witness cosigned, in seconds since 1970; None where it did not.

        Raises:
            NoteError: a line in its name that does not verify.
        """
        text, lines = signature_lines(note)
        found = None
        for name, blob in lines:
            if name != self.name or blob[:4] != self.id:
                continue
            seconds = int.from_bytes(blob[4:12], "big")
            if len(blob) != _BLOB_BYTES or not 0 < seconds < 1 << 63:
                raise NoteError("a witness' signature does not verify")
            verify_ed25519(self.public, message(text, seconds), blob[12:])
            found = seconds
        return found


def message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def line(signature: tuple[str, bytes]) -> str:
    return f"\u2014 {signature[0]} {base64.b64encode(signature[1]).decode('ascii')}\n"


# --- counting -----------------------------------------------------------------------------------


def merge(stored: str, brought: str | bytes, witnesses: Sequence[WitnessKey]) -> tuple[str, int]:
    """The stored note with the cosignatures of ``witnesses`` that ``brought`` adds; how many."""
    text, _ = signature_lines(stored)
    if signature_lines(brought)[0] != text:
        raise NoteError("the cosigned checkpoint is not the one that is stored")
    added = 0
    for witness in witnesses:
        if witness.time_of(brought) is None or witness.time_of(stored) is not None:
            continue
        for name, blob in signature_lines(brought)[1]:
            if (name, blob[:4]) == (witness.name, witness.id):
                stored += line((name, blob))
                added += 1
                break
    return stored, added


def cosigners(note: str, witnesses: Iterable[WitnessKey]) -> tuple[str, ...]:
    """The names of those who cosigned. One key counts once.

    Raises:
        NoteError: a line in the name of one of them that does not verify.
    """
    unique = {witness.public: witness for witness in witnesses}
    return tuple(w.name for w in unique.values() if w.time_of(note) is not None)
