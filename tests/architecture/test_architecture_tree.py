"""The tree keeps the shape of DESIGN §2: sizes, top-level names, and what no file may name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "audit",
    "deploy",
    "docs",
    "gateway",
    "policies",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}

MAX_LINES = 300
# A file over the limit, and why it reads better as one.
LONGER = {
    "audit/ledger.py": "appending, group commit and recovery share one lock and one contract",
    "audit/record.py": "the allow-list of the open part and the canonical bytes are one format",
    "audit/seal.py": "sealing and opening mirror each other line by line",
    "audit/store.py": "both databases as the rest of the log sees them",
    "audit/verify.py": "the checks in the order of the format's §9.2, read from top to bottom",
    "audit/verify_standalone.py": "one file by design: an auditor reads all of it, and copies it",
    "gateway/api/keyfile.py": "all that may read or write the key file, under one lock",
    "gateway/api/schemas.py": "every published parameter in one list",
    "gateway/cli.py": "one function a command, each a few lines around an import",
    "gateway/domain.py": "the values that cross parts, read as one vocabulary",
    "gateway/engine/native.py": "every call of llama.cpp for a sequence, to be read together",
    "gateway/masking/formats.py": "what is read of each format, in one place to check",
    "gateway/pii/mask.py": "one pass over a conversation, whose numbering needs all of it",
    "gateway/pii/presidio/registry.py": "a table of recognizers and when each of them counts",
    "gateway/pii/recognizers/edits.py": "one small function for each disguise, and their order",
    "gateway/pii/restore.py": "one scanner of streams and its contexts",
    "gateway/pipeline.py": "one request, readable from top to bottom",
    "gateway/policyctl.py": "one function a command, each a few lines around an import",
    "gateway/protect.py": "steps 2 to 5 of a request with their passes, readable as one",
    "gateway/recorder.py": "everything that goes on record, in the order of a request",
}

# Spelled in pieces, so that this file does not name what it forbids.
FORBIDDEN = {
    "a package registry": r"py" r"pi\.org|python" r"hosted\.org|npm" r"js\.org|deb\." r"debian",
    "a developer's folder": r"/wo" r"rk/[a-z.]|/ro" r"ot/|/ho" r"me/[a-z]|/Us" r"ers/[A-Za-z]",
}


def _tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout: what belongs to the tree is not known")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_top_level_holds_the_named_entries_only():
    """A new file or folder at the top needs a place in DESIGN §2 first."""
    found = {_name(path).partition("/")[0] for path in _tracked()}
    assert found <= TOP_LEVEL


def test_a_long_file_has_a_reason():
    """A source file over 300 lines is listed above with why, and nothing listed is gone."""
    sources = [
        p for p in _tracked() if p.suffix == ".py" and _name(p).startswith(("gateway", "audit"))
    ]
    assert sources
    long = {_name(path) for path in sources if len(path.read_text().splitlines()) > MAX_LINES}
    assert long <= set(LONGER)
    assert all((ROOT / name).exists() for name in LONGER)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    """Neither an index of packages nor a folder of whoever wrote it stands in any file."""
    pattern = re.compile(FORBIDDEN[what].encode())
    found = [_name(p) for p in _tracked() if p.is_file() and pattern.search(p.read_bytes())]
    assert found == []


def test_the_standalone_verifier_imports_the_standard_library_only():
    """An auditor runs it with nothing installed, and need not trust this project's code."""
    tree = ast.parse((ROOT / "audit" / "verify_standalone.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    assert imported
    assert imported - {"__future__"} <= sys.stdlib_module_names


def test_lock_files_pin_and_hash_everything_and_name_no_index():
    """Each requirement has one version and at least one hash; no line is an address or option."""
    for name in ("requirements.lock", "tests/requirements.lock"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines
        for line in lines:
            assert re.match(r"[a-z0-9][a-z0-9._-]*==[0-9]", line), line
            assert "--hash=sha256:" in line, line
            assert "://" not in line, line


def test_the_two_lock_files_agree():
    """What both name has the same version in both, so that tests run what ships."""
    pins = []
    for name in ("requirements.lock", "tests/requirements.lock"):
        found = re.findall(r"^([a-z0-9._-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE)
        pins.append(dict(pin.split("==") for pin in found))
    runtime, dev = pins
    assert runtime.keys() & dev.keys()
    assert {n: v for n, v in dev.items() if n in runtime} == {
        n: runtime[n] for n in dev if n in runtime
    }
