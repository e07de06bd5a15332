"""Locking, changing, rotating and unlocking a key store, while others read and write it.

audit-format.md §7.6. First the lock is exchanged, in one transaction; then rows are moved under
its current key, a few at a time; the lock forgets the older keys in the transaction that finds no
row under them. Killed anywhere, every row is readable, and the same command goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.errors import KeyStoreError
from audit.exclusive import exclusive
from audit.keystore.lock import Box, Guard, Lock, Randomness, key_row, secret_row
from audit.storage.keyrows import LOCK, KeyRows

_ROWS = 512  # in one transaction: the gateway waits for the key store no longer than that takes
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the key store at ``path``."""

    path: Path
    randomness: Randomness = os.urandom

    def lock(self, guard: Guard) -> None:
        """Encrypt a key store; or finish that where it was broken off.

        Raises:
            KeyStoreError: it is locked already, or cannot be written.
        """
        with self._rows() as rows:
            raw = rows.find(LOCK)
            if raw is None:
                box = Box(None, {}).renewed(guard, self.randomness)
                self._exchange(rows, None, box)
            else:
                box = Box.open(Lock.parse(raw), guard)
                if box.lock is not None and box.lock.complete:
                    raise KeyStoreError("the key store is locked already")
                if not box.prefix:  # an unlocking was broken off, and is not wanted any more
                    box = box.renewed(guard, self.randomness)
                    self._exchange(rows, raw, box)
            self._move(rows, box)

    def rotate(self, guard: Guard) -> None:
        """Put every row under a new master key.

        Raises:
            KeyStoreError: the key store is not locked, or not with this guard.
        """
        with self._rows() as rows:
            raw, box = _opened(rows, guard)
            if not box.prefix:
                raise KeyStoreError("unlocking the key store was broken off: lock or unlock it")
            if box.lock is not None and box.lock.complete:
                box = box.renewed(guard, self.randomness)
                self._exchange(rows, raw, box)
            self._move(rows, box)

    def guard(self, old: Guard, new: Guard) -> None:
        """Let ``new`` open what ``old`` opens now, in one transaction; no row changes.

        A copy that was made before opens with ``old`` for ever, until its master key is rotated
        and even then for what it holds.

        Raises:
            KeyStoreError: the key store is not locked, or not with ``old``.
        """
        with self._rows() as rows:
            raw, box = _opened(rows, old)
            changed = box.rewrapped(new)
            rows.put({LOCK: _raw(changed)}, raw)
            rows.scour()

    def unlock(self, guard: Guard) -> None:
        """Decrypt the key store for good.

        Raises:
            KeyStoreError: it is not locked, or not with this guard.
        """
        with self._rows() as rows:
            raw, box = _opened(rows, guard)
            plain = box.to_plain()
            self._exchange(rows, raw, plain)
            self._move(rows, plain)

    @contextmanager
    def _rows(self) -> Iterator[KeyRows]:
        """The key store's rows, and no other change of it: two would undo each other."""
        with closing(KeyRows(self.path)) as rows, exclusive(self.path.parent):
            yield rows

    def _exchange(self, rows: KeyRows, raw: bytes | None, box: Box) -> None:
        rows.put({LOCK: _raw(box)}, raw)

    def _move(self, rows: KeyRows, box: Box) -> None:
        """Move every row under the box's current key, then let the lock forget the others.

        It says that it is complete last of all: until then the file may hold what rows held before.
        """
        lock, settled = _raw(box), box.settled()
        found = {name: rows.find(name) for name in rows.names()}
        secrets = {n: box.read(secret_row(n), s) for n, s in found.items() if s is not None}
        rows.put({n: self._seal(box, secret_row(n), s) for n, s in secrets.items()}, lock)
        self._move_keys(rows, box, lock)
        if not rows.settle(box.prefix, lock, settled.raw):
            raise KeyStoreError("a row was written under the older key meanwhile: run this again")
        rows.scour()
        if settled.lock is not None:
            rows.put({LOCK: _raw(settled.completed())}, settled.raw)

    def _move_keys(self, rows: KeyRows, box: Box, lock: bytes) -> None:
        after = b""
        while found := rows.keys_after(after, _ROWS):
            after = found[-1][0]
            swapped = []
            for key_id, month, stored in found:
                if box.wrote(stored):
                    continue
                row = key_row(key_id, month)
                swapped.append((key_id, stored, self._seal(box, row, box.read(row, stored))))
            rows.swap_keys(swapped, lock)

    def _seal(self, box: Box, row: bytes, value: bytes) -> bytes:
        return box.seal(row, value, self.randomness(_NONCE_BYTES))


def _raw(box: Box) -> bytes:
    raw = box.raw
    if raw is None:
        raise KeyStoreError("the key store is not locked")
    return raw


def _opened(rows: KeyRows, guard: Guard) -> tuple[bytes, Box]:
    raw = rows.find(LOCK)
    if raw is None:
        raise KeyStoreError("the key store is not locked")
    return raw, Box.open(Lock.parse(raw), guard)


def state(path: Path) -> Lock | None:
    """The lock of a key store, or None where it has none.

    Raises:
        KeyStoreError: there is no key store, or its lock is damaged.
    """
    with closing(KeyRows(path, readonly=True)) as rows:
        raw = rows.find(LOCK)
    return None if raw is None else Lock.parse(raw)
