"""`make` on a machine that lacks something: one line that names it and the command to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

# what is there -> the one line
NO_PYTHON = (
    "cloister: missing (Python 3.11 or newer): python3 python3-venv. "
    "Get it with: sudo apt-get install python3 python3-venv\n"
)
CASES = [
    ({"python3", "g++"}, "cloister: missing: cmake. Get it with: sudo apt-get install cmake\n"),
    ({"python3", "cmake"}, "cloister: missing: g++. Get it with: sudo apt-get install g++\n"),
    (
        {"python3"},
        "cloister: missing: g++ cmake. Get it with: sudo apt-get install g++ cmake\n",
    ),
    ({"g++", "cmake"}, NO_PYTHON),
    ({"old python3", "g++", "cmake"}, NO_PYTHON),
]


@pytest.fixture
def machine(root, tmp_path):
    """A folder with the script, and a PATH on which only what it needs is found."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(root / "deploy" / "install.sh", tmp_path / "deploy")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or "")
    return tmp_path


def _add(tools, name: str) -> None:
    if name == "python3":
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    else:
        # An interpreter that is too old fails the question about its version.
        name = name.removeprefix("old ")
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
    (tools / name).chmod(0o755)


@pytest.mark.parametrize(("present", "line"), CASES)
def test_what_is_missing_is_told_in_one_line(machine, present, line):
    """All that is missing in one line, exit 1, and nothing was installed or created."""
    for name in present:
        _add(machine / "bin", name)
    done = subprocess.run(
        ["/bin/sh", "deploy/install.sh", "run"],
        cwd=machine,
        env={"PATH": str(machine / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert not (machine / ".venv").exists()


def test_only_a_changed_lock_calls_the_installer_again(root, tmp_path):
    """With a fresh stamp `make run` goes straight to the gateway; a newer lock file renews it."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("deploy", ".venv"):
        (tmp_path / name).mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "deploy/install.sh"):
        shutil.copy(root / name, tmp_path / name)
    stamp = tmp_path / ".venv" / ".installed"

    def plan() -> str:
        return subprocess.run(
            [make, "--dry-run", "run"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    assert "install.sh" in plan()
    stamp.touch()
    assert "install.sh" not in plan()
    assert "gateway serve" in plan()
    after = stamp.stat().st_mtime + 10
    os.utime(tmp_path / "requirements.lock", (after, after))
    assert "install.sh" in plan()
