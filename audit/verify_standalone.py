#!/usr/bin/env python3
"""Verify a bundle with nothing but Python: one file, standard library only, Python 3.9+.

    python3 verify_standalone.py BUNDLE [--checkpoint FILE]... [--receipt FILE]...

BUNDLE is a directory or a zip file. Exit codes: 0 verified and anchored to a checkpoint you kept,
10 consistent but unanchored, 20 nothing or bytes missing, 30 contradicts what you kept, 40
tampered, 2 wrong use. Checks: audit-format.md 9.2, 10. Signed: https://c2sp.org/tlog-checkpoint.
"""
# ruff: noqa: N818, PLR2004, T201, UP006, UP035 - for Python 3.9; it prints; numbers of standards

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
FORMATS = "cloister-bundle/1", "cloister-bundle/2"  # the whole log, chosen records of it
POLICY = r"policies/[a-z0-9][a-z0-9._-]{0,127}\.yaml"
Point = Tuple[int, int, int, int]
Heads = List[Tuple[int, bytes]]
Notes = Sequence[bytes]


class Bad(Exception): ...  # a check that failed: its words, and the verdict it leads to


def need(fine: object, words: str, code: int = TAMPERED) -> None:
    if not fine:
        raise Bad(words, code)


P = 2**255 - 19  # Ed25519, RFC 8032 section 5.1: verification only, so nothing is in constant time
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
    need(y < P and (x * x - square) % P == 0 and (x or not sign), "not a point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    rest = _multiply(scalar >> 1, _add(point, point)) if scalar else (0, 1, 1, 0)
    return _add(rest, point) if scalar & 1 else rest


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL = (0, 1, P - 1, ORDER_8, P - ORDER_8)  # y of the points that sign anything (section 5.1)


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    s, whole = int.from_bytes(signature[32:], "little"), len(public) == 32 and len(signature) == 64
    need(whole and s < L and y_of(signature) not in SMALL, "the signature does not verify")
    a = _point(public)
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % L
    x, y, z, _ = _add(_multiply(s, BASE), _multiply(challenge, (P - a[0], a[1], 1, P - a[3])))
    x, y = (value * pow(z, P - 2, P) % P for value in (x, y))
    found = (y | (x & 1) << 255).to_bytes(32, "little")
    need(found == signature[:32], "the signature does not verify")


def unbase64(text: str, length: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data, length = b"", -1
    fine = base64.b64encode(data).decode("ascii") == text and len(data) == (length or len(data))
    need(fine, "not canonical base64, or of the wrong length")
    return data


class Key:  # name+id+base64(0x01 || public)
    def __init__(self, vkey: str) -> None:
        parts = vkey.strip().split("+", 2)
        need(len(parts) == 3 and re.fullmatch(r"[^\s+]+", parts[0]), "not a verifier key")
        self.name, data = parts[0], unbase64(parts[2], 33)
        self.public = data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        fine = data[:1] == b"\x01" and self.id.hex() == parts[1] and y_of(self.public) < P
        fine &= y_of(self.public) not in SMALL
        need(fine, "not an Ed25519 verifier key, or its id is not its own")


def split_note(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:  # nothing verified
    if isinstance(note, bytes):
        try:
            note = note.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("the note is not UTF-8", TAMPERED) from None
    text, blank, rest = note.rpartition("\n\n")
    lines = rest[:-1].split("\n")
    fine = len(note) <= 1 << 20 and len(lines) <= 64 and blank and rest[-1:] == "\n"
    need(fine and not re.search(r"[\x00-\x09\x0b-\x1f]", note), "not a signed note")
    signatures = []
    for line in lines:
        match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
        signatures.append((match[1], unbase64(match[2])) if match else ("", b""))
        need(len(signatures[-1][1]) >= 5, "not a signature line")
    return text + "\n", signatures


def check_note(note: str | bytes, key: Key) -> None:  # lines of unknown keys are tolerated
    text, signatures = split_note(note)
    ours = [blob for name, blob in signatures if name == key.name and blob[:4] == key.id]
    for blob in ours:
        verify_ed25519(key.public, text.encode(), blob[4:])
    need(ours, "no signature of the log's key")


class Keys:  # the first, and those that rotations name, each signed by the one before it
    def __init__(self, vkey: str) -> None:
        first = Key(vkey)
        self.name, self.since = first.name, {-1: first}  # each by the first record that it signs

    def at(self, index: int) -> Key:
        return [key for start, key in self.since.items() if start <= index][-1]

    def learn(self, size: int, line: str) -> None:
        if line.startswith("next-key "):
            key = Key(line[9:])
            known = {old.public for old in self.since.values()}
            need(key.name == self.name and key.public not in known, "not a new key of this log")
            self.since[size] = key

    def check(self, index: int, header: Any) -> None:  # only a rotation's last record names a key
        key, rotated = self.since.get(index + 1), header["event"] == "key.rotated"
        told = str(header["features"].get("signing")) if rotated else None
        need(told == (key and key.public.hex()), f"record {index} is no such change of the key")


def parse_checkpoint(text: str, origin: str | None = None) -> tuple[int, bytes]:
    lines = text.split("\n")[:-1]
    fine = len(lines) > 2 and all(lines) and origin in (None, lines[0])
    need(fine and re.fullmatch(SIZE, lines[1]), "not a checkpoint of this log")
    return int(lines[1]), unbase64(lines[2], 32)


def open_checkpoint(note: str | bytes, keys: Keys) -> tuple[int, bytes]:
    size, root = parse_checkpoint(split_note(note)[0], keys.name)
    for key in dict.fromkeys((keys.at(size - 1), keys.at(size))):  # two where one names the next
        check_note(note, key)
    return size, root


def open_receipt(note: bytes, keys: Keys) -> tuple[int, bytes]:
    lines = split_note(note)[0].split("\n")[:-1]
    fine = len(lines) >= 7 and lines[:2] == [RECEIPT, keys.name] and re.fullmatch(SIZE, lines[4])
    need(fine, "not a receipt of this log")
    check_note(note, keys.at(int(lines[4])))
    return int(lines[4]), unbase64(lines[5], 32)


def node(left: bytes, right: bytes) -> bytes:  # RFC 6962 section 2.1
    return hashlib.sha256(b"\x01" + left + right).digest()


def climb(at: int, size: int, proof: bytes, seed: bytes, grows: bool) -> tuple[bytes, bytes]:
    """Two roots by a proof: of the first `at` leaves (`grows`: they are `seed`), and of `size`."""
    end = size == (at if grows else 1)
    need(len(proof) >= 32 if not end else len(proof) == 32 * (not seed), "a proof is not whole")
    if end:
        return (seed or proof,) * 2
    left, rest, last = 1 << (size - 1).bit_length() - 1, proof[:-32], proof[-32:]
    if at > left:
        old, new = climb(at - left, size - left, rest, b"" if grows else seed, grows)
        return node(last, old), node(last, new)
    old, new = climb(at, left, rest, seed, grows)
    return old, node(new, last)


HEX, MONTH = "[0-9a-f]{32}", "[0-9]{4}-[0-9]{2}"
MINUTE = MONTH + "-[0-9]{2}T[0-9]{2}:[0-9]{2}Z"
EVENT = r"(?=.{2,40}\Z)[a-z]+(?:[.-][a-z]+)*"
SHAPES = {"boot": HEX, "event": EVENT, "minute": MINUTE, "expires": MONTH, "key": HEX,
          "rid": HEX, "deadline": MINUTE}  # fmt: skip
WHOLE = range(1 - 2**53, 2**53)  # the numbers of section 2.2; no spelling of another is read
JSON = json.JSONDecoder(
    parse_int=lambda text: WHOLE[WHOLE.index(int(text))], parse_float=int, parse_constant=int
)


def parse_record(body: bytes, what: str) -> Any:  # its header; unknown fields are left alone
    try:
        value = JSON.decode(body.decode("utf-8"))
        plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        header, parts = value["header"], value["parts"]
        kinds = [type(header[name]) for name in ("v", "seq", "origin", "features", "commits")]
        fine = plain.encode("utf-8") == body and kinds == [int, int, str, dict, dict]
        fine &= header["v"] == 1 and header["seq"] >= 0 and isinstance(parts, list)
        for name, shape in SHAPES.items():
            empty = header[name] is None and name in {"rid", "deadline"}
            fine &= empty or re.fullmatch(shape, header[name]) is not None
        for part in parts:
            for sealed in [part["c"], *part["w"].values()]:
                unbase64(sealed)
            fine &= isinstance(part["n"], str)
    except (Bad, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fine = False
    need(fine, f"{what} is not canonical, lacks a field or has one out of shape")
    return header


class Bundle:  # a directory or a zip file
    def __init__(self, path: str) -> None:
        self.open: Callable[[str], IO[bytes]] = lambda name: (Path(path) / name).open("rb")
        need(not (Path(path) / "ledger.db").exists(), "a bundle and a ledger stand in one place")
        if not Path(path).is_dir():
            with Path(path).open("rb") as file:
                need(file.read(2) == b"PK", "neither a directory nor a zip file", MISSING)
            self.open = zipfile.ZipFile(path).open
        get = self.small("manifest.json", dict).get
        self.vkey, self.count, files = get("vkey"), get("records"), get("files", {})
        fine = isinstance(self.vkey, str) and isinstance(self.count, int)
        fine &= get("format") in FORMATS and isinstance(files, dict)
        need(fine, "the manifest is not one of a bundle")
        self.partial = get("format") == FORMATS[1]
        self.policies = sorted(filter(re.compile(POLICY).fullmatch, files))

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read(MAX_LINE + 1)

    def small(self, name: str, kind: Any) -> Any:
        try:
            value = json.loads(self.read(name).decode("utf-8"))
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # no escaped half of a pair
        except (ValueError, RecursionError):
            raise Bad(name + " is not JSON", TAMPERED) from None
        fine = isinstance(value, kind) and all(isinstance(item, str) for item in value)
        need(fine, f"{name} is not what it should be")
        return value

    def records(self) -> Iterator[tuple[int, str, bytes]]:
        found, shape = 0, rb"(0|[1-9][0-9]{0,18}) " + (rb"([^ ]*) " if self.partial else b"()")
        with self.open("records.log") as file:
            for found, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
                match: Any = re.fullmatch(shape + rb"(.*)\n", line, re.DOTALL)
                need(line.endswith(b"\n"), f"record {found - 1} is cut off", MISSING)
                need(match, f"line {found} of records.log is not a record")
                yield int(match[1]), match[2].decode("latin-1"), match[3]
        need(found >= self.count, f"{found} of {self.count} records are here", MISSING)


def signed_heads(bundle: Bundle, keys: Keys) -> Heads:
    heads: Heads = [(0, b"")]
    for note in bundle.small("checkpoints.json", list):
        text = split_note(note)[0]
        keys.learn(parse_checkpoint(text, keys.name)[0], text.split("\n")[3])
        heads.append(open_checkpoint(note, keys))
        need(heads[-1][0] > heads[-2][0], f"checkpoint {len(heads) - 1} does not grow the log")
    del heads[0]
    if not bundle.partial:
        return heads
    proofs = bundle.small("consistency.json", list)
    need(len(proofs) == max(len(heads) - 1, 0), "there is not one proof for each step")
    for step, proof in enumerate(proofs):
        (old, root), (new, grown) = heads[step : step + 2]
        fine = climb(old, new, unbase64(proof), root, grows=True) == (root, grown)
        need(fine, f"checkpoint {new} is not proven to extend {old}")
    return heads


class Log:  # a walk over all records: the leaves and roots that heads, kept and receipts name
    def __init__(self, bundle: Bundle, keys: Keys, heads: Heads, asked: Set[int]) -> None:
        self.size = self.held = self.first = 0
        self.leaves, self.roots = dict[int, bytes](), dict[int, bytes]()
        self.named = set[bytes]()  # digests of policies
        sequence, edge = dict[str, int](), list[bytes]()
        wanted, covered = dict(heads), heads[-1][0] if heads else 0
        for index, proof, body in bundle.records():
            due = max(index, self.size) if bundle.partial else self.size
            need(index <= due, f"record {due} is not there", MISSING)
            need(due <= index < covered, f"record {index} stands where none should")
            header = parse_record(body, f"record {index}")
            boot, seq = header["boot"], header["seq"]
            fine = header["origin"] == keys.name and seq > sequence.get(boot, -1)
            need(fine, f"record {index} is of another log, or was written before")
            keys.check(index, header)
            sequence[boot] = seq
            leaf = hashlib.sha256(b"\x00" + body).digest()
            self.named.update(re.findall(rb'"policy:[^"]*":"([0-9a-f]{64})"', body))
            self.size = size = index + 1
            self.first, self.held = self.first if self.held else index, self.held + 1
            if index in asked:
                self.leaves[index] = leaf
            if bundle.partial:
                found = climb(size, covered, unbase64(proof), leaf, grows=False)[1]
                need(found == wanted[covered], f"record {index} is not proven to be in the log")
                continue
            edge.append(leaf)  # the roots of perfect subtrees, largest first; two of a size are one
            for _ in range((size & -size).bit_length() - 1):
                edge[-2:] = [node(*edge[-2:])]
            if size in asked or size in wanted:
                root = functools.reduce(lambda right, left: node(left, right), edge[::-1])
                fine = wanted.get(size, root) == root
                need(fine, f"the first {size} records are not those of their checkpoint")
                self.roots[size] = root
        if bundle.partial:
            self.roots, self.size = wanted, covered
            need(self.held or not heads, "no record is here", MISSING)


def signed(reader: Callable[..., Any], notes: Notes, keys: Keys) -> Iterator[Any]:
    for note in notes:
        try:
            yield reader(note, keys)
        except Bad:
            yield None  # the key of then did not sign it


def judge(bundle: Bundle, kept: Notes, receipts: Notes) -> tuple[int, str]:
    keys = Keys(bundle.vkey)
    heads = signed_heads(bundle, keys)
    anchors, given = [*signed(open_checkpoint, kept, keys)], [*signed(open_receipt, receipts, keys)]
    log = Log(bundle, keys, heads, {found[0] for found in (*anchors, *given) if found})
    here, anchored = log.size, max((anchor[0] for anchor in anchors if anchor), default=0)
    need(heads, "no checkpoint" if here else "the log is empty", MISSING)
    need(here >= heads[-1][0], f"{here} of {heads[-1][0]} records are here", MISSING)
    asked = [("checkpoint of", log.roots, found) for found in anchors]
    asked += [("receipt for record", log.leaves, found) for found in given]
    for what, known, found in asked:
        need(found, f"another key signed the {what.split()[0]} you kept", CONTRADICTED)
        at, code = found[0], CONTRADICTED if known is log.roots else TAMPERED
        need(at in known, f"your {what} {at} is of none that are here ({here})", MISSING)
        need(known[at] == found[1], f"the records are not those of your {what} {at}", code)
    texts = {name: hashlib.sha256(bundle.read(name)).hexdigest() for name in bundle.policies}
    strangers = ", ".join(name for name in texts if texts[name].encode() not in log.named)
    told, shown = strangers and f" No record here names the text {strangers}.", f"{here} records"
    if bundle.partial:
        shown = f"{log.held} of {here} records; that none between them is missing it cannot show"
    if anchored <= log.first:
        return UNANCHORED, f"Consistent but unanchored: {shown}; use --checkpoint FILE.{told}"
    return ANCHORED, f"Verified and anchored: {shown}, the first {anchored} as you kept them.{told}"


def verdict(path: str, kept: Notes = (), receipts: Notes = ()) -> tuple[int, str]:
    sizes = [parse_checkpoint(split_note(note)[0])[0] for note in kept]
    need(all(sizes), "a checkpoint of an empty log anchors nothing")
    need(all(split_note(n)[0].startswith(RECEIPT + "\n") for n in receipts), "not a receipt")
    demo = ""
    try:
        bundle = Bundle(path)
        demo = "DEMO - " if bundle.vkey.startswith("demo.") else ""
        code, words = judge(bundle, kept, receipts)
    except Bad as failed:
        code, words = failed.args[1], f"{NAMES[failed.args[1]]}: {failed.args[0]}."
    except Exception:  # noqa: BLE001 - whatever reading a damaged or hostile file raises
        code, words = MISSING, "Bytes are missing: a file is not there or unreadable."
    return code, demo + words


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify an exported log.")
    parser.add_argument("bundle")
    parser.add_argument("--checkpoint", action="append", default=[], help="one that you kept")
    parser.add_argument("--receipt", action="append", default=[], help="one that was given out")
    got = parser.parse_args(arguments)
    try:
        held = [[Path(p).read_bytes() for p in names] for names in (got.checkpoint, got.receipt)]
        code, words = verdict(got.bundle, *held)
    except (OSError, Bad) as failed:
        print(f"verify: {failed.args[0] if isinstance(failed, Bad) else failed}", file=sys.stderr)
        return 2
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
