"""Witnesses: who cosigns a checkpoint only where it extends the one they hold.

audit-format.md §5.4. The request of https://c2sp.org/tlog-witness crosses an air gap as a file: the
size that the witness holds, the consistency proof from there, and the signed note. A witness
remembers, in a file of its own, the newest head of each log; it MUST NOT sign a head before that
file was synced.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from audit.chain import Chain, next_key
from audit.checkpoint import SIZE, Checkpoint, VerifyingKey, signature_lines
from audit.cosignature import WitnessKey, line, message
from audit.errors import FormatError, MissingError, NoteError, ProofError, SealError, WitnessError
from audit.merkle import NodeReader, consistency_proof, verify_consistency
from audit.vkey import KEY_NAME, unbase64

_MAX_PROOF = 63  # tlog-witness


def generate(name: str, passphrase: bytes | None = None) -> tuple[WitnessKey, bytes]:
    """A witness' key pair: the public half, and the private one as PEM for its own machine."""
    if not KEY_NAME.fullmatch(name):
        raise NoteError("a key name has no spaces and no plus")
    private = Ed25519PrivateKey.generate()
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    return WitnessKey(name, private.public_key().public_bytes_raw()), pem


def load_private(pem: bytes, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError):
        raise SealError("the private key does not open: wrong file or passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SealError("not a witness' private key")
    return key


# --- the file that crosses the gap --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What a witness is asked to cosign: the body of tlog-witness' add-checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        proof = "".join(base64.b64encode(node).decode("ascii") + "\n" for node in self.proof)
        return f"old {self.old}\n{proof}\n{self.note}"

    def small(self, chain: Chain) -> Request:
        """Without the signature lines of others: what fits into a QR code."""
        text, lines = signature_lines(self.note)
        size = Checkpoint.parse(text).size
        ids = {chain.at(size - 1).id, chain.at(size).id}
        ours = [(name, blob) for name, blob in lines if name == chain.name and blob[:4] in ids]
        return Request(self.old, self.proof, text + "\n" + "".join(map(line, ours)))

    @classmethod
    def parse(cls, data: bytes) -> Request:
        try:
            head, blank, note = data.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError:
            raise FormatError("not a request for a witness") from None
        first, *proof = head.split("\n")
        word, _, old = first.partition(" ")
        if not blank or word != "old" or not SIZE.fullmatch(old) or len(proof) > _MAX_PROOF:
            raise FormatError("not a request for a witness")
        return cls(int(old), tuple(unbase64(line) for line in proof), note)


def request(old: int, note: str, chain: Chain, node: NodeReader) -> Request:
    """Ask for a cosignature of ``note`` by a witness that holds the head of size ``old``."""
    head = chain.open(note)
    if old > head.size:
        raise WitnessError(f"the witness holds {old} records, this head covers {head.size}")
    proof = consistency_proof(old, head.size, node) if old else ()
    return Request(old, proof, note)


# --- the witness --------------------------------------------------------------------------------


class Witness:
    """A witness at its own machine: a private key, and the newest head of each log in a file."""

    def __init__(self, private: Ed25519PrivateKey, state: Path) -> None:
        self._private, self._path = private, state

    @staticmethod
    def create(state: Path, name: str) -> None:
        """Make the state of a new witness. It MUST NOT be made anew for an old key."""
        descriptor = os.open(state, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"v": 1, "name": name, "logs": {}}, file)

    def cosign(self, asked: Request, vkey: str | None, now: datetime) -> str:
        """The note of ``asked`` with this witness' line added; the head is remembered first.

        ``vkey``: the log's key, needed the first time a log is seen and held from then on.

        Raises:
            WitnessError: another log or key, or a head that does not extend the one held.
            NoteError, FormatError, MissingError: the request or the state is no such thing.
        """
        with self._locked():
            state = self._read()
            origin = asked.note.partition("\n")[0]
            known = state["logs"].get(origin)
            key = self._log_key(known, vkey)
            head = Checkpoint.open(asked.note, key)
            if head.size == 0:
                raise WitnessError("Refused: a head of no records says nothing.")
            former = known.get("former", []) if known is not None else []
            if known is not None:
                _check_growth(Checkpoint.open(known["note"], key), head, asked)
            new = _next_key(head, key, former)
            former = former if new == key else [*former, key.vkey()]
            state["logs"][origin] = {"vkey": new.vkey(), "note": asked.note, "former": former}
            self._write(state)
        text = signature_lines(asked.note)[0]
        return asked.note + self._signed(state["name"], text, now)

    def _signed(self, name: str, text: str, now: datetime) -> str:
        public = WitnessKey(name, self._private.public_key().public_bytes_raw())
        seconds = int(now.timestamp())
        signature = self._private.sign(message(text, seconds))
        blob = public.id + seconds.to_bytes(8, "big") + signature
        return line((name, blob))

    @staticmethod
    def _log_key(known: dict[str, Any] | None, vkey: str | None) -> VerifyingKey:
        if known is None and vkey is None:
            raise WitnessError(
                "Refused: this log is new here; name its key with --log, from a source you trust."
            )
        if known is not None and vkey is not None and vkey.strip() != known["vkey"]:
            raise WitnessError("Refused: this is another key than the one held for this log.")
        return VerifyingKey.parse(known["vkey"] if known is not None else vkey or "")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, else two could sign two heads that contradict each other."""
        if not self._path.is_file():
            raise MissingError("the witness' state is not there")
        lock = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Any]:
        try:
            state = json.loads(self._path.read_text("utf-8"))
            fine = state["v"] == 1 and KEY_NAME.fullmatch(state["name"])
            fine = fine and all(
                isinstance(held["vkey"], str)
                and isinstance(held["note"], str)
                and isinstance(held.get("former", []), list)
                for held in state["logs"].values()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            fine = None
        if not fine:
            raise MissingError("the witness' state is not readable")
        return dict(state)

    def _write(self, state: object) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


def _next_key(head: Checkpoint, key: VerifyingKey, former: list[str]) -> VerifyingKey:
    """The key to hold from this head on: another one where the head names it and both signed."""
    if next_key(key) in head.more:  # this head was cosigned before, or its new key was named
        return key
    new = Chain(key).extended(head.note).current
    if new.vkey() in former:
        raise WitnessError("Refused: the log goes back to a key that it had before.")
    return new


def _check_growth(held: Checkpoint, head: Checkpoint, asked: Request) -> None:
    if head.size < held.size:
        raise WitnessError(
            f"Refused: the head covers {head.size} records, and {held.size} were cosigned before."
        )
    if head.size == held.size and head.root != held.root:
        raise WitnessError(
            f"Refused: another head of {held.size} records was cosigned before: the log was forked."
        )
    if head.size == held.size:
        return
    if asked.old != held.size:
        raise WitnessError(
            f"Refused: {held.size} records were cosigned before; export with --since {held.size}."
        )
    try:
        verify_consistency(held.size, head.size, held.root, head.root, asked.proof)
    except ProofError:
        raise WitnessError(
            f"Refused: the head does not extend the {held.size} records cosigned before: they were "
            "rewritten, or the proof is for another log."
        ) from None
