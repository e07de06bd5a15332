"""Auditors as the sealer sees them: public keys, HPKE suites, and what is in whose scope.

audit-format.md §4.2 and §4.7. Pure. The suite of a wrap follows from the auditor's key and is
part of the auditor's id, so that each wrap names it and is bound to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from audit.errors import FormatError, SealError
from audit.keyring import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Randomness

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
_PUBLIC_BYTES = (X25519_BYTES, HYBRID_BYTES)
_CONTENT_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
# Wraps of the first form are told by their length (audit-format.md §4.2): nonce, HPKE's enc, the
# content key and its tag, the tag of the outer key.
OLD_WRAP_BYTES = frozenset(
    NONCE_BYTES + enc + KEY_BYTES + TAG_BYTES + TAG_BYTES for enc in (X25519_BYTES, 1088 + 32)
)


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


@lru_cache(maxsize=4)
def id_of(private: PrivateKey) -> str:
    """What wraps for the owner of this key are labelled with."""
    return Auditor("", public_of(private)).id


@dataclass(frozen=True, slots=True)
class Recipient:
    """An auditor whose public key is parsed once."""

    id: str
    scope: Scope
    key: X25519PublicKey | MLKEM768X25519PublicKey = field(repr=False)
    suite: Suite = field(repr=False)

    @classmethod
    def of(cls, auditor: Auditor) -> Recipient:
        """Parse the key of an auditor.

        Raises:
            FormatError: it is none.
        """
        if len(auditor.public) not in _PUBLIC_BYTES:
            raise FormatError("not an auditor's public key")
        suite = _HYBRID_SUITE if auditor.hybrid else _CLASSIC_SUITE
        return cls(auditor.id, auditor.scope, _public_key(auditor.public), suite)

    def begin(self, randomness: Randomness) -> Turn:
        """Draw a key for the records that are sealed together now, and wrap it to the auditor."""
        key = randomness(KEY_BYTES)
        wrapped = self.suite.encrypt(key, self.key, info=_turn_info(self.id))
        return Turn(self.id, self.scope, wrapped, AESGCM(key))


@dataclass(frozen=True, slots=True)
class Turn:
    """The key that wraps content keys to one auditor while one batch is sealed (§4.2).

    ``wrapped`` is what only the auditor opens. The key itself is forgotten with the batch.
    """

    id: str
    scope: Scope = field(repr=False)
    wrapped: bytes = field(repr=False)
    under: AESGCM = field(repr=False)

    def wrap(self, content: bytes, nonce: bytes, info: bytes) -> bytes:
        return self.wrapped + nonce + self.under.encrypt(nonce, content, info)


def _turn_info(auditor: str) -> bytes:
    return f"cloister/turn/1\n{auditor}\n".encode()


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
    if len(public) not in _PUBLIC_BYTES:
        raise FormatError("not an auditor's public key")
    _public_key(public)


def unwrap(inner: bytes, private: PrivateKey, info: bytes) -> bytes:
    """The content key that was wrapped to this auditor.

    Raises:
        SealError: it was not, or the bytes were changed.
    """
    wrapped, rest = inner[:-_CONTENT_BYTES], inner[-_CONTENT_BYTES:]
    try:
        under = AESGCM(_turn_key(wrapped, private))
        return under.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], info)
    except (InvalidTag, ValueError):
        raise SealError("a sealed part does not open with these keys") from None


def unwrap_old(inner: bytes, private: PrivateKey, info: bytes) -> bytes:
    """As ``unwrap``, for a wrap of the first form: HPKE of the content key itself."""
    try:
        return _hpke(inner, private, info)
    except (InvalidTag, ValueError):
        raise SealError("a sealed part does not open with these keys") from None


@lru_cache(maxsize=16)  # records that were sealed together are read together
def _turn_key(wrapped: bytes, private: PrivateKey) -> bytes:
    return _hpke(wrapped, private, _turn_info(id_of(private)))


def _hpke(wrapped: bytes, private: PrivateKey, info: bytes) -> bytes:
    if isinstance(private, X25519PrivateKey):
        return _CLASSIC_SUITE.decrypt(wrapped, private, info=info)
    both = MLKEM768X25519PrivateKey(private.mlkem, private.x25519)
    return _HYBRID_SUITE.decrypt(wrapped, both, info=info)


def recipients(auditors: Sequence[Auditor]) -> tuple[Recipient, ...]:
    return tuple(map(Recipient.of, auditors))
