"""Auditors' and signers' key files: a private half as PEM, a public one as a line.

audit-format.md §7.4. An auditor's private key never reaches the gateway: who steals the gateway
has the key store (``audit.keystore``) and still reads nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
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
from audit.errors import FormatError, SealError
from audit.keyring import KEY_BYTES
from audit.keystore.store import KeyStore
from audit.recipients import NAME, Auditor, HybridPrivateKey, PrivateKey, public_of

__all__ = [
    "KeyStore", "auditor_line", "generate_auditor", "generate_signer", "load_auditors",
    "load_private", "load_signing", "parse_auditor_line", "parse_signer_line", "save_auditors",
    "signer_line", "signing_half",
]  # fmt: skip

_AUDITOR_MAGIC, _SIGNER_MAGIC = "cloister-auditor/1", "cloister-signer/1"
_PEM_BEGIN = b"-----BEGIN "


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
