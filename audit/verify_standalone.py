#!/usr/bin/env python3
"""Verify a bundle with nothing but Python: one file, standard library only, Python 3.9+.

    python3 verify_standalone.py BUNDLE [--checkpoint FILE]... [--receipt FILE]... [--json]

BUNDLE is a directory or a zip file as `auditlog export` writes it (audit-format.md). Exit codes:
0 verified and anchored to a checkpoint you kept, 10 consistent but unanchored, 20 nothing or
bytes missing, 30 contradicts what you kept, 40 tampered, 2 wrong use. The checks and their order
are those of audit-format.md section 9.2; `auditlog verify` does the same with other code.

Sources: RFC 6962 section 2.1 (the tree), RFC 8032 section 5.1 (Ed25519),
https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint (what is signed).
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import zipfile

ANCHORED, UNANCHORED, MISSING, CONTRADICTED, TAMPERED = 0, 10, 20, 30, 40
RECEIPT = "cloister-receipt/v1"
MAX_LINE = 64 << 20


class Verdict(Exception):  # noqa: N818 - a result that ends the walk, good or bad
    def __init__(self, code, words):
        super().__init__(words)
        self.code = code


class Malformed(Exception):  # noqa: N818 - not what its place promises
    pass


# --- Ed25519, RFC 8032 section 5.1: verification only, so nothing here needs constant time ----

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def _x_of(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        raise Malformed("not a point of the curve")
    return P - x if x & 1 != sign else x


def _point(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= P:
        raise Malformed("not a point of the curve")
    x = _x_of(y, sign)
    return x, y, 1, x * y % P


def _add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (_x_of(BASE_Y, 0), BASE_Y, 1, _x_of(BASE_Y, 0) * BASE_Y % P)


def verify_ed25519(public, message, signature):
    """Raise Malformed unless `signature` over `message` is by `public` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        raise Malformed("a key or signature of the wrong length")
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        raise Malformed("the signature does not verify")
    a = _point(public)
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % L
    negated = (P - a[0], a[1], 1, P - a[3])
    x, y, z, _ = _add(_multiply(s, BASE), _multiply(challenge, negated))
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    if (y | (x & 1) << 255).to_bytes(32, "little") != signature[:32]:
        raise Malformed("the signature does not verify")


# --- signed notes, checkpoints, receipts -----------------------------------------------------


def unbase64(text):
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise Malformed("not base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise Malformed("not canonical base64")
    return data


class Key:
    """name+id+base64(0x01 || public): the log's key as the manifest states it."""

    def __init__(self, vkey):
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3 or not re.fullmatch(r"[^\s+]+", parts[0]):
            raise Malformed("not a verifier key")
        data = unbase64(parts[2])
        if data[:1] != b"\x01" or len(data) != 33:
            raise Malformed("not an Ed25519 verifier key")
        self.name, self.public = parts[0], data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        if self.id.hex() != parts[1]:
            raise Malformed("the verifier key's id is not its own")


def split_note(note):
    """Text and [(name, blob)] of a signed note, nothing verified."""
    if isinstance(note, bytes):
        try:
            note = note.decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("the note is not UTF-8") from None
    text, blank, rest = note.rpartition("\n\n")
    lines = rest[:-1].split("\n")
    if not blank or not rest.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Malformed("not a signed note")
    if len(note) > 1 << 20 or len(lines) > 64:
        raise Malformed("the note is too long")
    signatures = []
    for line in lines:
        match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
        blob = unbase64(match.group(2)) if match else b""
        if len(blob) < 5:
            raise Malformed("not a signature line")
        signatures.append((match.group(1), blob))
    return text + "\n", signatures


def open_note(note, key):
    """The text of a note that `key` signed; lines of unknown keys are tolerated."""
    text, signatures = split_note(note)
    ours = [blob for name, blob in signatures if name == key.name and blob[:4] == key.id]
    for blob in ours:
        verify_ed25519(key.public, text.encode(), blob[4:])
    if not ours:
        raise Malformed("no signature of the log's key")
    return text


def parse_checkpoint(text):
    """(origin, size, root)"""
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
        raise Malformed("not a checkpoint")
    root = unbase64(lines[2])
    if len(root) != 32:
        raise Malformed("not a checkpoint")
    return lines[0], int(lines[1]), root


def open_checkpoint(note, key):
    origin, size, root = parse_checkpoint(open_note(note, key))
    if origin != key.name:
        raise Malformed("a checkpoint of another log")
    return size, root


def open_receipt(note, key):
    """(index, leaf hash)"""
    lines = open_note(note, key).split("\n")[:-1]
    if len(lines) < 7 or lines[0] != RECEIPT or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[4]):
        raise Malformed("not a receipt")
    leaf = unbase64(lines[5])
    if lines[1] != key.name or len(leaf) != 32:
        raise Malformed("a receipt of another log")
    return int(lines[4]), leaf


