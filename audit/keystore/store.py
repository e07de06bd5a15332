"""The key store: the log's signing key, and the keys of data subjects.

audit-format.md §7. A file of its own (0600), whose rows are encrypted where it has a lock. It never
holds an auditor's private key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.checkpoint import SigningKey, VerifyingKey
from audit.errors import KeyStoreError, StaleLockError
from audit.keyring import KEY_BYTES, NONCE_BYTES, Randomness, SubjectKey
from audit.keystore.find import FindGuard, guard_beside
from audit.keystore.lock import Box, Lock, key_row, secret_row
from audit.mldsa import MlDsaKey, MlDsaSigner
from audit.storage.keyrows import LOCK, KeyRows

_SIGNING, _ORIGIN, _SECOND = "signing-key", "origin", "signing-key:ml-dsa-65"
_NEXT = "signing-key:next:"
_LOOKS = 3  # at a lock that others change


class KeyStore:
    """What lives in ``keystore.db``. Its rows are encrypted where it has a lock (§7.6).

    The lock may be changed by another process at any time: what is written is checked against
    the lock that stands there in the transaction that writes, and read again where it differs.
    """

    def __init__(self, rows: KeyRows, guard: FindGuard, randomness: Randomness) -> None:
        self._rows, self._guard, self._randomness = rows, guard, randomness
        self._seen: tuple[bytes | None, Box] = (None, Box(None, {}))
        self._look()
        origin, seed = self._secret(_ORIGIN), self._secret(_SIGNING)
        try:
            self._name = origin.decode("utf-8")
        except ValueError:
            raise KeyStoreError("a signing key in the key store is damaged") from None
        self.signing_key = self._signing(seed)

    @classmethod
    def create(cls, path: Path, origin: str, randomness: Randomness = os.urandom) -> KeyStore:
        """Open the key store at ``path``, made first if there is none."""
        rows = KeyRows.create(
            path, lambda: {_ORIGIN: origin.encode(), _SIGNING: randomness(KEY_BYTES)}
        )
        return cls._over(rows, guard_beside(path), randomness)

    @classmethod
    def open(
        cls, path: Path, *, readonly: bool = False, guard: FindGuard | None = None
    ) -> KeyStore:
        """Open a key store. A locked one is opened as the settings beside it say, or by ``guard``.

        Raises:
            KeyStoreError: there is none, or it does not open.
        """
        rows = KeyRows(path, readonly=readonly)
        return cls._over(rows, guard or guard_beside(path), os.urandom)

    @classmethod
    def _over(cls, rows: KeyRows, guard: FindGuard, randomness: Randomness) -> KeyStore:
        try:
            return cls(rows, guard, randomness)
        except BaseException:
            rows.close()
            raise

    def _look(self) -> None:
        """Take up the lock as it stands now."""
        raw = self._rows.find(LOCK)
        lock = None if raw is None else Lock.parse(raw)
        box = self._seen[1].follow(lock) if self._seen[0] is not None else None
        if box is None:
            guard = self._guard(None if lock is None else lock.kind)
            box = Box(None, {}) if lock is None or guard is None else Box.open(lock, guard)
        self._seen = (raw, box)

    def _secret(self, name: str) -> bytes:
        return self._seen[1].read(secret_row(name), self._rows.secret(name))

    # --- what signs the log (audit-format.md §7.1, §7.8) ---

    def _signing(self, seed: bytes) -> SigningKey:
        """A signing key of this log, which adds a second line where there is a key for that."""
        second = self._rows.find(_SECOND)
        try:
            key = SigningKey(self._name, seed)
            if second is not None:
                opened = self._seen[1].read(secret_row(_SECOND), second)
                key.second = MlDsaSigner(key.name, opened).line
        except ValueError:
            raise KeyStoreError("a signing key in the key store is damaged") from None
        return key

    def prepare(self) -> SigningKey:
        """A new signing key, durable and not in use yet."""
        seed = self._randomness(KEY_BYTES)
        key = self._signing(seed)
        self.set_note(_next_row(key.public), seed)
        return key

    def signer(self, public: VerifyingKey) -> SigningKey:
        """The private half of the log's key, also while a rotation is under way.

        Raises:
            KeyStoreError: it is not here: the key store is older than a rotation, or another log's.
        """
        if self.signing_key.public == public:
            return self.signing_key
        # In this order: a key stands in its place before the row that it was prepared in goes.
        seed = self.note(_next_row(public)) or self.note(_SIGNING)
        key = None if seed is None else self._signing(seed)
        if key is None or key.public != public:
            raise KeyStoreError("the key store lacks the key that signs this log now")
        return key

    def is_settled(self, public: VerifyingKey) -> bool:
        """Whether nothing is left to do of the rotation to this key."""
        return self._rows.find(_next_row(public)) is None

    def settle(self, public: VerifyingKey) -> None:
        """Put the key that signs the log into its place, and destroy the one before it.

        One process at a time (``exclusive``). Killed anywhere, ``signer`` finds the key.

        Raises:
            KeyStoreError: not done to the end: try again when nobody reads the key store.
        """
        self.signer(public)
        seed = self.note(_next_row(public))
        if seed is not None:
            self.set_note(_SIGNING, seed)
        self._rows.scour()
        for name in self._rows.names():
            if name.startswith(_NEXT):
                self.set_note(name, None)
        self.signing_key = self._signing(self._secret(_SIGNING))

    def second_key(self, randomness: Randomness = os.urandom) -> MlDsaKey:
        """The ML-DSA-65 key for a second line on checkpoints; made first if there is none."""
        raw, box = self._seen
        seed, nonce = randomness(KEY_BYTES), randomness(NONCE_BYTES)
        self._rows.add_secret(_SECOND, box.seal(secret_row(_SECOND), seed, nonce), raw)
        return MlDsaSigner(self.signing_key.name, self._secret(_SECOND)).public

    # --- the keys of data subjects, and notes ---

    def add(self, keys: Sequence[SubjectKey]) -> None:
        """Make keys durable. MUST return before anything sealed under them is appended."""
        for _ in range(_LOOKS):
            raw, box = self._seen
            nonces = [self._randomness(NONCE_BYTES) for _ in keys] if raw else [b""] * len(keys)
            rows = [
                (key.id, key.month, box.seal(key_row(key.id, key.month), key.key, nonce))
                for key, nonce in zip(keys, nonces, strict=True)
            ]
            try:
                return self._rows.add(rows, raw)
            except StaleLockError:
                self._look()
        raise KeyStoreError("the key store's lock does not stand still")

    def key(self, key_id: bytes) -> bytes | None:
        """The key, or None where it was destroyed (or never was).

        Raises:
            KeyStoreError: its row was changed, or is under a lock that does not open.
        """
        try:
            return self._key(key_id)
        except KeyStoreError:
            self._look()
        return self._key(key_id)

    def _key(self, key_id: bytes) -> bytes | None:
        found = self._rows.key(key_id)
        if found is None:
            return None
        month, stored = found
        return self._seen[1].read(key_row(key_id, month), stored)

    def destroy(self, key_ids: Sequence[bytes]) -> int:
        """Destroy keys: what they sealed is gone for everybody. Returns how many there were."""
        return self._rows.destroy(key_ids)

    def note(self, name: str) -> bytes | None:
        """What was kept under a name, or None (audit-format.md §11)."""
        stored = self._rows.find(name)
        if stored is None:
            return None
        try:
            return self._seen[1].read(secret_row(name), stored)
        except KeyStoreError:
            self._look()
        return self._secret(name)

    def set_note(self, name: str, value: bytes | None) -> None:
        """Keep something small under a name of its own; None drops it."""
        for _ in range(_LOOKS):
            raw, box = self._seen
            try:
                if value is None:
                    return self._rows.drop(name, raw)
                stored = box.seal(secret_row(name), value, self._randomness(NONCE_BYTES))
                return self._rows.put({name: stored}, raw)
            except StaleLockError:
                self._look()
        raise KeyStoreError("the key store's lock does not stand still")

    def ids(self, before: str | None = None) -> Iterator[bytes]:
        """The ids of all keys, or of those that expire before a month."""
        return self._rows.ids(before)

    def check_place(self) -> None:
        """Find out whether this still is the key store at its path.

        Raises:
            KeyStoreError: it is not: keys that are known to be durable may not be there.
        """
        self._rows.check_place()

    def probe(self) -> None:
        self._rows.check_place()
        self._rows.probe()

    def close(self) -> None:
        self._rows.close()


def _next_row(public: VerifyingKey) -> str:
    """Where a signing key stands from before it is in use until it is in its place."""
    return _NEXT + public.public.hex()
