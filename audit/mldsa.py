"""ML-DSA-65 (FIPS 204) as a second signature line on checkpoints (audit-format.md §5.5).

Who can forge Ed25519 one day cannot forge this. signed-note assigns no type to it: the line is of
type 0xff with a name of its own, under the origin, and verifiers that lack the key tolerate it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from audit.checkpoint import signature_lines
from audit.errors import NoteError
from audit.vkey import key_id, read_vkey, write_vkey

_TYPE = b"\xffcloister/ml-dsa-65/1"  # also the context string of FIPS 204
_PUBLIC_BYTES = 1952


@dataclass(frozen=True, slots=True)
class MlDsaKey:
    """A log's second public key, under the log's own name."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, _TYPE, self.public)

    def vkey(self) -> str:
        return write_vkey(self.name, _TYPE, self.public)

    @classmethod
    def parse(cls, vkey: str) -> MlDsaKey:
        key = cls(*read_vkey(vkey, _TYPE))
        if len(key.public) != _PUBLIC_BYTES:
            raise NoteError("not an ML-DSA-65 verifier key")
        return key

    def signed(self, note: str) -> bool:
        """Whether this key signed the note.

        Raises:
            NoteError: a line in its name that does not verify.
        """
        text, lines = signature_lines(note)
        ours = [blob[4:] for name, blob in lines if (name, blob[:4]) == (self.name, self.id)]
        try:
            key = MLDSA65PublicKey.from_public_bytes(self.public)
            for signature in ours:
                key.verify(signature, text.encode(), _TYPE)
        except (InvalidSignature, ValueError):
            raise NoteError("the ML-DSA-65 signature does not verify") from None
        return bool(ours)


class MlDsaSigner:
    """A log's second private key. Lives in the key store and in memory, nowhere else."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = MLDSA65PrivateKey.from_seed_bytes(seed)
        self.public = MlDsaKey(name, self._key.public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        blob = self.public.id + self._key.sign(text.encode(), _TYPE)
        return f"\u2014 {self.public.name} {base64.b64encode(blob).decode('ascii')}\n"


def first_unsigned(notes: list[str], key: MlDsaKey) -> int | None:
    """The first checkpoint that lacks a signature it must have: none may lack it once one has it.

    Raises:
        NoteError: a line in the key's name that does not verify.
    """
    begun = False
    for number, note in enumerate(notes):
        signed = key.signed(note)
        if begun and not signed:
            return number
        begun = begun or signed
    return None if begun else len(notes) - 1
