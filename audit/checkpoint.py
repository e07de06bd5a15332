"""Checkpoints and receipts: C2SP signed notes with Ed25519 (audit-format.md §5 and §6).

Sources: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint. Bytes in, a value that
a known key signed out, or NoteError. Signature lines of unknown keys (witnesses, other
algorithms) are tolerated; a line that claims a known key and does not verify rejects the note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from audit.errors import NoteError
from audit.merkle import HASH_BYTES
from audit.vkey import KEY_NAME, key_id, read_vkey, to_base64, unbase64, write_vkey

_ED25519 = b"\x01"  # signed-note: the signature type byte
_DASH = "\u2014 "
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_FIELD = 2**255 - 19  # the prime of curve25519
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL = (0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8)  # y of the points of small order
_MAX_NOTE = 1 << 20
_MAX_SIGNATURES = 64
RECEIPT_MAGIC = "cloister-receipt/v1"


# --- keys -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A log's public key and the name (the origin) it signs under."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, _ED25519, self.public)

    def vkey(self) -> str:
        return write_vkey(self.name, _ED25519, self.public)

    @classmethod
    def parse(cls, vkey: str) -> VerifyingKey:
        key = cls(*read_vkey(vkey, _ED25519))
        if len(key.public) != HASH_BYTES or not is_strict(key.public):
            raise NoteError("not an Ed25519 verifier key")
        return key

    def verify(self, message: bytes, signature: bytes) -> None:
        verify_ed25519(self.public, message, signature)


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    """Raise NoteError unless ``signature`` is by ``public``, whose points are strict."""
    if not is_strict(signature[:32]):
        raise NoteError("the signature does not verify")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteError("the signature does not verify") from None


def is_strict(point: bytes) -> bool:
    """Whether a point is spelt as RFC 8032 §5.1.3 demands and is of large order.

    OpenSSL takes other spellings, too: a key in two spellings is two keys with one signature. A
    key of small order signs anything; browsers refuse it, and verifiers would disagree on it.
    """
    y = int.from_bytes(point, "little") & (1 << 255) - 1
    return y < _FIELD and y not in _SMALL


class SigningKey:
    """A log's private key. Lives in the key store and in memory, nowhere else."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not KEY_NAME.fullmatch(name):
            raise NoteError("a key name has no spaces and no plus")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyingKey(name, self._key.public_key().public_bytes_raw())
        self._prefix, self._id = f"{_DASH}{name} ", self.public.id
        self.second: Callable[[str], str] | None = None  # adds a line to checkpoints (§5.5)

    @property
    def name(self) -> str:
        return self.public.name

    def sign_note(self, text: str) -> str:
        """The signed note over ``text``, which ends in a newline."""
        return f"{text}\n{self.signature_line(text)}"

    def signature_line(self, text: str) -> str:
        signature = self._key.sign(text.encode())
        return f"{self._prefix}{to_base64(self._id + signature)}\n"


# --- notes ------------------------------------------------------------------------------------


def open_note(note: str | bytes, key: VerifyingKey) -> str:
    """Return the text of a note that ``key`` signed.

    Raises:
        NoteError: malformed, not signed by ``key``, or signed wrongly in its name.
    """
    text, lines = _split_note(note)
    verified = False
    for line in lines:
        name, blob = _signature(line)
        if name != key.name or blob[:4] != key.id:
            continue
        key.verify(text.encode(), blob[4:])
        verified = True
    if not verified:
        raise NoteError("no signature of the log's key")
    return text


