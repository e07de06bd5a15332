"""A key store locked with a passphrase: scrypt (RFC 7914), then AES-256-GCM."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from audit.errors import KeyStoreError
from audit.keystore.lock import Randomness

_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_R, _P = 8, 1
# RFC 7914 §2: memory is 128 * n * r bytes; this takes 128 MiB.
COST = 1 << 17
# A lock with other costs than these would stop the process, or protect nothing.
_LOWEST, _HIGHEST = 1 << 14, 1 << 20


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A guard that is known by heart or lies in a file. The cost is stored beside what it wraps."""

    phrase: bytes = field(repr=False)
    randomness: Randomness = field(repr=False, default=os.urandom)
    cost: int = COST

    def __post_init__(self) -> None:
        if not self.phrase:
            raise KeyStoreError("the key store's passphrase is empty")

    @property
    def kind(self) -> str:
        return "passphrase"

    def wrap(self, master: bytes, bound: bytes) -> Mapping[str, str]:
        salt, nonce = self.randomness(_SALT_BYTES), self.randomness(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._key(salt, self.cost)).encrypt(nonce, master, bound)
        encoded = {"salt": b64encode(salt).decode(), "c": b64encode(sealed).decode()}
        return {"kdf": "scrypt", "n": str(self.cost), "r": str(_R), "p": str(_P), **encoded}

    def unwrap(self, wrapped: Mapping[str, str], bound: bytes) -> bytes:
        try:
            salt, sealed = b64decode(wrapped["salt"]), b64decode(wrapped["c"])
            cost, shape = int(wrapped["n"]), (wrapped["kdf"], wrapped["r"], wrapped["p"])
        except (KeyError, ValueError):
            raise KeyStoreError("the key store's lock is damaged") from None
        allowed = _LOWEST <= cost <= _HIGHEST and cost & (cost - 1) == 0
        if not allowed or shape != ("scrypt", str(_R), str(_P)):
            raise KeyStoreError("the key store's lock has costs that are not used here")
        try:
            nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return AESGCM(self._key(salt, cost)).decrypt(nonce, ciphertext, bound)
        except (InvalidTag, ValueError):
            raise KeyStoreError("the passphrase does not open the key store") from None

    def _key(self, salt: bytes, cost: int) -> bytes:
        return Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=_R, p=_P).derive(self.phrase)
