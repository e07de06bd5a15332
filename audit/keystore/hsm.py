"""A key store locked with a key in an HSM (PKCS#11): the key never leaves it.

The only home of python-pkcs11 (the extra ``pkcs11``). CKM_AES_GCM of PKCS#11 v3.0 §6.10.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from audit.errors import KeyStoreError
from audit.keystore.lock import Randomness

_NONCE_BYTES = 12
_UNUSABLE = "the HSM cannot be used: look at keystore.pkcs11_*, its PIN and its key"


@dataclass(frozen=True, slots=True)
class Hsm:
    """A guard in a PKCS#11 token: an AES key that may encrypt and decrypt, found by its label."""

    module: str
    token: str
    key: str
    pin: str = field(repr=False)
    randomness: Randomness = field(repr=False, default=os.urandom)

    @property
    def kind(self) -> str:
        return "pkcs11"

    def wrap(self, master: bytes, bound: bytes) -> Mapping[str, str]:
        nonce = self.randomness(_NONCE_BYTES)
        with self._key() as (key, how):
            sealed = bytes(key.encrypt(master, **how(nonce, bound)))
        return {"iv": b64encode(nonce).decode(), "c": b64encode(sealed).decode()}

    def unwrap(self, wrapped: Mapping[str, str], bound: bytes) -> bytes:
        try:
            nonce, sealed = b64decode(wrapped["iv"]), b64decode(wrapped["c"])
        except (KeyError, ValueError):
            raise KeyStoreError("the key store's lock is damaged") from None
        with self._key() as (key, how):
            return bytes(key.decrypt(sealed, **how(nonce, bound)))

    @contextmanager
    def _key(self) -> Iterator[tuple[Any, Any]]:
        try:
            import pkcs11  # noqa: PLC0415 - an extra that few sites install
            from pkcs11.mechanisms import GCMParams  # noqa: PLC0415
        except ImportError:
            raise KeyStoreError("python-pkcs11 is missing: run `make extras`") from None

        def how(nonce: bytes, bound: bytes) -> dict[str, Any]:
            return {
                "mechanism": pkcs11.Mechanism.AES_GCM,
                "mechanism_param": GCMParams(nonce, bound),
            }

        try:
            token = pkcs11.lib(self.module).get_token(token_label=self.token)
            with token.open(user_pin=self.pin) as session:
                found = session.get_key(
                    object_class=pkcs11.ObjectClass.SECRET_KEY,
                    key_type=pkcs11.KeyType.AES,
                    label=self.key,
                )
                yield found, how
        except (pkcs11.exceptions.PKCS11Error, RuntimeError, ValueError, OSError):
            raise KeyStoreError(_UNUSABLE) from None
