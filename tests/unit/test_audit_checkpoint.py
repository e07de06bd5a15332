"""Signed notes, checkpoints and receipts: the formats of C2SP, strictly read."""

from __future__ import annotations

import ast
import base64
from pathlib import Path

import pytest

from audit.checkpoint import (
    Checkpoint,
    SignedReceipt,
    SigningKey,
    VerifyingKey,
    open_note,
    signers,
)
from audit.errors import NoteError
from audit.verify_standalone import Bad, verify_ed25519

# The example of Go's golang.org/x/mod/sumdb/note documentation, which C2SP's signed-note names.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
# RFC 8032 §7.1: public key, message, signature.
RFC8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
KEY = SigningKey("log.example/1", bytes(range(32)))
HEAD = Checkpoint("log.example/1", 5, bytes(32)).sign(KEY)


def test_the_note_of_gos_documentation_opens():
    """A note signed by another implementation is read, and its key id is derived as it is there."""
    key = VerifyingKey.parse(GO_VKEY)
    assert key.vkey() == GO_VKEY
    assert open_note(GO_NOTE, key) == GO_NOTE.partition("\n\n")[0] + "\n"
    assert signers(GO_NOTE) == ("PeterNeumann",)


@pytest.mark.parametrize(("public", "message", "signature"), RFC8032)
def test_the_standalone_ed25519_agrees_with_rfc_8032(public, message, signature):
    """The published signatures verify; with one bit changed anywhere they do not."""
    parts = [bytes.fromhex(value) for value in (public, message, signature)]
    verify_ed25519(*parts)
    for place, part in enumerate(parts):
        for position in range(len(part)):
            changed = bytearray(part)
            changed[position] ^= 1 << position % 8
            with pytest.raises(Bad):
                verify_ed25519(*parts[:place], bytes(changed), *parts[place + 1 :])


def test_the_standalone_ed25519_refuses_a_second_spelling_of_a_signature():
    """RFC 8032 §5.1.7: S is below the group's order, else one signature would have many forms."""
    public, message, signature = (bytes.fromhex(value) for value in RFC8032[1])
    order = 2**252 + 27742317777372353535851937790883648493
    grown = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(Bad):
        verify_ed25519(public, message, signature[:32] + grown.to_bytes(32, "little"))


def test_a_checkpoint_is_what_c2sp_writes():
    """Origin, size, root, a blank line, and a signature line with an em dash and the key's name."""
    lines = HEAD.note.split("\n")
    assert lines[:4] == ["log.example/1", "5", base64.b64encode(bytes(32)).decode(), ""]
    assert lines[4].startswith("\u2014 log.example/1 ")
    assert lines[5:] == [""]
    assert Checkpoint.open(HEAD.note, KEY.public) == HEAD


def test_lines_of_unknown_signers_are_tolerated():
    """Witnesses and other algorithms may add lines: the log's own signature still counts."""
    other = SigningKey("witness.example", bytes(32)).sign_note(HEAD.text())
    line = other.rpartition("\n\n")[2]
    assert Checkpoint.open(HEAD.note + line, KEY.public) == HEAD
    assert Checkpoint.open(HEAD.note.replace("\n\n", "\n\n" + line), KEY.public) == HEAD


@pytest.mark.parametrize(
    "note",
    [
        "",
        HEAD.text(),
        HEAD.text() + "\n",
        HEAD.note[:-1],
        HEAD.note.replace("5", "6", 1),
        HEAD.note.replace("\u2014", "-"),
        HEAD.note.replace("\n", "\r\n"),
        HEAD.note + "\n",
        HEAD.note + "\u2014 witness.example not-base64\n",
        HEAD.note + "\u2014 witness.example AAAAAA\n",
        HEAD.note.replace("example/1 ", "example/2 "),
        SigningKey("log.example/1", bytes(32)).sign_note(HEAD.text()),
        HEAD.note.encode("utf-16"),
        b"\xff" + HEAD.note.encode(),
        HEAD.note + HEAD.note.rpartition("\n\n")[2].replace("A", "B"),
    ],
)
def test_what_the_log_did_not_sign_is_no_checkpoint(note):
    """Malformed, unsigned, signed by another key or wrongly in the log's name: all raise."""
    with pytest.raises(NoteError):
        Checkpoint.open(note, KEY.public)


@pytest.mark.parametrize(
    "text",
    [
        "log.example/1\n5\n",
        "log.example/1\n05\n" + HEAD.text().split("\n")[2] + "\n",
        "log.example/1\n-5\n" + HEAD.text().split("\n")[2] + "\n",
        "log.example/1\n\u0665\n" + HEAD.text().split("\n")[2] + "\n",
        "log.example/1\n5\nAAAA\n",
        "log.example/2\n5\n" + HEAD.text().split("\n")[2] + "\n",
        HEAD.text() + "\nextension after a blank line\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_raises(text):
    """A valid signature does not make a checkpoint out of another text."""
    with pytest.raises(NoteError):
        Checkpoint.open(KEY.sign_note(text), KEY.public)


def test_a_receipt_is_no_checkpoint_and_a_checkpoint_no_receipt():
    """Both are signed by one key, so their first lines keep them apart."""
    receipt = SignedReceipt("log.example/1", "ab" * 16, "intent", 4, bytes(32), "2026-03-01T09:30Z")
    signed = receipt.sign(KEY)
    assert SignedReceipt.open(signed.note, KEY.public) == receipt
    assert SignedReceipt.open(signed.note.encode(), KEY.public).note == signed.note
    for opener, note in ((Checkpoint.open, signed.note), (SignedReceipt.open, HEAD.note)):
        with pytest.raises(NoteError):
            opener(note, KEY.public)


@pytest.mark.parametrize(
    "vkey",
    ["", "a+b", GO_VKEY[:-4], GO_VKEY.replace("c7", "c8"), GO_VKEY.replace("ARpc", "ARpd"), "+" * 3,
     "name with space" + GO_VKEY[12:]],
)  # fmt: skip
def test_a_broken_verifier_key_raises(vkey):
    """A key whose id is not its own, of another type or length, is not used."""
    with pytest.raises(NoteError):
        VerifyingKey.parse(vkey)


def test_the_standalone_verifier_keeps_its_bounds():
    """One file of at most 400 lines, in the syntax of Python 3.9, on the standard library only."""
    source = (Path(__file__).parents[2] / "audit" / "verify_standalone.py").read_text("utf-8")
    imported = {
        line.split()[1].partition(".")[0]
        for line in source.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported == {
        "__future__", "argparse", "base64", "functools", "hashlib", "json", "pathlib", "re", "sys",
        "typing", "zipfile",
    }  # fmt: skip
    assert len(source.splitlines()) <= 400
    ast.parse(source, feature_version=(3, 9))
