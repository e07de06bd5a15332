"""The keys: the log's signing key, the keys of data subjects, the auditors' public keys.

audit-format.md §7. The key store is a file of its own (0600). It never holds an auditor's private
key: who steals the gateway has the key store and still reads nothing.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from audit.checkpoint import SigningKey, unbase64
from audit.errors import FormatError, KeyStoreError, NoteError, SealError
from audit.seal import KEY_BYTES, Auditor, Randomness, SubjectKey
from audit.store import KeyRows

_SIGNING, _ORIGIN = "signing-key", "origin"
_AUDITOR_MAGIC = "cloister-auditor/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


# --- auditors ---------------------------------------------------------------------------------


def generate_auditor(name: str, passphrase: bytes | None = None) -> tuple[Auditor, bytes]:
    """A new key pair: the public half to register, the private half as PEM for the auditor.

    The gateway MUST NOT keep the PEM.
    """
    if not _NAME.fullmatch(name):
        raise FormatError("an auditor's name is letters, digits and . _ @ -")
    private = X25519PrivateKey.generate()
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    return Auditor(name, private.public_key().public_bytes_raw()), pem


def load_private(pem: bytes, passphrase: bytes | None = None) -> X25519PrivateKey:
    """An auditor's private key.

    Raises:
        SealError: not such a key, or another passphrase.
    """
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError):
        raise SealError("the private key does not open: wrong file or passphrase") from None
    if not isinstance(key, X25519PrivateKey):
        raise SealError("not an auditor's private key")
    return key


def auditor_line(auditor: Auditor) -> str:
    """The public half as the one line that ``auditlog keygen`` writes to ``FILE.pub``."""
    return f"{_AUDITOR_MAGIC} {auditor.name} {base64.b64encode(auditor.public).decode()}\n"


def parse_auditor_line(line: str) -> Auditor:
    parts = line.split()
    if len(parts) != 3 or parts[0] != _AUDITOR_MAGIC:  # noqa: PLR2004 - magic, name, key
        raise FormatError("not an auditor's public key")
    return _auditor(parts[1], parts[2])


def save_auditors(path: Path, auditors: Sequence[Auditor]) -> None:
    """Write the list of who may read. Adding somebody is an act to put on record."""
    listed = [
        {"name": a.name, "id": a.id, "public_key": base64.b64encode(a.public).decode()}
        for a in auditors
    ]
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"v": 1, "auditors": listed}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_auditors(path: Path) -> tuple[Auditor, ...]:
    """The auditors in scope of this log.

    Raises:
        KeyStoreError: no list, an unreadable one, or an empty one: with nobody who could ever
            read it, nothing may be sealed (fail closed).
    """
    try:
        listed = json.loads(path.read_text("utf-8"))["auditors"]
        auditors = tuple(_auditor(entry["name"], entry["public_key"]) for entry in listed)
    except (OSError, ValueError, KeyError, TypeError, FormatError):
        raise KeyStoreError("the list of auditors is missing or unreadable") from None
    if not auditors:
        raise KeyStoreError("no auditor's key is registered: nobody could read this log")
    return auditors


def _auditor(name: str, public: str) -> Auditor:
    try:
        data = unbase64(public)
    except NoteError:
        raise FormatError("not an auditor's public key") from None
    if len(data) != KEY_BYTES or not _NAME.fullmatch(name):
        raise FormatError("not an auditor's public key")
    return Auditor(name, data)


# --- the key store ----------------------------------------------------------------------------


class KeyStore:
    """What lives in ``keystore.db``."""

    def __init__(self, rows: KeyRows) -> None:
        self._rows = rows
        self.signing_key = SigningKey(rows.secret(_ORIGIN).decode("utf-8"), rows.secret(_SIGNING))

    @classmethod
    def create(cls, path: Path, origin: str, randomness: Randomness = os.urandom) -> KeyStore:
        """Open the key store at ``path``, made first if there is none."""
        return cls(
            KeyRows.create(
                path, lambda: {_ORIGIN: origin.encode(), _SIGNING: randomness(KEY_BYTES)}
            )
        )

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False) -> KeyStore:
        return cls(KeyRows(path, readonly=readonly))

    def add(self, keys: Sequence[SubjectKey]) -> None:
        """Make keys durable. MUST return before anything sealed under them is appended."""
        self._rows.add([(key.id, key.month, key.key) for key in keys])

    def key(self, key_id: bytes) -> bytes | None:
        """The key, or None where it was destroyed (or never was)."""
        return self._rows.key(key_id)

    def destroy(self, key_ids: Sequence[bytes]) -> int:
        """Destroy keys: what they sealed is gone for everybody. Returns how many there were."""
        return self._rows.destroy(key_ids)

    def note(self, name: str) -> bytes | None:
        """What was kept under a name, or None (audit-format.md §11)."""
        return self._rows.note(name)

    def set_note(self, name: str, value: bytes | None) -> None:
        """Keep something small under a name of its own; None drops it."""
        self._rows.set_note(name, value)

    def ids(self, before: str | None = None) -> Iterator[bytes]:
        """The ids of all keys, or of those that expire before a month."""
        return self._rows.ids(before)

    def probe(self) -> None:
        self._rows.probe()

    def close(self) -> None:
        self._rows.close()
