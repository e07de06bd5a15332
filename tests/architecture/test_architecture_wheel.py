"""What the wheel carries: a data file that is missing shows here and not at a site."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

CODE = {"audit", "gateway", "policies"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The names in a wheel built from this tree, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([sys.executable, *command, "-w", str(out), str(ROOT)], check=True, timeout=110)
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    """Whatever git tracks under the three packages is installed with them."""
    tracked = subprocess.run(
        ["git", "ls-files", *CODE], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(tracked) > 100
    assert set(tracked) - wheel == set()


def test_nothing_else_is_in_the_wheel(wheel):
    """No test, recipe or document is installed on a site's machine."""
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == CODE
