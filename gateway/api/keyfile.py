"""API keys: ``CLOISTER_HOME/api-keys.json``, mode 0600, replaced atomically, never edited.

A key is ``clk_`` and 256 random bits. The file holds its SHA-256 only: a slow password hash
protects guessable secrets, and 256 random bits cannot be guessed, so one fast hash is enough
and cannot be used to exhaust the processor.

Invariants: a file that is missing, unreadable, readable to others or not exactly what this
module writes lets nobody in. A key has one role, at least one purpose and always an expiry. A
change is in force at the next request.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.domain import Clock, Principal, Purpose, Role
from gateway.errors import (
    AuthenticationError,
    KeysUnavailableError,
    NotFoundError,
    RequestError,
)

KEY_FILE = "api-keys.json"
PREFIX = "clk_"
_OTHERS = 0o077
_NAME = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._@:/-]{0,127}\Z")]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]

Token = Callable[[], str]
"""Returns 256 fresh random bits as URL-safe text."""


def fresh_token() -> str:
    return secrets.token_urlsafe(32)


class Refusal(StrEnum):
    """Why a key was not accepted. For the record and the metrics; the caller is not told."""

    NO_KEY = "no_key"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"


class KeyRefusedError(AuthenticationError):
    """``reason`` is a constant of :class:`Refusal`."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__()
        self.reason = reason


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key allows. ``expires`` is timezone-aware; a key without an expiry does not exist."""

    principal: _NAME
    role: Role
    purposes: Annotated[frozenset[Purpose], msgspec.Meta(min_length=1)]
    default_purpose: Purpose
    expires: _Moment
    matters: frozenset[_NAME] = frozenset()


class KeyRecord(Grant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the key store. ``digest`` is the SHA-256 of the key, hex."""

    id: _NAME
    digest: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    created: _Moment
    revoked: _Moment | None = None


