"""Three verifiers agree on logs whose key was rotated: intact, attacked, and drawn (§5.8)."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.chain import next_key
from audit.checkpoint import SigningKey
from tests.auditkit import quick_folder
from tests.conformance.rotated import FOLDER, make_rotated, signed
from tests.conformance.rotatedpartial import made
from tests.conformance.test_audit_verifiers import judge, standalone

WHOLE, CHOSEN = FOLDER, FOLDER / "partial"
EXPECTED = {
    folder: json.loads((folder / "expected.json").read_text("utf-8")) for folder in (WHOLE, CHOSEN)
}
CASES = [(folder, name) for folder, found in EXPECTED.items() for name in sorted(found)]


def held(notes, against):
    """The checkpoints and receipts of one column of ``expected.json``."""
    note = () if against == "none" else (notes[against],)
    return ((), note) if against.startswith("receipt") else (note, ())


def kept(folder):
    return {path.stem: path.read_bytes() for path in folder.glob("*.txt")}


@pytest.mark.parametrize(
    ("folder", "name"), CASES, ids=[f"{folder.name}-{name}" for folder, name in CASES]
)
def test_python_verifiers_give_the_codes_of_the_corpus(folder, name):
    """Each rotated log, and what was chosen of it, has one verdict against what is held."""
    codes, notes = EXPECTED[folder][name]["codes"], kept(folder)
    assert len(codes) == 7
    for against, code in codes.items():
        report = judge(folder / name, *held(notes, against))
        assert int(report.code) == code, (against, report.words)
        found = standalone(str(folder / name), *held(notes, against))
        assert found[0] == code, (against, found)


@pytest.mark.parametrize("folder", EXPECTED, ids=["whole", "chosen"])
def test_the_page_gives_the_codes_and_the_words_of_the_corpus(page, folder):
    """The page says what the stand-alone verifier says, to the letter, for the whole corpus."""
    notes = kept(folder)
    for name, case in EXPECTED[folder].items():
        data = (folder / name).read_bytes()
        for number, (against, code) in enumerate(case["codes"].items()):
            found = page.verdict({name: data}, *held(notes, against), pure=number % 2 == 1)
            assert found == standalone(str(folder / name), *held(notes, against)), name
            assert found[0] == code, (name, against)


@pytest.fixture(scope="module")
def rotated():
    with quick_folder() as folder:
        yield make_rotated(folder)


SIZES = (3, 4, 7, 8, 10)


@st.composite
def plans(draw, rotated):
    """Who signs which checkpoint and names which next key; and the sizes that were changed."""
    keys = (*rotated.keys, SigningKey(rotated.keys[0].name, bytes(32)))
    plan = rotated.plan()
    changed = draw(st.lists(st.sampled_from(SIZES), max_size=3, unique=True))
    for size in changed:
        signers = draw(st.lists(st.sampled_from(keys), max_size=3, unique=True))
        named = draw(st.sampled_from([None, *keys]))
        plan[size] = (signers, named and next_key(named.public))
    return plan, draw(st.sampled_from([keys[0], *keys])).public.vkey(), changed


def agreed(page, rotated, folder, against):
    """The one verdict of three verifiers on a bundle's folder."""
    what = held(rotated.held, against)
    code, words = standalone(str(folder), *what)
    assert int(judge(folder, *what).code) == code, words
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert page.verdict(files, *what) == (code, words)
    return code, words


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_all_verifiers_agree_whoever_signs_what(page, rotated, tmp_path, data):
    """Any key signs any checkpoint and names any next one: one verdict, the same words."""
    plan, vkey, changed = data.draw(plans(rotated))
    bundle = signed(rotated.fresh(), plan)
    bundle.manifest["vkey"] = vkey
    drop = data.draw(st.sampled_from([None, None, *range(10)]))
    if drop is not None:
        bodies = bundle.bodies
        bundle = signed(bundle.renumber(bodies[:drop] + bodies[drop + 1 :]), plan)
    against = data.draw(st.sampled_from(["none", *rotated.held]))
    folder = bundle.write(tmp_path / f"b{len(list(tmp_path.iterdir()))}")
    code, words = agreed(page, rotated, folder, against)
    if not changed and drop is None and vkey == rotated.keys[0].public.vkey():
        assert code in (0, 10), words


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_all_verifiers_agree_on_what_was_chosen_whoever_signs_what(page, rotated, tmp_path, data):
    """The same of partial bundles, whatever records are chosen, rotations or not."""
    plan, vkey, changed = data.draw(plans(rotated))
    plan[10] = plan[10] if plan[10][0] else ([rotated.keys[2]], None)
    chosen = data.draw(st.sets(st.integers(0, 9), min_size=1))
    partial = made(rotated, rotated.bundle.bodies, plan, sorted(chosen))
    partial.manifest["vkey"] = vkey
    folder = tmp_path / f"p{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for name, text in partial.files().items():
        (folder / name).write_bytes(text)
    against = data.draw(st.sampled_from(["none", *rotated.held]))
    code, words = agreed(page, rotated, folder, against)
    if not changed and vkey == rotated.keys[0].public.vkey():
        assert code in ((0, 10, 20) if against.startswith("receipt") else (0, 10)), words
