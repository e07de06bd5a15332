"""Each import contract of pyproject.toml is kept, and breaks when it is violated on purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# contract -> the file to change and the import that must not be there
VIOLATIONS = {
    "layers": ("gateway/domain.py", "import gateway.pipeline"),
    "audit-stands-alone": ("audit/merkle.py", "import gateway.errors"),
    "who-imports-audit": ("gateway/policy/decide.py", "import audit.ledger"),
    "pure": ("gateway/policy/decide.py", "import structlog"),
    "home-of-litestar": ("gateway/pipeline.py", "import litestar"),
    "home-of-uvicorn": ("gateway/api/routes.py", "import uvicorn"),
    "home-of-sqlalchemy": ("audit/ledger.py", "import sqlalchemy"),
    "home-of-database-drivers": ("audit/keys.py", "import pg8000"),
    "home-of-presidio": ("gateway/guards/port.py", "import presidio_analyzer"),
    "home-of-llama": ("gateway/pipeline.py", "import llama_cpp"),
    "home-of-llguidance": ("gateway/pipeline.py", "import llguidance"),
    "home-of-yaml": ("gateway/policy/lint.py", "import ruamel.yaml"),
    "home-of-httpx": ("gateway/api/routes.py", "import httpx"),
    "home-of-jsonschema": ("gateway/api/routes.py", "import jsonschema"),
    "home-of-cryptography": ("gateway/api/keyfile.py", "import cryptography"),
    "home-of-pkcs11": ("audit/keys.py", "import pkcs11"),
    "home-of-hvac": ("audit/keys.py", "import hvac"),
    "no-training-at-run-time": ("gateway/engine/native.py", "import torch"),
}


def _contracts() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["id"] for contract in config["tool"]["importlinter"]["contracts"]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The packages and their configuration, to be changed at will."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("gateway", "audit"):
        ignore = shutil.ignore_patterns("__pycache__", "*.gguf")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _lint(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # The script beside this interpreter: its current directory is where it looks for packages.
    script = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [script, *args], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_contract_has_a_violation():
    """A contract that nothing here breaks could be one that nothing can break."""
    assert sorted(_contracts()) == sorted(VIOLATIONS)


def test_the_contracts_are_kept(copy):
    """The tree as it is breaks none of them."""
    done = _lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_deliberate_violation_breaks_the_contract(copy, contract):
    """One import in the wrong place fails, and the contract that it breaks is the one named."""
    name, line = VIOLATIONS[contract]
    path = copy / name
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        done = _lint(copy, "--contract", contract)
    finally:
        path.write_text(before)
    assert done.returncode == 1, done.stdout
    assert "0 kept, 1 broken" in done.stdout
    assert name.removesuffix(".py").replace("/", ".") in done.stdout


def test_a_file_that_no_layer_names_fails(copy):
    """The layers are exhaustive: a new room needs a place before it can be used."""
    stray = copy / "gateway" / "stray.py"
    stray.touch()
    try:
        done = _lint(copy, "--contract", "layers")
    finally:
        stray.unlink()
    assert done.returncode == 1
    assert "gateway.stray" in done.stdout


def test_siblings_never_import_each_other(copy):
    """Rooms of one layer meet in the pipeline only."""
    path = copy / "gateway" / "routing" / "choose.py"
    before = path.read_text()
    path.write_text(f"{before}\nimport gateway.engine.port\n")
    try:
        done = _lint(copy, "--contract", "layers")
    finally:
        path.write_text(before)
    assert done.returncode == 1
    assert "gateway.routing is not allowed to import gateway.engine" in done.stdout
