"""Verifier keys in one line, as signed notes have them, and strict base64. Pure.

Source: https://c2sp.org/signed-note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from audit.errors import NoteError

KEY_NAME = re.compile(r"[^\s+]+")


def unbase64(text: str) -> bytes:
    """Strict base64 of RFC 4648 §4: one spelling per value.

    Raises:
        NoteError: anything else.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NoteError("not base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise NoteError("not canonical base64")
    return data


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def key_id(name: str, kind: bytes, public: bytes) -> bytes:
    """The id of a key of the signature type ``kind`` (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def write_vkey(name: str, kind: bytes, public: bytes) -> str:
    """The one-line form that Go's sumdb/note and other tools of the field read."""
    return f"{name}+{key_id(name, kind, public).hex()}+{to_base64(kind + public)}"


def read_vkey(vkey: str, kind: bytes) -> tuple[str, bytes]:
    """The name and the public key of a line of this type; what bytes are a key, callers check.

    Raises:
        NoteError: no such line, of another type, or its id is not its own.
    """
    parts = vkey.strip().split("+", 2)
    if len(parts) != 3 or not KEY_NAME.fullmatch(parts[0]):  # noqa: PLR2004 - name+id+key
        raise NoteError("not a verifier key")
    data = unbase64(parts[2])
    name, public = parts[0], data[len(kind) :]
    if not data.startswith(kind):
        raise NoteError("not a verifier key of this type")
    if key_id(name, kind, public).hex() != parts[1]:
        raise NoteError("the verifier key's id is not its own")
    return name, public
