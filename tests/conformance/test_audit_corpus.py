"""Three verifiers, written apart, agree: on a corpus of tampered logs, and on drawn ones.

``audit.verify``, ``verify_standalone.py`` and ``verify.html``; the page runs in a headless
Chromium and is skipped where there is none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import ProofError
from audit.merkle import verify_consistency, verify_inclusion
from tests.conformance.browser import PAGE
from tests.conformance.test_audit_verifiers import judge, standalone
from tests.unit.test_audit_checkpoint import RFC8032

FOLDER = Path(__file__).parent / "ledger"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
HELD = {name: (FOLDER / f"{name}.txt").read_bytes() for name in ("kept", "newest", "receipt")}
FILES = ("manifest.json", "records.log", "checkpoints.json")


def held(against):
    """The checkpoints and receipts of one column of ``expected.json``."""
    note = () if against == "none" else (HELD[against],)
    return ((), note) if against == "receipt" else (note, ())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_python_verifiers_give_the_codes_of_the_corpus(name):
    """Each tampered log, alone and against what an auditor holds, has one verdict."""
    for against, code in EXPECTED[name]["codes"].items():
        assert int(judge(FOLDER / name, *held(against)).code) == code, against
        assert standalone(str(FOLDER / name), *held(against))[0] == code, against


def test_the_page_gives_the_codes_and_the_words_of_the_corpus(page):
    """The page says what the stand-alone verifier says, to the letter, for the whole corpus."""
    for name, case in EXPECTED.items():
        data = (FOLDER / name).read_bytes()
        for number, (against, code) in enumerate(case["codes"].items()):
            found = page.verdict({name: data}, *held(against), pure=bool(number % 2))
            assert found == standalone(str(FOLDER / name), *held(against)), name
            assert found[0] == code, (name, against)


def test_proofs_that_do_not_prove_are_refused():
    """Index at or beyond the size, from size 0, a second size not used up, and their like."""
    rows = json.loads((FOLDER / "proofs.json").read_text("utf-8"))
    for row in rows:
        row |= {k: bytes.fromhex(v) for k, v in row.items() if k in {"leaf", "root", "old_root",
                                                                     "new_root"}}  # fmt: skip
        row["proof"] = [bytes.fromhex(value) for value in row["proof"]]
        kind, about, ok = row.pop("kind"), row.pop("about"), row.pop("ok")
        check = verify_inclusion if kind == "inclusion" else verify_consistency
        try:
            check(**row)
        except ProofError:
            assert not ok, about
        else:
            assert ok, about
    assert len(rows) > 15


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
        match draw(st.sampled_from(["flip", "cut", "insert", "drop", "double", "swap", "none"])):
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
            case "none":
                del files[name]
                return files
    return files


def read_intact():
    import zipfile  # noqa: PLC0415 - once

    with zipfile.ZipFile(FOLDER / "intact.zip") as archive:
        return {name: archive.read(name) for name in FILES}


INTACT = read_intact()


def on_disk(files, folder):
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
        if name in files:
            (folder / name).write_bytes(files[name])
    return folder


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(files=mutations(), against=st.sampled_from(["none", "kept", "newest", "receipt"]))
def test_all_verifiers_agree_on_drawn_mutations(page, tmp_path, files, against):
    """Whatever was done to the files, three verdicts are one; the words of two are the same."""
    folder = on_disk(files, tmp_path)
    code, words = standalone(str(folder), *held(against))
    assert int(judge(folder, *held(against)).code) == code, words
    assert page.verdict(files, *held(against)) == (code, words)


def test_the_pages_own_ed25519_and_the_browsers_agree_with_rfc_8032(page):
    """The published signatures verify both ways; with a bit changed they do not."""
    for parts in RFC8032:
        rows = [parts]
        for place in (0, 2):
            changed = bytearray.fromhex(parts[place])
            changed[7] ^= 4
            rows.append((*parts[:place], changed.hex(), *parts[place + 1 :]))
        for pure in ("true", "false"):
            asked = json.dumps(rows)
            answers = page.evaluate(
                f"""Promise.all({asked}.map((row) => {{
                  const bytes = row.map((text) => Uint8Array.from(
                    text.match(/../g) || [], (pair) => parseInt(pair, 16)));
                  return verifySignature(...bytes, {pure}).then(() => true, () => false);
                }}))"""
            )
            assert answers == [True, False, False]


def test_a_person_verifies_with_files_and_a_keyboard(page, tmp_path):
    """Inputs, one button, a status that is announced and focused; it says who checked."""
    page.choose("#bundle", [FOLDER / "intact.zip"])
    page.choose("#kept", [FOLDER / "kept.txt"])
    page.choose("#receipts", [FOLDER / "receipt.txt"])
    page.evaluate("document.querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                  windowsVirtualKeyCode=13)  # fmt: skip
    done = "new Promise((yes) => { const look = () => byId('words').dataset.code ? yes() : "
    page.evaluate(done + "setTimeout(look, 20); look(); })")
    assert page.evaluate("byId('words').textContent").startswith("Verified and anchored: 11")
    assert page.evaluate("document.activeElement.id") == "words"
    assert page.evaluate("byId('words').getAttribute('aria-live')") == "polite"
    assert "this browser" in page.evaluate("byId('facts').textContent")
    unlabelled = "[...document.querySelectorAll('input')].filter((i) => !i.labels.length).length"
    assert page.evaluate(unlabelled) == 0


def test_dropped_files_are_told_apart(page):
    """A bundle, a checkpoint and a receipt dropped together are what they are."""
    data = {name: base64.b64encode(note).decode() for name, note in HELD.items()}
    data["b.zip"] = base64.b64encode((FOLDER / "intact.zip").read_bytes()).decode()
    found = page.evaluate(
        f"""sort(Object.entries({json.dumps(data)}).map(([name, text]) => new File(
          [Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name))).then(() =>
          Object.values(dropped).map((files) => files.map((file) => file.name)))"""
    )
    assert found == [["b.zip"], ["kept", "newest"], ["receipt"]]


def test_the_page_cannot_speak_to_anybody(page):
    """Its policy allows no connection, and it holds no address; opening it asked for one file."""
    assert page.evaluate(
        "fetch('https://example.invalid/').then(() => 'sent', () => 'refused')"
    ) == ("refused")
    asked = [e["params"]["request"]["url"] for e in page.events
             if e.get("method") == "Network.requestWillBeSent"]  # fmt: skip
    assert {url.partition(":")[0] for url in asked} <= {"file", "https"}
    assert [url for url in asked if url.startswith("file")] == [PAGE.as_uri()]


def test_the_policy_of_the_page_names_its_own_script_and_style():
    """Anything else in the page would not run: the hashes are those of what stands in it."""
    text = PAGE.read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<(?:img|link|iframe|script|a)[^>]*(?:src|href)=", text)
