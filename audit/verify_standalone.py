#!/usr/bin/env python3
"""Verify a bundle with nothing but Python: one file, standard library only, Python 3.9+.

    python3 verify_standalone.py BUNDLE [--checkpoint FILE]... [--receipt FILE]...

BUNDLE is a directory or a zip file as `auditlog export` writes it (audit-format.md). Exit codes:
0 verified and anchored to a checkpoint you kept, 10 consistent but unanchored, 20 nothing or
bytes missing, 30 contradicts what you kept, 40 tampered, 2 wrong use. Checks and their order:
audit-format.md section 9.2. Sources: RFC 6962 section 2.1 (the tree), RFC 8032 section 5.1
(Ed25519), https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint (what is signed).
"""
# ruff: noqa: N818, PLR2004, T201, UP006, UP035 - a script for Python 3.9: it prints, its numbers
# are those of the standards, and its errors are verdicts

from __future__ import annotations

import argparse
import base64
import functools
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import IO, Any, Callable, Iterator, List, Sequence, Set, Tuple

ANCHORED, UNANCHORED, MISSING, CONTRADICTED, TAMPERED = 0, 10, 20, 30, 40
NAMES = {20: "Bytes are missing", 30: "Contradicts what you kept", 40: "Tampered"}
RECEIPT, MAX_LINE, SIZE = "cloister-receipt/v1", 64 << 20, "0|[1-9][0-9]{0,18}"

Point = Tuple[int, int, int, int]
Heads = List[Tuple[int, bytes]]
Notes = Sequence[bytes]


class Bad(Exception):
    """A check that failed, and the verdict it leads to."""

    def __init__(self, words: str, code: int = TAMPERED) -> None:
        super().__init__(words)
        self.code = code


# --- Ed25519, RFC 8032 section 5.1: verification only, so nothing here needs constant time ----
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def y_of(data: bytes) -> int:
    return int.from_bytes(data[:32], "little") % (1 << 255)


