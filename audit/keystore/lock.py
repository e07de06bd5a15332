"""The lock of a key store: master keys that encrypt its rows, wrapped under a guard's key.

audit-format.md §7.6. Pure but for the guard. A row names the master key that it is under, so
that rows may be moved from one to the next while others read and write; a row that names none is
plain, which is accepted only until the lock is complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import KeyStoreError

Randomness = Callable[[int], bytes]

_MAGIC = b"\x00cloister-row/1\x00"
_ID_BYTES, _NONCE_BYTES, _KEY_BYTES = 8, 12, 32
PREFIX_BYTES = len(_MAGIC) + _ID_BYTES
_ID = re.compile(r"[0-9a-f]{16}")
_STORE = re.compile(r"[0-9a-f]{32}")
PLAIN = ""
"""In the place of a master key's id: rows are written as they are."""


class Guard(Protocol):
    """Keeps the key-encryption key: a passphrase, an HSM, a transit server."""

    @property
    def kind(self) -> str: ...

    def wrap(self, master: bytes, bound: bytes) -> Mapping[str, str]:
        """Encrypt a master key.

        Raises:
            KeyStoreError: the guard cannot be used.
        """

    def unwrap(self, wrapped: Mapping[str, str], bound: bytes) -> bytes:
        """Decrypt a master key.

        Raises:
            KeyStoreError: the guard cannot be used, or is not the one that wrapped it.
        """


