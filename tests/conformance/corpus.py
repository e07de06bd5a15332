"""Makes ``tests/conformance/ledger``: tampered logs, and what every verifier must say of each.

Run it only when cases are added: ``python -m tests.conformance.corpus``. Each case is a bundle as
a zip file; ``expected.json`` names what an auditor holds against it and the codes of
audit-format.md §9.1. ``proofs.json`` holds proofs of the tree, true and false.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from audit.bundle import export_bundle
from audit.checkpoint import VerifyingKey
from audit.keys import KeyStore
from audit.ledger import Options
from audit.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash
from audit.record import Entry
from tests.auditkit import make_home, quick_folder, rid
from tests.conformance.packing import pack_files
from tests.conformance.test_audit_verifiers import CASES, Bundle, Original, tampered

FOLDER = Path(__file__).parent / "ledger"
ANCHORED, UNANCHORED, MISSING, CONTRADICTED, TAMPERED = 0, 10, 20, 30, 40


def small_original(folder: Path) -> Original:
    """An intact log of 11 small records: kept at 7, and the receipt of record 6."""
    home = make_home(folder / "home")
    with home.ledger(Options(checkpoint_records=10_000)) as ledger:

        def put(number: int) -> str:
            texts = {"prompt": "Seen."} if number == 1 else {}
            event = "intent" if number % 2 else "outcome"
            entry = Entry(event, rid((number + 1) // 2), {"role": "clinician"}, texts=texts)
            return ledger.submit(entry).result().receipt.note

        ledger.submit(Entry("boot")).result()
        receipt = [put(number) for number in range(1, 7)][-1]
        ledger.publish().result()
        kept = ledger.checkpoint()
        for number in range(7, 11):
            put(number)
    export_bundle(home.path / "ledger.db", folder / "bundle")
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    key = keys.signing_key
    keys.close()
    made = folder / "bundle"
    bundle = Bundle(
        manifest=json.loads((made / "manifest.json").read_bytes()),
        lines=(made / "records.log").read_bytes().split(b"\n")[:-1],
        notes=json.loads((made / "checkpoints.json").read_bytes()),
        kept=kept.encode(),
        receipt=receipt.encode(),
    )
    return Original(home, bundle, key)


def changed(body: bytes, *path: object, value: object) -> bytes:
    """A record with one value replaced, canonical as far as the value allows."""
    record = json.loads(body)
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def more_cases(o: Original) -> Iterator[tuple[str, Bundle, dict[str, int]]]:
    """Attacks beyond those of the unit corpus: a bundle, and codes by what is held against it."""

    def fresh() -> Bundle:
        return tampered("intact", o)[0]

    sizes, first = (7, 11), fresh().bodies
    bodies = [*first]
    sealed = base64.b64decode(json.loads(bodies[2])["parts"][0]["c"])[::-1]
    bodies[2] = changed(bodies[2], "parts", 0, "c", value=base64.b64encode(sealed).decode())
    yield (
        "re-seal an old record with the key of today",
        fresh().renumber(bodies).resign(o.key, sizes),
        {"none": UNANCHORED, "kept": CONTRADICTED, "newest": CONTRADICTED, "receipt": UNANCHORED},
    )
    back = fresh().renumber(first[:7])
    back.notes = back.notes[:1]
    yield (
        "rolled back to a backup",
        back,
        {"none": UNANCHORED, "kept": ANCHORED, "newest": MISSING, "receipt": UNANCHORED},
    )
    forked = [*first[:7], *(changed(body, "header", "minute", value="2026-03-02T09:30Z")
                            for body in first[7:])]  # fmt: skip
    yield (
        "forked for two auditors",
        fresh().renumber(forked).resign(o.key, sizes),
        {"none": UNANCHORED, "kept": ANCHORED, "newest": CONTRADICTED, "receipt": UNANCHORED},
    )
    small = fresh()
    small.manifest["vkey"] = VerifyingKey(o.key.name, bytes(32)).vkey()
    yield "a key of small order, which signs anything", small, {"none": TAMPERED}
    for name, path, value in GARBAGE:
        bad = [*first]
        bad[10] = changed(bad[10], *path, value=value)
        made = fresh().renumber(bad).resign(o.key, sizes)
        yield f"garbage in a record: {name}", made, {"none": TAMPERED, "kept": TAMPERED}
    for name, value in MANIFESTS:
        made = fresh()
        made.manifest |= {name.partition(" ")[0]: value}
        yield f"garbage in the manifest: {name}", made, {"none": TAMPERED}
    made = fresh()
    made.manifest["records"] = True
    yield "a manifest that counts with a truth value", made, {"none": UNANCHORED}


GARBAGE = (
    *((f"{name} is a list", ("header", name), []) for name in (
        "v", "origin", "boot", "seq", "event", "rid", "minute", "expires", "key", "features",
        "commits", "deadline")),
    *((f"{name} is zero", ("header", name), 0) for name in (
        "v", "origin", "boot", "event", "rid", "minute", "expires", "key", "features", "commits",
        "deadline")),
    ("an unknown field holds a float", ("header", "later"), 1.5),
    ("an unknown field holds a float that is whole", ("header", "later"), 1e22),
    ("an unknown field holds a number of 2^53", ("header", "later"), 1 << 53),
    ("an unknown field holds no number", ("header", "later"), float("nan")),
    ("seq is true", ("header", "seq"), True),
    ("seq is negative", ("header", "seq"), -1),
    ("v is 2", ("header", "v"), 2),
    ("boot ends in a newline", ("header", "boot"), "0" * 32 + "\n"),
    ("minute is in other digits", ("header", "minute"), "\u0662026-03-01T09:30Z"),
    ("the header is text", ("header",), "text"),
    ("the parts are an object", ("parts",), {}),
    ("a part is text", ("parts", 0), "text"),
    ("a ciphertext with loose bits", ("parts", 0, "c"), "AB=="),
    ("a ciphertext in the other alphabet", ("parts", 0, "c"), "-_-_"),
    ("wraps are a list", ("parts", 0, "w"), ["AA=="]),
)  # fmt: skip
MANIFESTS = (
    ("format is a number", 1), ("vkey is null", None), ("vkey is empty", ""),
    ("vkey is a list", []), ("records is text", "11"), ("records is a float", 11.0),
    ("records is nothing", None),
)  # fmt: skip


def proofs() -> list[dict[str, object]]:
    """Proofs over a tree of 7 leaves: what they claim, and whether it holds."""
    leaves = [leaf_hash(bytes([n])) for n in range(7)]

    def root(size: int, start: int = 0) -> bytes:
        tree = Frontier()
        for leaf in leaves[start : start + size]:
            tree.add(leaf)
        return tree.root()

    def node(level: int, index: int) -> bytes:
        return root(1 << level, index << level)

    def inclusion(about, ok, index, size, proof, leaf):
        return {"kind": "inclusion", "about": about, "ok": ok, "index": index, "size": size,
                "proof": [p.hex() for p in proof], "leaf": leaf.hex(),
                "root": root(7).hex()}  # fmt: skip

    def consistency(about, ok, old, new, proof):
        return {"kind": "consistency", "about": about, "ok": ok, "old": old, "new": new,
                "proof": [p.hex() for p in proof], "old_root": root(min(old, 7)).hex(),
                "new_root": root(min(new, 7)).hex()}  # fmt: skip

    path, grown = inclusion_proof(2, 7, node), consistency_proof(3, 7, node)
    return [
        inclusion("record 2 of 7", True, 2, 7, path, leaves[2]),
        inclusion("index at the size", False, 7, 7, path, leaves[2]),
        inclusion("index beyond the size", False, 9, 7, path, leaves[2]),
        inclusion("a negative index", False, -1, 7, path, leaves[2]),
        inclusion("another leaf", False, 2, 7, path, leaves[3]),
        inclusion("a hash too many", False, 2, 7, (*path, path[0]), leaves[2]),
        inclusion("a hash too few", False, 2, 7, path[:-1], leaves[2]),
        inclusion("a short hash", False, 2, 7, (path[0][:-1], *path[1:]), leaves[2]),
        consistency("3 grew to 7", True, 3, 7, grown),
        consistency("from size 0", False, 0, 7, grown),
        consistency("from size 0 without a proof", False, 0, 7, ()),
        consistency("backwards", False, 7, 3, grown),
        consistency("the second size is not used up", False, 3, 7, grown[:-1]),
        consistency("a hash too many", False, 3, 7, (*grown, grown[0])),
        consistency("for another first size", False, 4, 7, grown),
        consistency("a proof where none is needed", False, 7, 7, grown),
        consistency("no growth", True, 7, 7, ()),
    ]


def file_name(case: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in case).replace("--", "-") + ".zip"


def pack(bundle: Bundle, path: Path, scratch: Path) -> None:
    made = bundle.write(scratch / path.stem)
    pack_files({file.name: file.read_bytes() for file in made.iterdir()}, path)


def main() -> None:
    for old in FOLDER.glob("*.*"):  # partial bundles have a folder of their own
        old.unlink()
    FOLDER.mkdir(exist_ok=True)
    with quick_folder() as scratch:
        o = small_original(scratch)
        held = {"kept": o.bundle.kept, "newest": o.bundle.notes[-1].encode(),
                "receipt": o.bundle.receipt}  # fmt: skip
        for name, note in held.items():
            (FOLDER / f"{name}.txt").write_bytes(note)
        cases = [
            (name, bundle, {"none": alone, "kept": anchored})
            for name in CASES
            for bundle, alone, anchored in [tampered(name, o)]
        ]
        expected = {}
        for name, bundle, codes in (*cases, *more_cases(o)):
            pack(bundle, FOLDER / file_name(name), scratch)
            expected[file_name(name)] = {"about": name, "codes": codes}
    for name, value in (("expected", expected), ("proofs", proofs())):
        text = json.dumps(value, indent=1, sort_keys=True) + "\n"
        (FOLDER / f"{name}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
