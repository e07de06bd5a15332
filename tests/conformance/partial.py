"""Makes ``tests/conformance/ledger/partial``: partial bundles, true and tampered with.

Run it only when cases are added: ``python -m tests.conformance.partial``. What an auditor holds and
the expected codes are kept as in the folder above.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audit.bundle import export_bundle
from audit.checkpoint import Checkpoint, SigningKey
from audit.formats.view import Selection
from audit.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash
from audit.vkey import to_base64
from tests.auditkit import quick_folder
from tests.conformance.corpus import changed, file_name, small_original
from tests.conformance.packing import pack_files

FOLDER = Path(__file__).parent / "ledger" / "partial"
FILES = ("manifest.json", "records.log", "checkpoints.json", "consistency.json")
ANCHORED, UNANCHORED, MISSING, CONTRADICTED, TAMPERED = 0, 10, 20, 30, 40
CHOSEN = (2, 4, 6, 8, 10)


@dataclass(frozen=True)
class Partial:
    """A partial bundle taken apart; ``more`` are files beside the four."""

    manifest: dict
    lines: tuple[bytes, ...]
    notes: tuple[str, ...]
    proofs: object
    more: dict
    tail: bytes = b""

    def files(self) -> dict[str, bytes]:
        texts = {
            "manifest.json": json.dumps(self.manifest, sort_keys=True).encode(),
            "records.log": b"".join(line + b"\n" for line in self.lines) + self.tail,
            "checkpoints.json": json.dumps(self.notes).encode(),
            "consistency.json": json.dumps(self.proofs).encode(),
        }
        return {name: data for name, data in (texts | self.more).items() if data is not None}

    def lined(self, lines: Sequence[bytes]) -> Partial:
        """With other lines, and a manifest that counts them."""
        return replace(self, lines=tuple(lines), manifest=self.manifest | {"records": len(lines)})


def tree_of(bodies: Sequence[bytes]):
    """Roots of the perfect subtrees over these records, as proofs read them."""
    leaves = [leaf_hash(body) for body in bodies]

    def node(level: int, index: int) -> bytes:
        edge = Frontier()
        for leaf in leaves[index << level : (index + 1) << level]:
            edge.add(leaf)
        return edge.root()

    return node


def made(
    bodies: Sequence[bytes],
    key: SigningKey,
    chosen: Sequence[int] = CHOSEN,
    sizes: Sequence[int] = (7, 11),
) -> Partial:
    """What whoever holds ``key`` can make of any records."""
    node, notes, edge = tree_of(bodies), [], Frontier()
    for body in bodies:
        edge.add(leaf_hash(body))
        if edge.size in sizes:
            notes.append(Checkpoint(key.name, edge.size, edge.root()).sign(key).note)
    lines = [
        b"%d %b %b" % (n, proof(inclusion_proof(n, sizes[-1], node)), bodies[n]) for n in chosen
    ]
    manifest = {"format": "cloister-bundle/2", "origin": key.name, "records": len(lines),
                "vkey": key.public.vkey()}  # fmt: skip
    grown = [proof(consistency_proof(sizes[n - 1], sizes[n], node)).decode()
             for n in range(1, len(sizes))]  # fmt: skip
    return Partial(manifest, tuple(lines), tuple(notes), grown, {})


def proof(hashes: Sequence[bytes]) -> bytes:
    return to_base64(b"".join(hashes)).encode()


def parted(line: bytes) -> list[bytes]:
    return line.split(b" ", 2)


def cases(bodies, key, taken: Partial) -> Iterator[tuple[str, Partial, dict[str, int]]]:
    """Name, bundle, and codes by what is held against it. ``taken``: as exported."""
    fine = {"none": UNANCHORED, "kept": ANCHORED, "newest": ANCHORED, "receipt": UNANCHORED}
    bad = dict.fromkeys(fine, TAMPERED)
    gone = dict.fromkeys(fine, MISSING)
    yield "intact", taken, fine
    yield "as its format allows", made(bodies, key), fine
    yield "one record", made(bodies, key, (6,)), fine
    yield "the first and the last", made(bodies, key, (0, 10)), fine | {"receipt": MISSING}
    yield "none that was kept covers", made(bodies, key, (8, 10)), fine | {
        "kept": UNANCHORED, "receipt": MISSING}  # fmt: skip
    yield "of one checkpoint", made(bodies, key, sizes=(11,)), fine | {"kept": MISSING}
    lines = taken.lines
    yield from lines_cases(taken, lines, fine, bad, gone)
    yield from proof_cases(bodies, key, taken, bad, gone)
    forged = [*bodies]
    forged[2] = changed(bodies[2], "header", "minute", value="2026-03-02T09:30Z")
    yield "a record rewritten and signed again", made(forged, key), {
        "none": UNANCHORED, "kept": CONTRADICTED, "newest": CONTRADICTED, "receipt": UNANCHORED,
    }  # fmt: skip
    yield "another key", made(bodies, SigningKey(key.name, bytes(32))), {
        "none": UNANCHORED, "kept": CONTRADICTED, "newest": CONTRADICTED, "receipt": CONTRADICTED,
    }  # fmt: skip
    yield from manifest_cases(taken, fine, bad, gone)


def lines_cases(taken, lines, fine, bad, gone):
    yield "left out and counted again", taken.lined([*lines[:2], *lines[3:]]), fine | {
        "receipt": MISSING}  # fmt: skip
    yield "left out", replace(taken, lines=lines[:-1]), gone
    yield "cut off", replace(taken, lines=lines[:-1], tail=lines[-1][:-9]), gone
    yield "twice", taken.lined([*lines[:2], lines[1], *lines[2:]]), bad
    yield "in another order", taken.lined([lines[1], lines[0], *lines[2:]]), bad
    yield "no record", taken.lined([]), gone
    yield "no records file", replace(taken, more={"records.log": None}), gone
    index, path, body = parted(lines[1])
    for about, line in (
        ("another index", b"3 %b %b" % (path, body)),
        ("an index in another spelling", b"04 %b %b" % (path, body)),
        ("an index at the size", b"11 %b %b" % (path, body)),
        ("an index of nineteen digits", b"9999999999999999999 %b %b" % (path, body)),
        ("another record's proof", b"%b %b %b" % (index, parted(lines[2])[1], body)),
        ("another record", b"%b %b %b" % (index, path, parted(lines[2])[2])),
        ("an edited record", b"%b %b %b" % (index, path, body.replace(b"clinician", b"lawyer"))),
        ("a proof without its end", b"%b %b %b" % (index, path[:-44], body)),
        ("a proof that ends in a broken hash", b"%b %b %b" % (index, path[:-4], body)),
        ("a proof with one hash more", b"%b %b %b" % (index, proof([bytes(32)]) + path, body)),
        ("an empty proof", b"%b  %b" % (index, body)),
        ("a proof in another alphabet", b"%b -_-_ %b" % (index, body)),
        ("no proof", b"%b %b" % (index, body)),
        ("a record that is none", b'%b %b {"note":"free text"}' % (index, path)),
    ):
        tampered = [*lines[:1], line, *lines[2:]]
        if about == "an index of nineteen digits":
            tampered = [*lines[:1], line]
        yield about, taken.lined(tampered), bad


def proof_cases(bodies, key, taken, bad, gone):
    step = taken.proofs[0]
    for about, proofs in (
        ("a step without its proof", []),
        ("an empty step", [""]),
        ("a step too many", [step, step]),
        ("a step with one hash more", [proof([bytes(32)]).decode() + step]),
        ("a step that proves something else",
         [proof(consistency_proof(6, 11, tree_of(bodies))).decode()]),
        ("a step that is a number", [1]),
        ("steps by name", {"7": step}),
    ):  # fmt: skip
        yield about, replace(taken, proofs=proofs), bad
    yield "no steps", replace(taken, more={"consistency.json": None}), gone
    yield "steps that are no JSON", replace(taken, more={"consistency.json": b"["}), bad
    yield "a checkpoint left out", replace(taken, notes=taken.notes[1:]), bad
    yield "records under no checkpoint", replace(taken, notes=(), proofs=[]), bad
    yield "nothing at all", replace(taken.lined([]), notes=(), proofs=[]), gone
    forked = [*bodies[:3], *(changed(b, "header", "minute", value="2026-03-02T09:30Z")
                             for b in bodies[3:])]  # fmt: skip
    fork = made(forked, key)
    yield "a checkpoint of a fork", replace(taken, notes=(fork.notes[0], taken.notes[1])), bad


def manifest_cases(taken, fine, bad, gone):
    def told(**changes):
        return replace(taken, manifest=taken.manifest | changes)

    named = {"policies/site-000000000000.yaml": "0" * 64}
    text = {next(iter(named)): b"allow: everything\n"}
    yield "called whole", told(format="cloister-bundle/1"), gone
    yield "of a later format", told(format="cloister-bundle/3"), bad
    yield "a manifest that promises more", told(records=6), gone
    yield "a manifest that promises less", told(records=4), fine
    yield "files that are a list", told(files=[]), bad
    yield "files that are nothing", told(files=None), bad
    yield "a policy that no record names", replace(told(files=named), more=text), fine
    yield "a policy that is not there", told(files=named), gone
    yield "a file outside", told(files={"policies/../manifest.json": "0"}), fine


def as_exported(o, folder: Path) -> Partial:
    out = folder / "exported"
    export_bundle(o.home.path / "ledger.db", out, selection=Selection(event="outcome"))
    lines = (out / "records.log").read_bytes().split(b"\n")[:-1]
    manifest, notes, proofs = (
        json.loads((out / f"{name}.json").read_bytes())
        for name in ("manifest", "checkpoints", "consistency")
    )
    return Partial(manifest, tuple(lines), tuple(notes), proofs, {})


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with quick_folder() as scratch:
        o = small_original(scratch)
        held = {"kept": o.bundle.kept, "newest": o.bundle.notes[-1].encode(),
                "receipt": o.bundle.receipt}  # fmt: skip
        for name, note in held.items():
            (FOLDER / f"{name}.txt").write_bytes(note)
        expected = {}
        for about, bundle, codes in cases(o.bundle.bodies, o.key, as_exported(o, scratch)):
            pack_files(bundle.files(), FOLDER / file_name(about))
            expected[file_name(about)] = {"about": about, "codes": codes}
        text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
        (FOLDER / "expected.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
