"""Makes ``tests/conformance/rotated``: logs whose key was rotated twice, intact and attacked.

Run it only when cases are added: ``python -m tests.conformance.rotated``. The first key signs
records 0 to 3, the second 4 to 7, the third the rest; records 3 and 7 are the rotations. As in
``corpus``, ``expected.json`` names the codes of audit-format.md §9.1 by what an auditor holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.bundle import export_bundle
from audit.chain import next_key
from audit.checkpoint import Checkpoint, SigningKey, VerifyingKey
from audit.keys import KeyStore
from audit.ledger import Options
from audit.merkle import Frontier, leaf_hash
from audit.record import Entry
from audit.rotate import rotate_signing
from tests.auditkit import make_home, quick_folder, rid
from tests.conformance.corpus import changed, file_name, pack
from tests.conformance.test_audit_verifiers import Bundle

FOLDER = Path(__file__).parent / "rotated"
HELD = ("before", "rotation", "after", "newest", "receipt-old", "receipt-new")
Plan = Mapping[int, tuple[Sequence[SigningKey], str | None]]
"""By size of a checkpoint: who signs it, and its extra line."""


@dataclass
class Rotated:
    """The intact log, its three keys and what an auditor may hold of it."""

    bundle: Bundle
    keys: tuple[SigningKey, SigningKey, SigningKey]
    held: dict[str, bytes]

    def fresh(self) -> Bundle:
        b = self.bundle
        return Bundle(dict(b.manifest), list(b.lines), list(b.notes))

    def plan(self) -> dict[int, tuple[Sequence[SigningKey], str | None]]:
        a, b, c = self.keys
        return {
            3: ([a], None), 4: ([a, b], next_key(b.public)), 7: ([b], None),
            8: ([b, c], next_key(c.public)), 10: ([c], None),
        }  # fmt: skip


def make_rotated(folder: Path) -> Rotated:
    home = make_home(folder / "home")
    keys, held = [], {}

    def signing_key() -> SigningKey:
        store = KeyStore.open(home.path / "keystore.db", readonly=True)
        key = store.signing_key
        store.close()
        return key

    def put(*numbers: int) -> tuple[str, str]:
        with home.ledger(Options(checkpoint_records=10_000)) as ledger:
            for number in numbers:
                event = "outcome" if number % 2 else "intent"
                entry = Entry(event, rid(number // 2 + 1), {"role": "clinician"})
                receipt = ledger.submit(entry).result().receipt.note
            ledger.publish().result()
            return receipt, ledger.checkpoint()

    keys.append(signing_key())
    held["receipt-old"], held["before"] = put(0, 1, 2)
    held["rotation"] = rotate_signing(home.path, clock=home.clock).checkpoint
    keys.append(signing_key())
    held["receipt-new"], held["after"] = put(3, 4, 5)
    rotate_signing(home.path, clock=home.clock)
    keys.append(signing_key())
    held["newest"] = put(6, 7)[1]
    export_bundle(home.path / "ledger.db", folder / "bundle")
    made = folder / "bundle"
    bundle = Bundle(
        manifest=json.loads((made / "manifest.json").read_bytes()),
        lines=(made / "records.log").read_bytes().split(b"\n")[:-1],
        notes=json.loads((made / "checkpoints.json").read_bytes()),
    )
    return Rotated(bundle, tuple(keys), {name: held[name].encode() for name in HELD})


def signed(bundle: Bundle, plan: Plan) -> Bundle:
    """Checkpoints over the present records as the plan says."""
    tree, bundle.notes = Frontier(), []
    for body in bundle.bodies:
        tree.add(leaf_hash(body))
        signers, line = plan.get(tree.size, ((), None))
        if signers:
            more = () if line is None else (line,)
            head = Checkpoint(signers[0].name, tree.size, tree.root(), more=more)
            bundle.notes.append(head.sign(*signers).note)
    return bundle


def codes(*values: int) -> dict[str, int]:
    """The code with nothing held, then in the order of ``HELD``; one value stands for all."""
    columns = ("none", *HELD)
    return dict(zip(columns, values if values[1:] else values * len(columns), strict=True))


def stolen(o: Rotated) -> Iterator[tuple[str, Bundle, dict[str, int]]]:
    """What somebody does who holds one of the keys. The kept checkpoint decides."""
    a, b, c = o.keys
    bodies, plan = o.bundle.bodies, o.plan()
    evil = SigningKey(a.name, bytes(range(32)))

    def name(index: int, key: SigningKey) -> bytes:
        return changed(
            bodies[index], "header", "features", "signing", value=key.public.public.hex()
        )

    yield (
        "the old key signs on behind its rotation",
        signed(o.fresh(), {**plan, 7: ([a], None), 8: ([a], None), 10: ([a], None)}),
        codes(40),
    )
    forked = o.fresh().renumber([*bodies[:3], *bodies[4:7], *bodies[8:]])
    yield (
        "the old key signs on and the rotations are gone",
        signed(forked, {3: ([a], None), 8: ([a], None)}),
        codes(10, 0, 30, 30, 30, 10, 30),
    )
    yield (
        "the old key signs on over the record of its rotation",
        signed(o.fresh(), {size: ([a], None) for size in plan}),
        codes(40),
    )
    own = o.fresh().renumber([*bodies[:3], name(3, evil), *bodies[4:7], *bodies[8:]])
    yield (
        "the old key signs a rotation of its own",
        signed(own, {3: ([a], None), 4: ([a, evil], next_key(evil.public)), 9: ([evil], None)}),
        codes(10, 0, 30, 30, 30, 10, 30),
    )
    own = o.fresh().renumber([*bodies[:7], name(7, evil), *bodies[8:]])
    yield (
        "the second key signs another rotation than its own",
        signed(own, {**plan, 8: ([b, evil], next_key(evil.public)), 10: ([evil], None)}),
        codes(10, 0, 0, 0, 30, 10, 10),
    )
    yield (
        "a new key signs what was before it",
        signed(o.fresh(), {**plan, 3: ([b], None)}),
        codes(40),
    )
    rewritten = o.fresh().renumber(
        [changed(body, "header", "minute", value="2026-03-02T09:30Z") for body in bodies]
    )
    yield (
        "a new key signs all of it again with the old one's name on its rotation",
        signed(rewritten, {**plan, 3: ([b], None), 4: ([b], next_key(b.public))}),
        codes(40),
    )
    alone = o.fresh().renumber(
        [changed(body, "header", "minute", value="2026-03-02T09:30Z")
         for body in (*bodies[:3], *bodies[4:7], *bodies[8:])]
    )  # fmt: skip
    alone.manifest["vkey"] = c.public.vkey()
    yield (
        "the newest key signs another past in which there was no other",
        signed(alone, {3: ([c], None), 8: ([c], None)}),
        codes(10, 30, 30, 30, 20, 30, 30),
    )
    swapped = o.fresh()
    swapped.manifest["vkey"] = b.public.vkey()
    yield "the manifest names the second key", swapped, codes(40)


def forged(o: Rotated) -> Iterator[tuple[str, Bundle, dict[str, int]]]:
    """Rotations that are none, dropped, moved or spelt otherwise."""
    a, b, c = o.keys
    bodies, plan = o.bundle.bodies, o.plan()
    other = VerifyingKey("cloister.local/other", c.public.public)
    lines = {
        "of another log": next_key(other), "without a key": "next-key ",
        "with half a key": next_key(c.public)[:-4],
        "with a key that anybody signs for": next_key(VerifyingKey(a.name, bytes(32))),
        "that is spelt otherwise": next_key(c.public).replace("next-key", "Next-key"),
    }  # fmt: skip
    for about, line in lines.items():
        yield (
            f"a rotation line {about}",
            signed(o.fresh(), {**plan, 8: ([b, c], line)}),
            codes(40),
        )
    for about, signers in (("the old key", [a]), ("the new key", [b]), ("neither", [c])):
        yield (
            f"a rotation that only {about} signed",
            signed(o.fresh(), {**plan, 4: (signers, plan[4][1])}),
            codes(40),
        )
    for about, key in (("the first key again", a), ("the key it is", b)):
        record = changed(bodies[7], "header", "features", "signing", value=key.public.public.hex())
        back = o.fresh().renumber([*bodies[:7], record, *bodies[8:]])
        yield (
            f"a rotation to {about}",
            signed(back, {**plan, 8: ([b, key], next_key(key.public)), 10: ([key], None)}),
            codes(40),
        )
    gone = o.fresh().renumber([*bodies[:3], *bodies[4:]])
    yield "the record of a rotation is dropped", signed(gone, plan), codes(40)
    moved = o.fresh().renumber([*bodies[:2], bodies[3], bodies[2], *bodies[4:]])
    yield "the record of a rotation is moved up", signed(moved, plan), codes(40)
    moved = o.fresh().renumber([*bodies[:3], bodies[4], bodies[3], *bodies[5:]])
    yield "the record of a rotation is moved down", signed(moved, plan), codes(40)
    for about, value in (("names another key", "0" * 64), ("names none", None), ("a list", [])):
        record = changed(bodies[3], "header", "features", "signing", value=value)
        other = o.fresh().renumber([*bodies[:3], record, *bodies[4:]])
        yield f"the record of a rotation {about}", signed(other, plan), codes(40)
    twice = o.fresh().renumber([*bodies, changed(bodies[7], "header", "boot", value="a" * 32)])
    yield (
        "a record of a rotation that was none",
        signed(twice, {**plan, 11: ([c], None)}),
        codes(40),
    )
    fewer = o.fresh()
    del fewer.notes[1]
    yield "the checkpoint of a rotation is dropped", fewer, codes(40)
    cut = o.fresh().renumber(bodies[:4])
    cut.notes = cut.notes[:2]
    yield (
        "cut behind a rotation",
        cut,
        codes(10, 0, 0, 20, 30, 10, 20),
    )


def cases(o: Rotated) -> Iterator[tuple[str, Bundle, dict[str, int]]]:
    yield "intact", o.fresh(), codes(10, 0, 0, 0, 0, 10, 10)
    more = o.fresh()
    stranger = SigningKey("witness.example", bytes(32)).sign_note("x\n").rpartition("\n\n")[2]
    more.notes[1] += stranger
    yield "a rotation with a line of a stranger", more, codes(10, 0, 0, 0, 0, 10, 10)
    yield from stolen(o)
    yield from forged(o)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.*"):  # not the folder of rotatedpartial
        old.unlink()
    expected = {}
    with quick_folder() as scratch:
        o = make_rotated(scratch)
        for name, note in o.held.items():
            (FOLDER / f"{name}.txt").write_bytes(note)
        for name, bundle, found in cases(o):
            pack(bundle, FOLDER / file_name(name), scratch)
            expected[file_name(name)] = {"about": name, "codes": found}
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    (FOLDER / "expected.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
