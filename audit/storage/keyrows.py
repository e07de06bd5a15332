"""The key store's database: subjects' keys, and secrets, as they are stored (audit-format.md §7).

Always a SQLite file, apart from the ledger, so that backups of one lack the other. Errors of the
driver become KeyStoreError, without their text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, delete, func, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import KeyStoreError, StaleLockError
from audit.storage import schema
from audit.storage.copying import insert_rows
from audit.storage.engines import file_engine, port, private_file, readonly_engine
from audit.storage.standing import Standing, identity
from audit.storage.versions import check_version, stamp

LOCK = "lock"
"""The secret that tells how the others are encrypted."""
_PROBE = "probe"
_PROBE_BYTES = 8192
_PLAIN_KEY_BYTES = 32
_DESTROYED_AT_ONCE = 1000  # variables of one statement


def _check_lock(connection: Connection, lock: bytes | None) -> None:
    """What is written MUST be under the lock that stands there now, in this very transaction."""
    if connection.scalar(schema.SELECT_SECRET, {"name": LOCK}) != lock:
        raise StaleLockError("the key store's lock was changed meanwhile")


class KeyRows:
    """The key store's database. Apart from the ledger's, so that backups of one lack the other."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if not path.is_file():
            raise KeyStoreError("there is no key store here")
        self._engine = (
            readonly_engine(path) if readonly else file_engine(path, begin="BEGIN IMMEDIATE")
        )
        # Reading a log looks up two keys a record: on a connection that stays open, and without
        # the writers' lock. Each look is a transaction of its own, so that a destroyed key is gone
        # at once and no reader holds what the file's log has of it.
        self._looking = (
            readonly_engine(path, pooled=True) if readonly else file_engine(path, begin="BEGIN")
        )
        self._path, self._looked_at = path, identity(path)
        self._readonly, self._standing = readonly, Standing(path)
        self._held: Connection | None = None

    @classmethod
    def create(cls, path: Path, secrets: Callable[[], dict[str, bytes]]) -> KeyRows:
        """Make a key store holding ``secrets()``, unless there is one."""
        with port(KeyStoreError, "the key store cannot be created"):
            private_file(path)
            engine = file_engine(path, begin="BEGIN IMMEDIATE")
            with engine.begin() as connection:
                fresh = not inspect(connection).has_table(schema.secrets.name)
                schema.keystore.create_all(connection)
                if fresh:
                    stamp(connection, schema.keystore_version, schema.KEYSTORE_VERSIONS[-1])
                if connection.scalar(select(func.count()).select_from(schema.secrets)) == 0:
                    rows = [{"name": name, "value": value} for name, value in secrets().items()]
                    connection.execute(schema.INSERT_SECRET, rows)
            engine.dispose()
        return cls(path)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with (
            port(KeyStoreError, "the key store cannot be used"),
            self._engine.begin() as connection,
        ):
            yield connection

    def secret(self, name: str) -> bytes:
        with self._transaction() as connection:
            check_version(
                connection,
                schema.keystore_version,
                schema.KEYSTORE_VERSIONS,
                write=not self._readonly,
                error=KeyStoreError,
            )
            value = connection.scalar(schema.SELECT_SECRET, {"name": name})
        if not isinstance(value, bytes):
            raise KeyStoreError("the key store lacks a key")
        return value

    def find(self, name: str) -> bytes | None:
        """A secret as it is stored, or None."""
        with self._transaction() as connection:
            value = connection.scalar(schema.SELECT_SECRET, {"name": name})
        return value if isinstance(value, bytes) else None

    def add_secret(self, name: str, value: bytes, lock: bytes | None) -> None:
        """Store a secret, unless there is one of this name.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            row = {"name": name, "value": value}
            connection.execute(schema.KEEP_SECRET, row)

    def drop(self, name: str, lock: bytes | None) -> None:
        """Forget a secret.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            connection.execute(delete(schema.secrets).where(schema.secrets.c.name == name))

    def names(self) -> tuple[str, ...]:
        """Of all secrets but the lock."""
        with self._transaction() as connection:
            found = connection.scalars(
                select(schema.secrets.c.name).order_by(schema.secrets.c.name)
            )
            return tuple(each for each in found if each not in {LOCK, _PROBE})

    def ids(self, before: str | None = None) -> Iterator[bytes]:
        """The ids of all keys, or of those that expire before a month."""
        query = select(schema.keys.c.id).execution_options(yield_per=1024)
        if before is not None:
            query = query.where(schema.keys.c.month < before)
        with self._transaction() as connection:
            yield from connection.scalars(query)

    def add(self, rows: Sequence[tuple[bytes, str, bytes]], lock: bytes | None = None) -> None:
        """Store ``(id, month, key)``; durable when this returns. One thread only.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``; nothing was stored.
        """
        try:
            self.check_place()
            with port(KeyStoreError, "the key store cannot be written"):
                if self._held is None:
                    self._held = self._engine.connect()
                with self._held.begin():
                    _check_lock(self._held, lock)
                    insert_rows(self._held, schema.keys, rows)
            self.check_place()
        except BaseException:
            held, self._held = self._held, None
            self._standing.let_go()
            if held is not None:
                with suppress(SQLAlchemyError, OSError):
                    held.invalidate()
                    held.close()
            raise

    def check_place(self) -> None:
        """Find out whether keys that were made durable here are in the file at our path.

        Raises:
            KeyStoreError: another file is there, or was; only opening it anew helps.
        """
        with port(KeyStoreError, "the key store was exchanged while it was open"):
            self._standing.check(held=self._held is not None)

    def key(self, key_id: bytes) -> tuple[str, bytes] | None:
        """The month and the key as they are stored, or None."""
        with port(KeyStoreError, "the key store cannot be used"):
            now = identity(self._path)
            if now != self._looked_at:  # another file is there: what is open is not it
                self._looking.dispose()
                self._looked_at = now
            with self._looking.begin() as connection:
                found = connection.execute(schema.SELECT_KEYROW, {"id": key_id}).first()
        if found is None or not isinstance(found.key, bytes):
            return None
        return str(found.month), found.key

    def destroy(self, key_ids: Sequence[bytes]) -> int:
        """Overwrite these keys, in the database and in what its log still holds of them.

        Raises:
            KeyStoreError: not done, or not to the end: try again when nobody reads the key store.
        """
        gone = 0
        with self._transaction() as connection:
            for start in range(0, len(key_ids), _DESTROYED_AT_ONCE):
                these = schema.keys.c.id.in_(key_ids[start : start + _DESTROYED_AT_ONCE])
                connection.execute(update(schema.keys).where(these).values(key=bytes(32)))
                gone += connection.execute(delete(schema.keys).where(these)).rowcount
        self._empty_log()
        return gone

    def _empty_log(self) -> None:
        with port(KeyStoreError, "the key store cannot be used"), self._engine.connect() as plain:
            cursor = plain.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found = cursor.fetchone()
            cursor.close()
        if found is None or found[0]:
            raise KeyStoreError("keys were deleted, but a reader holds what the log has of them")

    # --- changing the lock (audit-format.md §7.6) ---

    def keys_after(self, after: bytes, limit: int) -> list[tuple[bytes, str, bytes]]:
        """The next ``(id, month, key)`` in the order of their ids, as they are stored."""
        with self._transaction() as connection:
            found = connection.execute(schema.SELECT_KEYS_AFTER.limit(limit), {"after": after})
            return [(row.id, row.month, row.key) for row in found]

    def swap_keys(self, rows: Sequence[tuple[bytes, bytes, bytes]], lock: bytes | None) -> None:
        """Store ``(id, old, new)`` where ``old`` still stands: a destroyed key stays destroyed.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            values = [{"which": i, "old": old, "new": new} for i, old, new in rows]
            if values:
                connection.execute(schema.SWAP_KEY, values)

    def put(self, secrets: Mapping[str, bytes], lock: bytes | None) -> None:
        """Store secrets, the lock among them, in one transaction.

        Raises:
            StaleLockError: the key store is under another lock than ``lock``.
        """
        with self._transaction() as connection:
            _check_lock(connection, lock)
            rows = [{"name": name, "value": value} for name, value in secrets.items()]
            connection.execute(schema.PUT_SECRET, rows)

    def settle(self, prefix: bytes, old: bytes, new: bytes | None) -> bool:
        """Put ``new`` in the place of the lock, unless a key does not begin with ``prefix``.

        An empty prefix stands for plain keys, which are shorter than any other.
        """
        begins = func.substr(schema.keys.c.key, 1, len(prefix)) == prefix
        right = begins if prefix else func.length(schema.keys.c.key) == _PLAIN_KEY_BYTES
        with self._transaction() as connection:
            _check_lock(connection, old)
            if connection.scalar(select(func.count()).select_from(schema.keys).where(~right)):
                return False
            if new is None:
                connection.execute(delete(schema.secrets).where(schema.secrets.c.name == LOCK))
            else:
                connection.execute(schema.PUT_SECRET, [{"name": LOCK, "value": new}])
        return True

    def scour(self) -> None:
        """Write the file anew, so that what rows held before stands nowhere in it.

        Raises:
            KeyStoreError: not done: try again when nobody reads the key store.
        """
        message = "the key store cannot be written"
        with port(KeyStoreError, message), self._engine.connect() as plain:
            cursor = plain.connection.cursor()
            cursor.execute("VACUUM")
            cursor.close()
        self._empty_log()

    def probe(self) -> None:
        with self._transaction() as connection:
            value = {"name": _PROBE, "value": os.urandom(_PROBE_BYTES)}
            connection.execute(schema.PUT_SECRET, value)

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(SQLAlchemyError, OSError):
                held.close()
        self._looking.dispose()
        self._engine.dispose()