# --- the tree, RFC 6962 section 2.1 ------------------------------------------------------------


class Tree:
    def __init__(self):
        self.size, self.edge = 0, []

    def add(self, leaf):
        index = self.size
        while index & 1:
            leaf = hashlib.sha256(b"\x01" + self.edge.pop() + leaf).digest()
            index >>= 1
        self.edge.append(leaf)
        self.size += 1

    def root(self):
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root


# --- records ---------------------------------------------------------------------------------------

HEX, MINUTE = "[0-9a-f]{32}", "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z"
SHAPES = {
    "boot": HEX,
    "event": r"(?=.{2,40}\Z)[a-z]+(?:[.-][a-z]+)*",
    "minute": MINUTE,
    "expires": "[0-9]{4}-[0-9]{2}",
    "key": HEX,
    "origin": r"(?s:.*)",
}


def parse_record(body):
    """The header of a record, or Malformed. Unknown fields are left alone."""
    try:
        value = json.loads(body.decode("utf-8"))
        plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if not isinstance(value, dict) or plain.encode("utf-8") != body:
            raise Malformed("it is not canonical JSON")
        header = value["header"]
        seq, rid, deadline = header["seq"], header["rid"], header["deadline"]
        fine = (
            header["v"] == 1
            and type(header["v"]) is int
            and all(re.fullmatch(shape, header[name]) for name, shape in SHAPES.items())
            and (rid is None or re.fullmatch(HEX, rid))
            and (deadline is None or re.fullmatch(MINUTE, deadline))
            and type(seq) is int
            and 0 <= seq < 1 << 53
            and isinstance(header["features"], dict)
            and isinstance(header["commits"], dict)
            and isinstance(value["parts"], list)
        )
        for part in value["parts"]:
            for sealed in [part["c"], *part["w"].values()]:
                unbase64(sealed)
            str(part["n"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Malformed("it is not a record") from None
    if not fine:
        raise Malformed("a field is missing or out of shape")
    return header


# --- the bundle ----------------------------------------------------------------------------------------


class Bundle:
    def __init__(self, path):
        try:
            if os.path.isdir(path):
                self.open = lambda name: open(os.path.join(path, name), "rb")
            else:
                self.open = zipfile.ZipFile(path).open
        except (OSError, zipfile.BadZipFile):
            raise Verdict(MISSING, "Bytes are missing: no bundle can be read here.") from None
        manifest = self.small("manifest.json")
        if not isinstance(manifest, dict) or manifest.get("format") != "cloister-bundle/1":
            raise Malformed("the manifest is not one of a bundle")
        self.vkey, self.count = manifest.get("vkey"), manifest.get("records")
        if not isinstance(self.vkey, str) or not isinstance(self.count, int):
            raise Malformed("the manifest is not one of a bundle")

    def small(self, name):
        with self.open(name) as file:
            data = file.read(MAX_LINE + 1)
        try:
            return json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            raise Malformed(name + " is not JSON") from None

    def checkpoints(self):
        notes = self.small("checkpoints.json")
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise Malformed("checkpoints.json is not a list of notes")
        return notes

    def records(self):
        found = 0
        with self.open("records.log") as file:
            while True:
                line = file.readline(MAX_LINE)
                if not line:
                    break
                match = re.fullmatch(rb"(0|[1-9][0-9]{0,18}) (.*)\n", line, re.DOTALL)
                if match is None and not line.endswith(b"\n"):
                    raise Verdict(MISSING, f"Bytes are missing: record {found} is cut off.")
                if match is None:
                    raise Malformed(f"line {found + 1} of records.log is not a record")
                yield int(match.group(1)), match.group(2)
                found += 1
        if found < self.count:
            raise Verdict(MISSING, f"Bytes are missing: {found} of {self.count} records are here.")


# --- the verdict -----------------------------------------------------------------------------------------


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Malformed:
        return None


def signed_heads(bundle, key):
    heads = []
    for number, note in enumerate(bundle.checkpoints()):
        size, root = open_checkpoint(note, key)
        if size <= (heads[-1][0] if heads else 0):
            raise Malformed(f"checkpoint {number} does not grow the log")
        heads.append((size, root))
    return heads


def walk(bundle, key, heads, sizes):
    """Check every record and head; return the tree, its roots at `sizes`, all leaf hashes."""
    tree, roots, leaves, sequence = Tree(), {}, [], {}
    wanted, covered = dict(heads), heads[-1][0] if heads else 0
    for index, body in bundle.records():
        if index > tree.size:
            raise Verdict(MISSING, f"Bytes are missing: record {tree.size} is not there.")
        if index < tree.size:
            raise Malformed(f"record {index} stands where {tree.size} should")
        if index >= covered:
            raise Malformed(f"record {index} stands under no checkpoint")
        try:
            header = parse_record(body)
        except Malformed as failed:
            raise Malformed(f"record {index}: {failed}") from None
        if header["origin"] != key.name:
            raise Malformed(f"record {index} belongs to another log")
        if header["seq"] <= sequence.get(header["boot"], -1):
            raise Malformed(f"record {index} was written before, or out of order")
        sequence[header["boot"]] = header["seq"]
        leaves.append(hashlib.sha256(b"\x00" + body).digest())
        tree.add(leaves[-1])
        if tree.size in wanted or tree.size in sizes:
            roots[tree.size] = tree.root()
        if wanted.get(tree.size, roots.get(tree.size)) != roots.get(tree.size):
            raise Malformed(f"the first {tree.size} records are not those of their checkpoint")
    return tree, roots, leaves


def judge(path, kept, receipts):
    """Raise the Verdict."""
    bundle = Bundle(path)
    key = Key(bundle.vkey)
    heads = signed_heads(bundle, key)
    anchors = [attempt(open_checkpoint, note, key) for note in kept]
    tree, roots, leaves = walk(bundle, key, heads, {anchor[0] for anchor in anchors if anchor})
    here = f"{tree.size} records are here"
    if not heads:
        words = "no checkpoint was ever signed" if tree.size else "the log is empty"
        raise Verdict(MISSING, f"Bytes are missing: {words}.")
    if tree.size < heads[-1][0]:
        raise Verdict(MISSING, f"Bytes are missing: {here} of {heads[-1][0]}.")
    for anchor in anchors:
        if anchor is None:
            raise Verdict(CONTRADICTED, "Contradicts the checkpoint you kept: another key.")
        if anchor[0] > tree.size:
            raise Verdict(MISSING, f"Bytes are missing: you kept a checkpoint of {anchor[0]}.")
        if roots[anchor[0]] != anchor[1]:
            raise Verdict(CONTRADICTED, f"Contradicts the checkpoint you kept at {anchor[0]}.")
    for note in receipts:
        receipt = attempt(open_receipt, note, key)
        if receipt is None:
            raise Verdict(CONTRADICTED, "Contradicts the receipt: this key did not sign it.")
        if receipt[0] >= tree.size:
            raise Verdict(MISSING, f"Bytes are missing: the receipt is for {receipt[0]}; {here}.")
        if leaves[receipt[0]] != receipt[1]:
            raise Verdict(TAMPERED, f"Tampered: record {receipt[0]} is not the receipt's.")
    demo = "DEMO - " if key.name.startswith("demo.") else ""
    if anchors:
        size = max(anchor[0] for anchor in anchors)
        raise Verdict(ANCHORED, f"{demo}Verified and anchored at {size}: {here}.")
    raise Verdict(UNANCHORED, f"{demo}Consistent but unanchored: {here}.")


def verdict(path, kept=(), receipts=()):
    """(code, words) for a bundle. Malformed means that `kept` or `receipts` are no such thing."""
    for note in kept:
        if parse_checkpoint(split_note(note)[0])[1] == 0:
            raise Malformed("a checkpoint of an empty log anchors nothing")
    for note in receipts:
        if not split_note(note)[0].startswith(RECEIPT + "\n"):
            raise Malformed("not a receipt")
    try:
        judge(path, kept, receipts)
    except Verdict as result:
        return result.code, str(result)
    except Malformed as failed:
        return TAMPERED, f"Tampered: {failed}."
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, RuntimeError):
        return MISSING, "Bytes are missing: a file is not there or unreadable."
    raise AssertionError("judge always ends in a verdict")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verify an exported log.")
    parser.add_argument("bundle")
    parser.add_argument("--checkpoint", action="append", default=[], help="one that you kept")
    parser.add_argument("--receipt", action="append", default=[], help="one that was given out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        kept = [read(path) for path in options.checkpoint]
        code, words = verdict(options.bundle, kept, [read(path) for path in options.receipt])
    except (OSError, Malformed) as failed:
        print(f"verify: {failed}", file=sys.stderr)
        return 2
    print(json.dumps({"code": code, "words": words}) if options.json else words)
    return code


if __name__ == "__main__":
    sys.exit(main())
