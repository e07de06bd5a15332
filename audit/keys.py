"""The keys: the log's signing key, the keys of data subjects, the auditors' public keys.

audit-format.md §7. The key store is a file of its own (0600). It never holds an auditor's private
key: who steals the gateway has the key store and still reads nothing.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from audit.auditorlist import load_registry, save_registry
from audit.auditors import Registry, parse_auditor
from audit.checkpoint import SigningKey
from audit.errors import FormatError, KeyStoreError, SealError, StaleLockError
from audit.keyring import KEY_BYTES, NONCE_BYTES, Randomness, SubjectKey
from audit.keystore.find import FindGuard, guard_beside
from audit.keystore.lock import Box, Lock, key_row, secret_row
from audit.mldsa import MlDsaKey, MlDsaSigner
from audit.recipients import NAME, Auditor, HybridPrivateKey, PrivateKey, public_of
from audit.storage.keyrows import LOCK, KeyRows

_SIGNING, _ORIGIN, _SECOND = "signing-key", "origin", "signing-key:ml-dsa-65"
_LOOKS = 3  # at a lock that others change
_AUDITOR_MAGIC, _SIGNER_MAGIC = "cloister-auditor/1", "cloister-signer/1"
_PEM_BEGIN = b"-----BEGIN "


# --- auditors ---------------------------------------------------------------------------------


def generate_auditor(
    name: str, passphrase: bytes | None = None, *, hybrid: bool = False
) -> tuple[Auditor, bytes]:
    """A new key pair: the public half to register, the private half as PEM for the auditor.

    A ``hybrid`` one also withstands a quantum computer: X25519 and ML-KEM-768, an entry of the PEM
    each. The gateway MUST NOT keep the PEM.
    """
    if not NAME.fullmatch(name):
        raise FormatError("an auditor's name is letters, digits and . _ @ -")
    private: PrivateKey = HybridPrivateKey.generate() if hybrid else X25519PrivateKey.generate()
    halves: tuple[X25519PrivateKey | MLKEM768PrivateKey, ...] = (
        (private.x25519, private.mlkem) if isinstance(private, HybridPrivateKey) else (private,)
    )
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = b"".join(half.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked) for half in halves)
    signer = signing_half(private).public_key().public_bytes_raw()
    return Auditor(name, public_of(private), signer=signer), pem


def load_private(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """An auditor's private key.

    Raises:
        SealError: not such a key, or another passphrase.
    """
    entries = [_PEM_BEGIN + rest for rest in pem.split(_PEM_BEGIN)[1:]]
    try:
        halves = [load_pem_private_key(entry, passphrase) for entry in entries]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SealError("the private key does not open: wrong file or passphrase") from None
    match halves:
        case [X25519PrivateKey() as key]:
            return key
        case [X25519PrivateKey() as key, MLKEM768PrivateKey() as mlkem]:
            return HybridPrivateKey(mlkem, key)
        case []:
            raise SealError("the private key does not open: wrong file or passphrase")
    raise SealError("not an auditor's private key")


def signing_half(private: PrivateKey) -> Ed25519PrivateKey:
    """The key that an auditor signs requests with, derived from the one they read with.

    One file to keep, and two keys that tell nothing of each other (HKDF, RFC 5869).
    """
    secret = private.x25519 if isinstance(private, HybridPrivateKey) else private
    kdf = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"cloister auditor signature/1\n")
    return Ed25519PrivateKey.from_private_bytes(kdf.derive(secret.private_bytes_raw()))


def generate_signer(name: str, passphrase: bytes | None = None) -> tuple[Auditor, bytes]:
    """A second person's key pair: it agrees to changes of the list of auditors and reads nothing.

    The public half has the form of an auditor without a key to read with.
    """
    if not NAME.fullmatch(name):
        raise FormatError("a signer's name is letters, digits and . _ @ -")
    private = Ed25519PrivateKey.generate()
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    return Auditor(name, b"", signer=private.public_key().public_bytes_raw()), pem


def load_signing(pem: bytes, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """The key to sign requests with: a signer's, or what an auditor's gives.

    Raises:
        SealError: neither of them, or another passphrase.
    """
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SealError("the private key does not open: wrong file or passphrase") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    return signing_half(load_private(pem, passphrase))


def signer_line(signer: Auditor) -> str:
    """The public half of a signer's key as one line."""
    return f"{_SIGNER_MAGIC} {signer.name} {base64.b64encode(signer.signer).decode()}\n"


def parse_signer_line(line: str) -> Auditor:
    match line.split():
        case [magic, name, public] if magic == _SIGNER_MAGIC:
            value = {"name": name, "public_key": "", "signer": public}
            return parse_auditor(value, signer=True)
    raise FormatError("not a signer's public key")


def auditor_line(auditor: Auditor) -> str:
    """The public half as the one line that ``auditlog keygen`` writes to ``FILE.pub``."""
    words = [_AUDITOR_MAGIC, auditor.name, base64.b64encode(auditor.public).decode()]
    if auditor.signer:
        words.append(base64.b64encode(auditor.signer).decode())
    return " ".join(words) + "\n"


def parse_auditor_line(line: str) -> Auditor:
    """Read the line of ``FILE.pub``. Without a signature key, as older ones, it has none."""
    match line.split():
        case [magic, name, public, *signer] if magic == _AUDITOR_MAGIC and len(signer) <= 1:
            value = {"name": name, "public_key": public, "signer": "".join(signer)}
            return parse_auditor(value)
    raise FormatError("not an auditor's public key")


def save_auditors(path: Path, auditors: Sequence[Auditor]) -> None:
    """Write the list of who may read as it is when a home is made."""
    save_registry(path, Registry.of(auditors))


def load_auditors(path: Path) -> tuple[Auditor, ...]:
    """The auditors of this log, each with their scope.

    Raises:
        KeyStoreError: no list, an unreadable one, or an empty one: with nobody who could ever
            read it, nothing may be sealed (fail closed).
    """
    return tuple(load_registry(path).auditors.values())


# --- the key store ----------------------------------------------------------------------------


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
        second = self._rows.find(_SECOND)
        try:
            self.signing_key = SigningKey(origin.decode("utf-8"), seed)
            if second is not None:
                opened = self._seen[1].read(secret_row(_SECOND), second)
                self.signing_key.second = MlDsaSigner(self.signing_key.name, opened).line
        except ValueError:
            raise KeyStoreError("a signing key in the key store is damaged") from None

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

    def second_key(self, randomness: Randomness = os.urandom) -> MlDsaKey:
        """The ML-DSA-65 key for a second line on checkpoints; made first if there is none."""
        raw, box = self._seen
        seed, nonce = randomness(KEY_BYTES), randomness(NONCE_BYTES)
        self._rows.add_secret(_SECOND, box.seal(secret_row(_SECOND), seed, nonce), raw)
        return MlDsaSigner(self.signing_key.name, self._secret(_SECOND)).public

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
