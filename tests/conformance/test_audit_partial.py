"""Partial bundles: what they prove, what they cannot, and three verifiers that agree on both."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.bundle import export_bundle
from audit.errors import MissingError, RecordError
from audit.formats.view import Selection
from audit.ledger import Options
from tests.auditkit import make_home
from tests.conformance.partial import FILES, FOLDER
from tests.conformance.test_audit_verifiers import judge, standalone

EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
HELD = {name: (FOLDER / f"{name}.txt").read_bytes() for name in ("kept", "newest", "receipt")}


def held(against):
    note = () if against == "none" else (HELD[against],)
    return ((), note) if against == "receipt" else (note, ())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_python_verifiers_give_the_codes_of_the_corpus(name):
    """Each case, alone and against what an auditor holds, has one verdict."""
    for against, code in EXPECTED[name]["codes"].items():
        report = judge(FOLDER / name, *held(against))
        assert int(report.code) == code, (against, report.words)
        found = standalone(str(FOLDER / name), *held(against))
        assert found[0] == code, (against, found)


def test_the_page_gives_the_codes_and_the_words_of_the_corpus(page):
    """The page says what the stand-alone verifier says, to the letter."""
    for name, case in EXPECTED.items():
        data = (FOLDER / name).read_bytes()
        for against, code in case["codes"].items():
            found = page.verdict({name: data}, *held(against))
            assert found == standalone(str(FOLDER / name), *held(against)), name
            assert found[0] == code, (name, against)


def test_files_of_a_folder_are_found_without_it(page):
    """A browser gives chosen files no folder: a policy's text is found by its own name."""
    name = "a-policy-that-no-record-names.zip"
    with zipfile.ZipFile(FOLDER / name) as archive:
        files = {Path(path).name: archive.read(path) for path in archive.namelist()}
    found = page.verdict(files)
    assert found == standalone(str(FOLDER / name))
    assert "policies/site-000000000000.yaml" in found[1]


def read_intact():
    with zipfile.ZipFile(FOLDER / "intact.zip") as archive:
        return {name: archive.read(name) for name in FILES}


INTACT = read_intact()


@st.composite
def mutations(draw):
    """The files of the intact bundle with a few edits that an attacker might make."""
    files = dict(INTACT)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(FILES))
        data = files[name]
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        lines = data.splitlines(keepends=True)
        row = draw(st.integers(0, max(len(lines) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "insert", "drop", "double", "swap"])):
            case "flip" if data:
                mask = draw(st.integers(1, 255))
                files[name] = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
            case "cut":
                files[name] = data[:place]
            case "insert":
                files[name] = data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place:]
            case "drop":
                files[name] = b"".join(lines[:row] + lines[row + 1 :])
            case "double":
                files[name] = b"".join(lines[: row + 1] + lines[row:])
            case "swap":
                files[name] = b"".join(lines[:row] + lines[row + 1 :] + lines[row : row + 1])
    return files


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(files=mutations(), against=st.sampled_from(["none", "kept", "newest", "receipt"]))
def test_all_verifiers_agree_on_drawn_mutations(page, tmp_path, files, against):
    """Whatever was done to the files, three verdicts are one; the words of two are the same."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code, words = standalone(str(tmp_path), *held(against))
    assert int(judge(tmp_path, *held(against)).code) == code, words
    assert page.verdict(files, *held(against)) == (code, words)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of 21 records under several checkpoints, in two days."""
    made = make_home(tmp_path_factory.mktemp("partial") / "home")
    made.fill(5, Options(checkpoint_records=3))
    made.clock.forward(days=1)
    made.fill(4, Options(checkpoint_records=3))
    return made


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_choice_is_proven_and_says_what_it_cannot_show(home, data, tmp_path_factory):
    """Whatever is chosen, all of it verifies; the words tell how many, and name the limit."""
    event = data.draw(st.sampled_from([None, "boot", "intent", "outcome"]))
    since, until = data.draw(
        st.sampled_from([(None, None), ("2026-03-02T00:00Z", None), (None, "2026-03-01T23:59Z")])
    )
    out = tmp_path_factory.mktemp("out") / "b.zip"
    count = export_bundle(home.path / "ledger.db", out, selection=Selection(since, until, event))
    kept = (newest(out).encode(),)
    report, (code, words) = judge(out, kept), standalone(str(out), kept)
    assert (report.code, code, report.chosen) == (0, 0, count)
    assert f"{count} of 20 records" in report.words
    assert f"{count} of 20 records" in words
    assert "cannot show" in report.words
    assert "cannot show" in words


def newest(out):
    with zipfile.ZipFile(out) as archive:
        return archive.read("checkpoint.txt").decode()


def test_a_choice_of_nothing_is_refused_and_leaves_nothing(home, tmp_path):
    """An empty bundle would prove nothing and look like an answer."""
    with pytest.raises(MissingError):
        export_bundle(home.path / "ledger.db", tmp_path / "b", selection=Selection(event="none"))
    assert list(tmp_path.iterdir()) == []


def test_a_choice_by_what_is_sealed_is_refused(home, tmp_path):
    """A partial bundle is chosen by what anybody can read."""
    with pytest.raises(RecordError):
        export_bundle(home.path / "ledger.db", tmp_path / "b", selection=Selection(principal="x"))
    assert list(tmp_path.iterdir()) == []


def test_the_exported_verifier_runs_alone_on_a_partial_bundle(home, tmp_path):
    """With nothing but Python, from the bundle's own copy."""
    folder = tmp_path / "bundle"
    export_bundle(home.path / "ledger.db", folder, selection=Selection(event="intent"))
    command = [sys.executable, "-I", "-S", str(folder / "verify_standalone.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (10, "")
    assert "9 of 20 records" in done.stdout
    kept = ["--checkpoint", str(folder / "checkpoint.txt")]
    assert subprocess.run([*command, *kept], capture_output=True, check=False).returncode == 0


def test_a_manifest_lists_every_other_file_with_its_digest(home, tmp_path):
    """SHA-256 over the bytes of each file; the manifest itself is none of them."""
    from hashlib import sha256  # noqa: PLC0415 - once

    folder = tmp_path / "bundle"
    export_bundle(home.path / "ledger.db", folder, selection=Selection(event="intent"))
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    there = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*.*")}
    there.pop("manifest.json")
    assert listed == {name: sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
