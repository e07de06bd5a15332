"""Auditors as the sealer sees them: public keys, HPKE suites, and what is in whose scope.

audit-format.md §4.2 and §4.7. Pure. The suite of a wrap follows from the auditor's key and is
part of the auditor's id, so that each wrap names it and is bound to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from audit.errors import FormatError, SealError

ANY = "*"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
HYBRID = "mlkem768-x25519"
X25519_BYTES = 32
_MLKEM_BYTES = 1184
HYBRID_BYTES = _MLKEM_BYTES + X25519_BYTES

_CLASSIC_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
# X-Wing (draft-connolly-cfrg-xwing-kem, KEM 0x647A of draft-ietf-hpke-pq): ML-KEM-768 and X25519,
# either of which alone keeps the content key secret.
_HYBRID_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_ENC_BYTES = {32: 32, HYBRID_BYTES: 1088 + 32}  # by the length of the public key


@dataclass(frozen=True, slots=True)
class Scope:
    """Which entries an auditor may read: the role of their principal, and their matter.

    Both have to fit. ``*`` fits everything, also an entry without one; nothing else does.
    """

    roles: frozenset[str] = frozenset({ANY})
    matters: frozenset[str] = field(repr=False, default=frozenset({ANY}))

    def covers(self, role: str | None, matter: str | None) -> bool:
        return (ANY in self.roles or role in self.roles) and (
            ANY in self.matters or matter in self.matters
        )

    @property
    def everything(self) -> bool:
        return ANY in self.roles and ANY in self.matters

    def includes(self, other: Scope) -> bool:
        """Whether nothing is in the other scope that is not in this one."""
        return (ANY in self.roles or other.roles <= self.roles) and (
            ANY in self.matters or other.matters <= self.matters
        )


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Auditor:
    """Somebody who may read: a name for people, the public half of their key pair, their scope.

    ``signer`` is the Ed25519 key that requests of theirs are signed with; empty where none is
    registered.
    """

    name: str
    public: bytes
    scope: Scope = EVERYTHING
    signer: bytes = b""
    since: str = ""

    @property
    def hybrid(self) -> bool:
        return len(self.public) == HYBRID_BYTES

    @property
    def id(self) -> str:
        """What a wrap is labelled with: 64 bits of the key's digest, and a suite that is not v1."""
        digest = hashlib.sha256(b"cloister auditor/1\n" + self.public).hexdigest()[:16]
        return f"{digest}/{HYBRID}" if self.hybrid else digest


@dataclass(frozen=True, slots=True)
class HybridPrivateKey:
    """The private half of a hybrid key pair."""

    mlkem: MLKEM768PrivateKey = field(repr=False)
    x25519: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> HybridPrivateKey:
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())


PrivateKey: TypeAlias = X25519PrivateKey | HybridPrivateKey


def public_of(private: PrivateKey) -> bytes:
    """The public half, as it is registered."""
    if isinstance(private, X25519PrivateKey):
        return private.public_key().public_bytes_raw()
    mlkem = private.mlkem.public_key().public_bytes_raw()
    return mlkem + private.x25519.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class Recipient:
    """An auditor whose public key is parsed once."""

    id: str
    scope: Scope
    key: X25519PublicKey | MLKEM768X25519PublicKey = field(repr=False)
    suite: Suite = field(repr=False)
    enc_bytes: int

    @classmethod
    def of(cls, auditor: Auditor) -> Recipient:
        """Parse the key of an auditor.

        Raises:
            FormatError: it is none.
        """
        enc_bytes = _ENC_BYTES.get(len(auditor.public))
        if enc_bytes is None:
            raise FormatError("not an auditor's public key")
        suite = _HYBRID_SUITE if auditor.hybrid else _CLASSIC_SUITE
        return cls(auditor.id, auditor.scope, _public_key(auditor.public), suite, enc_bytes)

    def wrap(self, content: bytes, info: bytes) -> bytes:
        return self.suite.encrypt(content, self.key, info=info)


def _public_key(public: bytes) -> X25519PublicKey | MLKEM768X25519PublicKey:
    try:
        x25519 = X25519PublicKey.from_public_bytes(public[-X25519_BYTES:])
        if len(public) == X25519_BYTES:
            return x25519
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_BYTES])
        return MLKEM768X25519PublicKey(mlkem, x25519)
    except ValueError:
        raise FormatError("not an auditor's public key") from None


def check_public(public: bytes) -> None:
    """Find out whether bytes are the public half of an auditor's key.

    Raises:
        FormatError: they are not.
    """
    if len(public) not in _ENC_BYTES:
        raise FormatError("not an auditor's public key")
    _public_key(public)


def unwrap(inner: bytes, private: PrivateKey, info: bytes) -> bytes:
    """The content key that was wrapped to this auditor.

    Raises:
        SealError: it was not, or the bytes were changed.
    """
    try:
        if isinstance(private, X25519PrivateKey):
            return _CLASSIC_SUITE.decrypt(inner, private, info=info)
        both = MLKEM768X25519PrivateKey(private.mlkem, private.x25519)
        return _HYBRID_SUITE.decrypt(inner, both, info=info)
    except (InvalidTag, ValueError):
        raise SealError("a sealed part does not open with these keys") from None


def recipients(auditors: Sequence[Auditor]) -> tuple[Recipient, ...]:
    return tuple(map(Recipient.of, auditors))