class _KeyStore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[KeyRecord, ...]


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. ``secret`` is shown once and stored nowhere."""

    record: KeyRecord
    secret: str = field(repr=False)


_DECODER = msgspec.json.Decoder(_KeyStore)
_ENCODER = msgspec.json.Encoder(order="deterministic")


class KeyFile:
    """The keys in force: looks at the file at each request and reads it again when it changed.

    ``revoked`` is called, before the request goes on, when a key has lost something: it was revoked
    or removed, or ends earlier than it did.
    """

    def __init__(
        self, path: Path, clock: Clock, revoked: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._clock = clock
        self._revoked = revoked
        self._stamp: tuple[int, ...] = ()
        self._by_digest: dict[str, KeyRecord] = {}

    def authenticate(self, secret: str) -> Principal:
        """Return the holder of ``secret``.

        Raises:
            KeyRefusedError: unknown, revoked or expired.
            KeysUnavailableError: the key store cannot be read or is not intact.
        """
        self._refresh()
        digest = _digest(secret)
        # The dictionary is keyed by a hash of what the caller sent: how long a lookup takes says
        # nothing a caller could steer towards a stored key. The match itself is constant-time.
        record = self._by_digest.get(digest)
        if record is None or not hmac.compare_digest(record.digest, digest):
            raise KeyRefusedError(Refusal.UNKNOWN)
        if record.revoked is not None:
            raise KeyRefusedError(Refusal.REVOKED)
        if self._clock() >= record.expires:
            raise KeyRefusedError(Refusal.EXPIRED)
        return Principal(
            id=record.principal,
            role=record.role,
            purposes=record.purposes,
            default_purpose=record.default_purpose,
            matters=record.matters,
            key_id=record.id,
        )

    def check(self) -> None:
        """Read the key store now.

        Raises:
            KeysUnavailableError: nobody could be let in.
        """
        self._refresh()

    def _refresh(self) -> None:
        try:
            stamp = _stamp(self._path.lstat())
        except OSError:
            raise KeysUnavailableError from None
        if stamp != self._stamp:
            records, stamp = _read(self._path)
            old, self._by_digest = self._by_digest, {record.digest: record for record in records}
            self._stamp = stamp
            if any(_lost(record, self._by_digest.get(digest)) for digest, record in old.items()):
                self._revoked()


def _lost(old: KeyRecord, new: KeyRecord | None) -> bool:
    """Whether a key may no longer do what it might."""
    if old.revoked is not None:
        return False
    return new is None or new.revoked is not None or new.expires < old.expires


def issue_key(path: Path, grant: Grant, now: datetime, token: Token = fresh_token) -> IssuedKey:
    """Add a key to the store (which is created when missing) and return it with its secret.

    Raises:
        RequestError: the grant is not one a key can have.
        KeysUnavailableError: the store exists and is not usable, or cannot be written.
    """
    issued = _new_key(grant, now, token)
    with _locked(path):
        records = _read(path)[0] if os.path.lexists(path) else ()
        _replace(path, (*records, issued.record))
    return issued


def list_keys(path: Path) -> tuple[KeyRecord, ...]:
    """Return every key ever issued, oldest first. Secrets are not among what is known of them.

    Raises:
        KeysUnavailableError: the store cannot be read.
    """
    return _read(path)[0]


def revoke_key(path: Path, key_id: str, now: datetime) -> KeyRecord:
    """Refuse a key from its next request on. Idempotent: the first revocation stays on record.

    Raises:
        NotFoundError: no such key.
        KeysUnavailableError: the store cannot be read or written.
    """
    with _locked(path):
        records = _read(path)[0]
        old = _find(records, key_id)
        new = msgspec.structs.replace(old, revoked=old.revoked or now)
        _replace(path, [new if record is old else record for record in records])
    return new


def rotate_key(
    path: Path, key_id: str, now: datetime, grace: timedelta, token: Token = fresh_token
) -> IssuedKey:
    """Issue a key with the same grant; the old one ends after ``grace``, or earlier if it would.

    Raises:
        NotFoundError: no such key.
        RequestError: the key is revoked or expired already, or ``grace`` is negative.
        KeysUnavailableError: the store cannot be read or written.
    """
    if grace < timedelta(0):
        raise RequestError("The grace period is negative.")
    with _locked(path):
        records = _read(path)[0]
        old = _find(records, key_id)
        if old.revoked is not None:
            raise RequestError("This key is revoked: issue a new one.")
        issued = _new_key(_grant_of(old), now, token)
        ending = msgspec.structs.replace(old, expires=min(old.expires, now + grace))
        kept = [ending if record is old else record for record in records]
        _replace(path, [*kept, issued.record])
    return issued


def _new_key(grant: Grant, now: datetime, token: Token) -> IssuedKey:
    if grant.expires <= now:
        raise RequestError("The expiry of this key lies in the past.")
    secret = PREFIX + token()
    digest = _digest(secret)
    try:
        # Built by hand, so msgspec has not checked it: what is written must be readable again.
        record = msgspec.convert(
            {
                **msgspec.to_builtins(grant),
                "id": f"key-{digest[:12]}",
                "digest": digest,
                "created": now.isoformat(),
            },
            KeyRecord,
        )
        _check([record])
    except (msgspec.ValidationError, KeysUnavailableError):
        raise RequestError(
            "A key needs a principal, a role, purposes, and a default purpose among them."
            " Principals and matters are letters, digits and . _ @ : / - without spaces."
        ) from None
    return IssuedKey(record=record, secret=secret)


def _grant_of(record: KeyRecord) -> Grant:
    return Grant(**{name: getattr(record, name) for name in Grant.__struct_fields__})


def _find(records: Sequence[KeyRecord], key_id: str) -> KeyRecord:
    for record in records:
        if record.id == key_id:
            return record
    raise NotFoundError("There is no key of this id.")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: Path) -> tuple[tuple[KeyRecord, ...], tuple[int, ...]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            raw = file.read()
        store = _DECODER.decode(raw)
    except (OSError, ValueError, RecursionError):
        raise KeysUnavailableError from None
    if status.st_mode & _OTHERS:
        raise KeysUnavailableError("The key store is readable to others; set its mode to 0600.")
    _check(store.keys)
    return store.keys, _stamp(status)


def _check(records: Sequence[KeyRecord]) -> None:
    """Refuse what the decoder cannot see: a default outside the purposes, two keys that are one."""
    for name in ("id", "digest"):
        if len({getattr(record, name) for record in records}) != len(records):
            raise KeysUnavailableError
    if any(record.default_purpose not in record.purposes for record in records):
        raise KeysUnavailableError


def _replace(path: Path, records: Sequence[KeyRecord]) -> None:
    """Write all of the store beside the old one, make it durable, then put it in its place."""
    raw = msgspec.json.format(_ENCODER.encode(_KeyStore(version=1, keys=tuple(records))), indent=2)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError:
        raise KeysUnavailableError("The key store cannot be written.") from None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the store's lock: two commands that change it at once must not lose a revocation."""
    try:
        descriptor = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError:
        raise KeysUnavailableError("The key store cannot be written.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