@dataclass(frozen=True, slots=True)
class Lock:
    """What the key store says of its own encryption. Readable; holds no key in the open.

    ``current`` is the master key that rows are written under. ``complete``: no row is under
    another one, so that a plain row is a forged one.
    """

    store: str
    kind: str
    current: str
    masters: Mapping[str, Mapping[str, str]] = field(repr=False)
    complete: bool = False

    def to_bytes(self) -> bytes:
        value = {
            "v": 1,
            "store": self.store,
            "kind": self.kind,
            "current": self.current,
            "masters": {name: dict(wrapped) for name, wrapped in self.masters.items()},
            "complete": self.complete,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def parse(cls, data: bytes) -> Lock:
        """Read a lock.

        Raises:
            KeyStoreError: these bytes are none, or of a version that is not known here.
        """
        try:
            value = json.loads(data)
            lock = cls(
                value["store"], value["kind"], value["current"], value["masters"], value["complete"]
            )
            shapes = (
                value["v"] == 1,
                _STORE.fullmatch(lock.store),
                isinstance(lock.kind, str),
                lock.current == PLAIN or lock.current in lock.masters,
                all(_ID.fullmatch(name) for name in lock.masters),
                all(isinstance(item, str) for w in lock.masters.values() for item in w.values()),
                isinstance(lock.complete, bool),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise KeyStoreError("the key store's lock is damaged") from None
        if not all(shapes):
            raise KeyStoreError("the key store's lock is damaged")
        return lock

    def bound(self, master: str) -> bytes:
        """What a wrapped master key is bound to: this store, and its own id."""
        return f"cloister/keystore-master/1\n{self.store}\n{master}".encode()


def _master(lock: Lock, guard: Guard, randomness: Randomness) -> tuple[Lock, bytes]:
    """The lock with one more master key, which is its current one."""
    name, key = randomness(_ID_BYTES).hex(), randomness(_KEY_BYTES)
    masters = {**lock.masters, name: guard.wrap(key, lock.bound(name))}
    return replace(lock, current=name, masters=masters, complete=False), key


class Box:
    """An open lock: encrypts and decrypts rows. Without a lock, rows go through as they are."""

    def __init__(self, lock: Lock | None, opened: Mapping[str, bytes]) -> None:
        self.lock = lock
        self._opened = dict(opened)

    @classmethod
    def open(cls, lock: Lock, guard: Guard) -> Box:
        """Unwrap every master key of a lock.

        Raises:
            KeyStoreError: this guard does not open it.
        """
        if guard.kind != lock.kind:
            raise KeyStoreError(f"the key store is locked with {lock.kind}, not {guard.kind}")
        opened = {name: guard.unwrap(w, lock.bound(name)) for name, w in lock.masters.items()}
        if any(len(key) != _KEY_BYTES for key in opened.values()):
            raise KeyStoreError("the key store's lock is damaged")
        return cls(lock, opened)

    @property
    def raw(self) -> bytes | None:
        """The lock's bytes as stored, to find out whether somebody has changed it since."""
        return None if self.lock is None else self.lock.to_bytes()

    @property
    def prefix(self) -> bytes:
        """What every row that this box writes begins with; empty where it writes plain rows."""
        if self.lock is None or self.lock.current == PLAIN:
            return b""
        return _MAGIC + bytes.fromhex(self.lock.current)

    def follow(self, lock: Lock | None) -> Box | None:
        """The same keys under a lock that was changed since; None where one is not known."""
        if lock is None:
            return Box(None, {}) if self.lock is None or self.lock.current == PLAIN else None
        same = self.lock is not None and lock.store == self.lock.store
        return (
            Box(lock, self._opened) if same and lock.masters.keys() <= self._opened.keys() else None
        )

    def renewed(self, guard: Guard, randomness: Randomness) -> Box:
        """One more master key, to write under; what is there stays readable."""
        lock = self.lock or Lock(randomness(16).hex(), guard.kind, PLAIN, {})
        lock, key = _master(lock, guard, randomness)
        return Box(lock, {**self._opened, lock.current: key})

    def rewrapped(self, guard: Guard) -> Box:
        """The same master keys under another guard, so that no row changes."""
        if self.lock is None:
            raise KeyStoreError("the key store is not locked")
        masters = {n: guard.wrap(self._opened[n], self.lock.bound(n)) for n in self.lock.masters}
        return Box(replace(self.lock, kind=guard.kind, masters=masters), self._opened)

    def to_plain(self) -> Box:
        """The same keys to read with, but plain rows are written from now on."""
        if self.lock is None:
            raise KeyStoreError("the key store is not locked")
        return Box(replace(self.lock, current=PLAIN, complete=False), self._opened)

    def settled(self) -> Box:
        """What is left when no row is under anything but the current key: others are forgotten."""
        if self.lock is None or self.lock.current == PLAIN:
            return Box(None, {})
        name = self.lock.current
        lock = replace(self.lock, masters={name: self.lock.masters[name]})
        return Box(lock, {name: self._opened[name]})

    def completed(self) -> Box:
        """The same, refusing plain rows from now on."""
        lock = self.lock if self.lock is None else replace(self.lock, complete=True)
        return Box(lock, self._opened)

    def seal(self, row: bytes, value: bytes, nonce: bytes) -> bytes:
        """A row's value as it is stored. ``row`` says which row it is."""
        if self.lock is None or self.lock.current == PLAIN:
            return value
        key = AESGCM(self._opened[self.lock.current])
        return self.prefix + nonce + key.encrypt(nonce, value, self._bound(row))

    def wrote(self, stored: bytes) -> bool:
        """Whether a row is as this box would write it now: under its current key, or plain."""
        return stored.startswith(self.prefix) if self.prefix else not stored.startswith(_MAGIC)

    def read(self, row: bytes, stored: bytes) -> bytes:
        """A row's value.

        Raises:
            KeyStoreError: it is under a key that is not here, was changed, or is of another row.
        """
        if not stored.startswith(_MAGIC):
            if self.lock is not None and self.lock.complete:
                raise KeyStoreError("the key store holds a row that its lock did not write")
            return stored
        key = self._opened.get(stored[len(_MAGIC) : PREFIX_BYTES].hex())
        sealed = stored[PREFIX_BYTES:]
        if key is None:
            raise KeyStoreError("the key store holds a row under a key that is not here")
        try:
            nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return AESGCM(key).decrypt(nonce, ciphertext, self._bound(row))
        except (InvalidTag, ValueError):
            raise KeyStoreError("a row of the key store was changed") from None

    def _bound(self, row: bytes) -> bytes:
        store = self.lock.store if self.lock else ""
        return f"cloister/keystore-row/1\n{store}\n".encode() + row


def key_row(key_id: bytes, month: str) -> bytes:
    """Which row a subject's key stands in."""
    return f"keys\n{key_id.hex()}\n{month}".encode()


def secret_row(name: str) -> bytes:
    """Which row a secret stands in."""
    return f"secrets\n{name}".encode()