def signature_lines(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note, and the name and blob of each signature line; nothing is verified."""
    text, lines = _split_note(note)
    return text, [_signature(line) for line in lines]


def signers(note: str | bytes) -> tuple[str, ...]:
    """The key names that a note claims, unverified: to say who signed instead of the log."""
    return tuple(name for name, _ in signature_lines(note)[1])


def _split_note(note: str | bytes) -> tuple[str, list[str]]:
    if len(note) > _MAX_NOTE:
        raise NoteError("the note is too long")
    if isinstance(note, bytes):
        try:
            note = note.decode("utf-8")
        except UnicodeDecodeError:
            raise NoteError("the note is not UTF-8") from None
    text, blank, rest = note.rpartition("\n\n")
    if not blank or not rest.endswith("\n") or _CONTROL.search(note):
        raise NoteError("not a signed note")
    lines = rest[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteError("too many signatures")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not KEY_NAME.fullmatch(name):
        raise NoteError("not a signature line")
    blob = unbase64(encoded)
    if len(blob) < 5:  # noqa: PLR2004 - four bytes of key id and at least one of signature
        raise NoteError("not a signature line")
    return name, blob


# --- checkpoints ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: ``size`` leaves under ``root``. ``note`` holds the signed bytes as stored.

    ``more`` are the lines behind the root that tlog-checkpoint leaves to the log.
    """

    origin: str
    size: int
    root: bytes
    note: str = field(default="", compare=False)
    more: tuple[str, ...] = ()

    def text(self) -> str:
        lines = (self.origin, str(self.size), to_base64(self.root), *self.more)
        return "\n".join(lines) + "\n"

    def sign(self, key: SigningKey, *others: SigningKey) -> Checkpoint:
        """Signed by ``key``, and by the others; the last key's second algorithm adds its line."""
        text = self.text()
        note = key.sign_note(text) + "".join(other.signature_line(text) for other in others)
        second = (key, *others)[-1].second
        if second is not None:
            note += second(text)
        return replace(self, note=note)

    @classmethod
    def parse(cls, text: str, note: str = "") -> Checkpoint:
        lines = text.split("\n")[:-1]
        if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - origin, size, root
            raise NoteError("not a checkpoint")
        root = unbase64(lines[2])
        if not SIZE.fullmatch(lines[1]) or len(root) != HASH_BYTES:
            raise NoteError("not a checkpoint")
        return cls(lines[0], int(lines[1]), root, note, tuple(lines[3:]))

    @classmethod
    def open(cls, note: str | bytes, key: VerifyingKey) -> Checkpoint:
        """The checkpoint in a note that ``key`` signed for its own origin."""
        checkpoint = cls.parse(open_note(note, key), note if isinstance(note, str) else "")
        if checkpoint.origin != key.name:
            raise NoteError("a checkpoint of another log")
        return checkpoint


# --- receipts ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """The log's signed word that a record is at ``index``: exposes a tail dropped later.

    ``note`` is a signed note; its first line is no origin, so it is never a checkpoint.
    """

    origin: str
    rid: str | None
    event: str
    index: int
    leaf_hash: bytes
    minute: str
    note: str = field(default="", compare=False)

    def text(self) -> str:
        lines = (
            RECEIPT_MAGIC,
            self.origin,
            self.rid or "-",
            self.event,
            str(self.index),
            to_base64(self.leaf_hash),
            self.minute,
        )
        return "\n".join(lines) + "\n"

    def sign(self, key: SigningKey) -> SignedReceipt:
        note = key.sign_note(self.text())
        return SignedReceipt(
            self.origin, self.rid, self.event, self.index, self.leaf_hash, self.minute, note
        )

    @classmethod
    def parse(cls, text: str, note: str = "") -> SignedReceipt:
        lines = text.split("\n")[:-1]
        if len(lines) < 7 or lines[0] != RECEIPT_MAGIC or not SIZE.fullmatch(lines[4]):  # noqa: PLR2004
            raise NoteError("not a receipt")
        leaf = unbase64(lines[5])
        if len(leaf) != HASH_BYTES:
            raise NoteError("not a receipt")
        rid = None if lines[2] == "-" else lines[2]
        return cls(lines[1], rid, lines[3], int(lines[4]), leaf, lines[6], note)

    @classmethod
    def open(cls, note: str | bytes, key: VerifyingKey) -> SignedReceipt:
        """The receipt in a note that ``key`` signed for its own origin."""
        kept = note if isinstance(note, str) else note.decode("utf-8", "replace")
        receipt = cls.parse(open_note(note, key), kept)
        if receipt.origin != key.name:
            raise NoteError("a receipt of another log")
        return receipt