def _point(data: bytes) -> Point:
    y, sign = y_of(data), data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise Bad("not a point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL = (0, 1, P - 1, ORDER_8, P - ORDER_8)  # y of the points that sign anything (section 5.1)


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    """Raise Bad unless `signature` over `message` is by `public` (32 bytes)."""
    s = int.from_bytes(signature[32:], "little")
    if len(public) != 32 or len(signature) != 64 or s >= L or y_of(signature) in SMALL:
        raise Bad("the signature does not verify")
    a = _point(public)
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % L
    negated = (P - a[0], a[1], 1, P - a[3])
    x, y, z, _ = _add(_multiply(s, BASE), _multiply(challenge, negated))
    x, y = (value * pow(z, P - 2, P) % P for value in (x, y))
    if (y | (x & 1) << 255).to_bytes(32, "little") != signature[:32]:
        raise Bad("the signature does not verify")


# --- signed notes, checkpoints, receipts ------------------------------------------------------


def unbase64(text: str, length: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data, length = b"", -1
    if base64.b64encode(data).decode("ascii") != text or len(data) != (length or len(data)):
        raise Bad("not canonical base64, or of the wrong length")
    return data


class Key:  # name+id+base64(0x01 || public)
    def __init__(self, vkey: str) -> None:
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3 or not re.fullmatch(r"[^\s+]+", parts[0]):
            raise Bad("not a verifier key")
        self.name, data = parts[0], unbase64(parts[2], 33)
        self.public = data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        y = y_of(self.public)
        if data[:1] != b"\x01" or y >= P or y in SMALL or self.id.hex() != parts[1]:
            raise Bad("not an Ed25519 verifier key, or its id is not its own")


def split_note(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and [(name, blob)] of a signed note, nothing verified."""
    if isinstance(note, bytes):
        try:
            note = note.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("the note is not UTF-8") from None
    text, blank, rest = note.rpartition("\n\n")
    lines = rest[:-1].split("\n")
    long = len(note) > 1 << 20 or len(lines) > 64
    if long or not blank or rest[-1:] != "\n" or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Bad("not a signed note")
    signatures = []
    for line in lines:
        match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
        signatures.append((match[1], unbase64(match[2])) if match else ("", b""))
        if len(signatures[-1][1]) < 5:
            raise Bad("not a signature line")
    return text + "\n", signatures


def open_note(note: str | bytes, key: Key) -> str:
    """The text of a note that `key` signed; lines of unknown keys are tolerated."""
    text, signatures = split_note(note)
    ours = [blob for name, blob in signatures if name == key.name and blob[:4] == key.id]
    for blob in ours:
        verify_ed25519(key.public, text.encode(), blob[4:])
    if not ours:
        raise Bad("no signature of the log's key")
    return text


def parse_checkpoint(text: str, origin: str | None = None) -> tuple[int, bytes]:
    lines = text.split("\n")[:-1]
    fine = len(lines) > 2 and all(lines) and origin in (None, lines[0])
    if not fine or not re.fullmatch(SIZE, lines[1]):
        raise Bad("not a checkpoint of this log")
    return int(lines[1]), unbase64(lines[2], 32)


def open_checkpoint(note: str | bytes, key: Key) -> tuple[int, bytes]:
    return parse_checkpoint(open_note(note, key), key.name)


def open_receipt(note: bytes, key: Key) -> tuple[int, bytes]:
    lines = open_note(note, key).split("\n")[:-1]
    if len(lines) < 7 or lines[:2] != [RECEIPT, key.name] or not re.fullmatch(SIZE, lines[4]):
        raise Bad("not a receipt of this log")
    return int(lines[4]), unbase64(lines[5], 32)


# --- the tree, RFC 6962 section 2.1 -----------------------------------------------------------


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def add(edge: list[bytes], index: int, leaf: bytes) -> None:
    """Grow a tree of `index` leaves, known by the roots of its perfect subtrees."""
    while index & 1:
        leaf, index = node(edge.pop(), leaf), index >> 1
    edge.append(leaf)


HEX, MONTH = "[0-9a-f]{32}", "[0-9]{4}-[0-9]{2}"
MINUTE = MONTH + "-[0-9]{2}T[0-9]{2}:[0-9]{2}Z"
EVENT = r"(?=.{2,40}\Z)[a-z]+(?:[.-][a-z]+)*"
SHAPES = {"boot": HEX, "event": EVENT, "minute": MINUTE, "expires": MONTH, "key": HEX}
NULLABLE = {"rid": HEX, "deadline": MINUTE}


def _integer(text: str) -> int:
    if len(text) > 17 or not text.strip("-").isdigit() or abs(int(text)) >= 1 << 53:
        raise ValueError("not a number of section 2.2")
    return int(text)


JSON = json.JSONDecoder(parse_float=_integer, parse_int=_integer, parse_constant=_integer)


def parse_record(body: bytes, what: str) -> Any:
    """The header of a record. Unknown fields are left alone; numbers are those of section 2.2."""
    try:
        value = JSON.decode(body.decode("utf-8"))
        plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        header, parts, seq = value["header"], value["parts"], value["header"]["seq"]
        fine = plain.encode("utf-8") == body and isinstance(parts, list)
        fine &= type(header["v"]) is int and header["v"] == 1
        fine &= type(seq) is int and 0 <= seq < 1 << 53 and isinstance(header["origin"], str)
        fine &= isinstance(header["features"], dict) and isinstance(header["commits"], dict)
        for name, shape in (*SHAPES.items(), *NULLABLE.items()):
            empty = header[name] is None and name in NULLABLE
            fine &= empty or re.fullmatch(shape, header[name]) is not None
        for part in parts:
            for sealed in [part["c"], *part["w"].values()]:
                unbase64(sealed)
            fine &= isinstance(part["n"], str)
    except (Bad, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fine = False
    if not fine:
        raise Bad(f"{what} is not canonical, lacks a field or has one out of shape")
    return header


# --- the bundle -------------------------------------------------------------------------------


class Bundle:
    def __init__(self, path: str) -> None:
        self.open: Callable[[str], IO[bytes]] = lambda name: (Path(path) / name).open("rb")
        if (Path(path) / "ledger.db").exists():
            raise Bad("a bundle and a ledger stand in one place")
        if not Path(path).is_dir():
            with Path(path).open("rb") as file:
                if file.read(2) != b"PK":
                    raise Bad("neither a directory nor a zip file", MISSING)
            self.open = zipfile.ZipFile(path).open
        manifest = self.small("manifest.json")
        fine = isinstance(manifest, dict) and manifest.get("format") == "cloister-bundle/1"
        self.vkey: str = manifest.get("vkey", "") if fine else ""
        self.count: int = manifest.get("records", "") if fine else 0
        if not fine or not isinstance(self.vkey, str) or not isinstance(self.count, int):
            raise Bad("the manifest is not one of a bundle")

    def small(self, name: str) -> Any:
        try:
            with self.open(name) as file:
                value = json.loads(file.read(MAX_LINE + 1).decode("utf-8"))
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # no escaped half of a pair
        except (ValueError, RecursionError):
            raise Bad(name + " is not JSON") from None
        return value

    def records(self) -> Iterator[tuple[int, bytes]]:
        found = 0
        with self.open("records.log") as file:
            for line in iter(lambda: file.readline(MAX_LINE), b""):
                match = re.fullmatch(rb"(0|[1-9][0-9]{0,18}) (.*)\n", line, re.DOTALL)
                if match is None and not line.endswith(b"\n"):
                    raise Bad(f"record {found} is cut off", MISSING)
                if match is None:
                    raise Bad(f"line {found + 1} of records.log is not a record")
                yield int(match.group(1)), match.group(2)
                found += 1
        if found < self.count:
            raise Bad(f"{found} of {self.count} records are here", MISSING)


def signed_heads(bundle: Bundle, key: Key) -> Heads:
    heads: Heads = []
    notes = bundle.small("checkpoints.json")
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise Bad("checkpoints.json is not a list of notes")
    for note in notes:
        heads.append(open_checkpoint(note, key))
        if heads[-1][0] <= (heads[-2][0] if heads[1:] else 0):
            raise Bad(f"checkpoint {len(heads)} does not grow the log")
    return heads


class Log:
    """A walk over all records: the leaves and roots that heads, kept notes and receipts name."""

    def __init__(self, bundle: Bundle, key: Key, heads: Heads, asked: Set[int]) -> None:
        self.size = 0
        self.leaves: dict[int, bytes] = {}
        self.roots: dict[int, bytes] = {}
        sequence: dict[str, int] = {}
        edge: list[bytes] = []
        wanted, covered = dict(heads), heads[-1][0] if heads else 0
        for index, body in bundle.records():
            if index > self.size:
                raise Bad(f"record {self.size} is not there", MISSING)
            if index < self.size or index >= covered:
                raise Bad(f"record {index} stands where none should")
            header = parse_record(body, f"record {index}")
            if header["origin"] != key.name or header["seq"] <= sequence.get(header["boot"], -1):
                raise Bad(f"record {index} is of another log, or was written before")
            sequence[header["boot"]] = header["seq"]
            leaf = hashlib.sha256(b"\x00" + body).digest()
            add(edge, index, leaf)
            self.size = size = index + 1
            if index in asked:
                self.leaves[index] = leaf
            if size in asked or size in wanted:
                self.roots[size] = functools.reduce(lambda root, left: node(left, root), edge[::-1])
            if size in wanted and self.roots[size] != wanted[size]:
                raise Bad(f"the first {size} records are not those of their checkpoint")


def signed(reader: Callable[..., Any], notes: Notes, key: Key) -> Iterator[Any]:
    """What was kept: (position, hash) of each, or None for one that this key did not sign."""
    for note in notes:
        try:
            yield reader(note, key)
        except Bad:
            yield None


def judge(bundle: Bundle, kept: Notes, receipts: Notes) -> tuple[int, str]:  # noqa: C901
    key = Key(bundle.vkey)
    heads = signed_heads(bundle, key)
    anchors, given = [*signed(open_checkpoint, kept, key)], [*signed(open_receipt, receipts, key)]
    log = Log(bundle, key, heads, {found[0] for found in (*anchors, *given) if found})
    here, anchored = log.size, 0
    if not heads:
        raise Bad("no checkpoint" if here else "the log is empty", MISSING)
    if here < heads[-1][0]:
        raise Bad(f"{here} of {heads[-1][0]} records are here", MISSING)
    for anchor in anchors:
        if anchor is None:
            raise Bad("another key signed the checkpoint you kept", CONTRADICTED)
        if anchor[0] > here:
            raise Bad(f"you kept a checkpoint of {anchor[0]}; {here} are here", MISSING)
        if log.roots[anchor[0]] != anchor[1]:
            raise Bad(f"the first {anchor[0]} records are not those you kept", CONTRADICTED)
        anchored = max(anchored, anchor[0])
    for receipt in given:
        if receipt is None:
            raise Bad("another key signed the receipt", CONTRADICTED)
        if receipt[0] >= here:
            raise Bad(f"the receipt is for record {receipt[0]}; {here} are here", MISSING)
        if log.leaves[receipt[0]] != receipt[1]:
            raise Bad(f"record {receipt[0]} is not the one the receipt is for")
    if not anchored:
        return UNANCHORED, f"Consistent but unanchored: {here} records; use --checkpoint FILE."
    return ANCHORED, f"Verified and anchored: {here} records, {anchored} of them as you kept them."


def verdict(path: str, kept: Notes = (), receipts: Notes = ()) -> tuple[int, str]:
    """Code and words for a bundle. Raises Bad where `kept` or `receipts` are no such thing."""
    for note in kept:
        if parse_checkpoint(split_note(note)[0])[0] == 0:
            raise Bad("a checkpoint of an empty log anchors nothing")
    for note in receipts:
        if not split_note(note)[0].startswith(RECEIPT + "\n"):
            raise Bad("not a receipt")
    demo = ""
    try:
        bundle = Bundle(path)
        demo = "DEMO - " if bundle.vkey.startswith("demo.") else ""
        code, words = judge(bundle, kept, receipts)
    except Bad as failed:
        code, words = failed.code, f"{NAMES[failed.code]}: {failed}."
    except Exception:  # noqa: BLE001 - whatever reading a damaged or hostile file raises
        code, words = MISSING, "Bytes are missing: a file is not there or unreadable."
    return code, demo + words


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify an exported log.")
    parser.add_argument("bundle")
    parser.add_argument("--checkpoint", action="append", default=[], help="one that you kept")
    parser.add_argument("--receipt", action="append", default=[], help="one that was given out")
    options = parser.parse_args(arguments)
    try:
        kept = [Path(path).read_bytes() for path in options.checkpoint]
        receipts = [Path(path).read_bytes() for path in options.receipt]
        code, words = verdict(options.bundle, kept, receipts)
    except (OSError, Bad) as failed:
        print(f"verify: {failed}", file=sys.stderr)
        return 2
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
