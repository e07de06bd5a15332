"""Three verifiers agree on logs whose key was rotated: intact, attacked, and drawn (§5.8)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.chain import next_key
from audit.checkpoint import SigningKey
from tests.auditkit import quick_folder
from tests.conformance.rotated import make_rotated, signed
from tests.conformance.test_audit_verifiers import judge, standalone

FOLDER = Path(__file__).parent / "rotated"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
HELD = {path.stem: path.read_bytes() for path in FOLDER.glob("*.txt")}


def held(against):
    """The checkpoints and receipts of one column of ``expected.json``."""
    note = () if against == "none" else (HELD[against],)
    return ((), note) if against.startswith("receipt") else (note, ())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_python_verifiers_give_the_codes_of_the_corpus(name):
    """Each rotated log, alone and against what an auditor holds, has one verdict."""
    assert len(EXPECTED[name]["codes"]) == 7
    for against, code in EXPECTED[name]["codes"].items():
        report = judge(FOLDER / name, *held(against))
        assert int(report.code) == code, (against, report.words)
        found = standalone(str(FOLDER / name), *held(against))
        assert found[0] == code, (against, found)


def test_the_page_gives_the_codes_and_the_words_of_the_corpus(page):
    """The page says what the stand-alone verifier says, to the letter, for the whole corpus."""
    for name, case in EXPECTED.items():
        data = (FOLDER / name).read_bytes()
        for number, (against, code) in enumerate(case["codes"].items()):
            found = page.verdict({name: data}, *held(against), pure=number % 2 == 1)
            assert found == standalone(str(FOLDER / name), *held(against)), name
            assert found[0] == code, (name, against)


@pytest.fixture(scope="module")
def rotated():
    with quick_folder() as folder:
        yield make_rotated(folder)


SIZES = (3, 4, 7, 8, 10)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_all_verifiers_agree_whoever_signs_what(page, rotated, tmp_path, data):
    """Any key signs any checkpoint and names any next one: one verdict, the same words."""
    keys = (*rotated.keys, SigningKey(rotated.keys[0].name, bytes(32)))
    plan = rotated.plan()
    changed = data.draw(st.lists(st.sampled_from(SIZES), max_size=3, unique=True))
    for size in changed:
        signers = data.draw(st.lists(st.sampled_from(keys), max_size=3, unique=True))
        named = data.draw(st.sampled_from([None, *keys]))
        plan[size] = (signers, named and next_key(named.public))
    bundle = signed(rotated.fresh(), plan)
    bundle.manifest["vkey"] = data.draw(st.sampled_from([keys[0], *keys])).public.vkey()
    drop = data.draw(st.sampled_from([None, None, *range(10)]))
    if drop is not None:
        bodies = bundle.bodies
        bundle = signed(bundle.renumber(bodies[:drop] + bodies[drop + 1 :]), plan)
    against = data.draw(st.sampled_from(["none", *rotated.held]))
    note = () if against == "none" else (rotated.held[against],)
    what = ((), note) if against.startswith("receipt") else (note, ())
    folder = bundle.write(tmp_path / f"b{len(list(tmp_path.iterdir()))}")
    code, words = standalone(str(folder), *what)
    assert int(judge(folder, *what).code) == code, words
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert page.verdict(files, *what) == (code, words)
    if not changed and drop is None and bundle.manifest["vkey"] == keys[0].public.vkey():
        assert code in (0, 10), words
