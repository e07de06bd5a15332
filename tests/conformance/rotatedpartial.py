"""Makes ``tests/conformance/rotated/partial``: chosen records of a log whose key was rotated.

Run it only when cases are added: ``python -m tests.conformance.rotatedpartial``. The log, its keys
and what an auditor holds are those of a fresh ``rotated``; the chosen records are its outcomes,
1, 4, 6 and 9, so that neither rotation (3 and 7) is among them unless a case says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from audit.bundle import export_bundle
from audit.chain import next_key
from audit.checkpoint import Checkpoint, SigningKey, VerifyingKey
from audit.formats.view import Selection
from audit.merkle import consistency_proof, inclusion_proof
from tests.auditkit import quick_folder
from tests.conformance import rotated
from tests.conformance.corpus import changed, file_name
from tests.conformance.packing import pack_files
from tests.conformance.partial import Partial, parted, proof, tree_of
from tests.conformance.rotated import Plan, Rotated, codes, make_rotated, signed

FOLDER = rotated.FOLDER / "partial"
CHOSEN = (1, 4, 6, 9)
Case = tuple[str, Partial, dict[str, int]]


def made(
    o: Rotated, bodies: Sequence[bytes], plan: Plan, chosen: Sequence[int] = CHOSEN
) -> Partial:
    """What whoever holds the keys can make of any records, with checkpoints as the plan says."""
    notes = signed(o.fresh().renumber(bodies), plan).notes
    return over(bodies, notes, o.keys[0].public, chosen)


def over(
    bodies: Sequence[bytes], notes: Sequence[str], key: VerifyingKey, chosen: Sequence[int]
) -> Partial:
    """With true proofs, whatever the checkpoints say."""
    node, sizes = tree_of(bodies), [Checkpoint.parse(note.partition("\n\n")[0] + "\n").size
                                    for note in notes]  # fmt: skip
    lines = [
        b"%d %b %b" % (n, proof(inclusion_proof(n, sizes[-1], node)), bodies[n]) for n in chosen
    ]
    grown = [proof(consistency_proof(sizes[n - 1], sizes[n], node)).decode()
             for n in range(1, len(sizes))]  # fmt: skip
    manifest = {"format": "cloister-bundle/2", "origin": key.name, "records": len(lines),
                "vkey": key.vkey()}  # fmt: skip
    return Partial(manifest, tuple(lines), tuple(notes), grown, {})


def as_exported(home: Path, folder: Path) -> Partial:
    out = folder / "chosen"
    export_bundle(home / "ledger.db", out, selection=Selection(event="outcome"))
    lines = (out / "records.log").read_bytes().split(b"\n")[:-1]
    manifest, notes, proofs = (
        json.loads((out / f"{name}.json").read_bytes())
        for name in ("manifest", "checkpoints", "consistency")
    )
    return Partial(manifest, tuple(lines), tuple(notes), proofs, {})


def true_ones(o: Rotated) -> Iterator[Case]:
    """Chosen records of the log as it is: what is held covers some of them or none."""
    bodies, plan = o.bundle.bodies, o.plan()
    yield "all records", made(o, bodies, plan, range(10)), codes(10, 0, 0, 0, 0, 10, 10)
    yield "the rotations alone", made(o, bodies, plan, (3, 7)), codes(10, 10, 0, 0, 0, 20, 20)
    yield (
        "what is behind the last rotation",
        made(o, bodies, plan, (8, 9)),
        codes(10, 10, 10, 10, 0, 20, 20),
    )
    yield (
        "what is before the first rotation",
        made(o, bodies, plan, (0, 2)),
        codes(10, 0, 0, 0, 0, 10, 20),
    )
    rotations = {size: plan[size] for size in (4, 8, 10)}
    yield (
        "checkpoints of rotations and the newest only",
        made(o, bodies, rotations),
        codes(10, 20, 0, 20, 0, 20, 10),
    )


def hidden(o: Rotated, taken: Partial) -> Iterator[Case]:
    """Rotations that were left out, or of which something was."""
    a, b, c = o.keys
    bodies, plan = o.bundle.bodies, o.plan()
    without = {size: of for size, of in plan.items() if size != 4}
    yield "the checkpoint of a rotation is left out", made(o, bodies, without), codes(40)
    newest = made(o, bodies, {10: plan[10]}, (8, 9))
    yield "the newest checkpoint alone under the first key", newest, codes(40)
    alone = replace(newest, manifest=newest.manifest | {"vkey": c.public.vkey()})
    yield (
        "the newest checkpoint alone under its own key",
        alone,
        codes(10, 30, 30, 30, 0, 30, 30),
    )
    alone = made(o, bodies, {10: plan[10]}, (7, 9))
    alone = replace(alone, manifest=alone.manifest | {"vkey": c.public.vkey()})
    yield "under its own key with a rotation that nothing tells of", alone, codes(40)
    swapped = replace(taken, manifest=taken.manifest | {"vkey": b.public.vkey()})
    yield "the manifest names the second key", swapped, codes(40)
    one = replace(taken, proofs=[*taken.proofs[:1], taken.proofs[0], *taken.proofs[2:]])
    yield "a step over a rotation proves something else", one, codes(40)
    yield "a step over a rotation is missing", replace(taken, proofs=taken.proofs[1:]), codes(40)
    index, path, body = parted(taken.lines[1])
    line = b"%b %b %b" % (index, path, body.replace(b"clinician", b"lawyer"))
    edited = taken.lined([taken.lines[0], line, *taken.lines[2:]])
    yield "a record behind a rotation is edited", edited, codes(40)
    forked = [*bodies[:3], *bodies[4:7], *bodies[8:]]
    yield (
        "the old key signs on and the rotations are gone",
        made(o, forked, {3: ([a], None), 8: ([a], None)}, (1, 3, 5, 7)),
        codes(10, 0, 20, 30, 30, 20, 30),
    )


def forged(o: Rotated) -> Iterator[Case]:
    """Rotations that are none, and what nobody can see while their record is not chosen."""
    a, b, c = o.keys
    bodies, plan = o.bundle.bodies, o.plan()
    for about, signers in (("the old key", [a]), ("the new key", [b]), ("neither", [c])):
        bad = made(o, bodies, {**plan, 4: (signers, plan[4][1])})
        yield f"a rotation that only {about} signed", bad, codes(40)
    other = next_key(VerifyingKey("cloister.local/other", c.public.public))
    for about, line in (("of another log", other), ("without a key", "next-key ")):
        bad = made(o, bodies, {**plan, 8: ([b, c], line)})
        yield f"a rotation line {about}", bad, codes(40)
    on = {7: ([a], None), 8: ([a], None), 10: ([a], None)}
    yield "the old key signs on behind its rotation", made(o, bodies, {**plan, **on}), codes(40)
    evil = SigningKey(a.name, bytes(range(32))).public.public.hex()
    record = changed(bodies[3], "header", "features", "signing", value=evil)
    lying = [*bodies[:3], record, *bodies[4:]]
    yield "the record of a rotation names another key", made(o, lying, plan, (1, 3, 6)), codes(40)
    yield (
        "the record of a rotation names another key and is not chosen",
        made(o, lying, plan),
        codes(10, 0, 30, 30, 30, 20, 10),
    )
    more = [*bodies, changed(bodies[7], "header", "boot", value="a" * 32)]
    twice = {**plan, 11: ([c], None)}
    yield "a record of a rotation that was none", made(o, more, twice, (1, 10)), codes(40)
    minutes = [changed(body, "header", "minute", value="2026-03-02T09:30Z") for body in bodies]
    yield (
        "all keys sign another past",
        made(o, minutes, plan),
        codes(10, 30, 30, 30, 30, 20, 40),
    )


def cases(o: Rotated, taken: Partial) -> Iterator[Case]:
    yield "intact", taken, codes(10, 0, 0, 0, 0, 20, 10)
    yield from true_ones(o)
    yield from hidden(o, taken)
    yield from forged(o)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expected = {}
    with quick_folder() as scratch:
        o = make_rotated(scratch)
        for name, note in o.held.items():
            (FOLDER / f"{name}.txt").write_bytes(note)
        for about, bundle, found in cases(o, as_exported(scratch / "home", scratch)):
            pack_files(bundle.files(), FOLDER / file_name(about))
            expected[file_name(about)] = {"about": about, "codes": found}
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    (FOLDER / "expected.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
