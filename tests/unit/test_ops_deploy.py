"""What is deployed holds what the documents say: no privilege, no route, no shell, no core dump."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from ruamel.yaml import YAML

UNIT = "deploy/systemd/cloister.service"
MAX_EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _directives(root) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (root / UNIT).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


PROMISED = {
    "IPAddressDeny": "any",
    "IPAddressAllow": "localhost",
    "ProtectSystem": "strict",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "MemoryDenyWriteExecute": "yes",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
}


@pytest.mark.parametrize(("directive", "value"), PROMISED.items())
def test_the_unit_keeps_each_promised_directive(root, directive, value):
    """Each wall of the unit that the threat model counts on stands once, with its value."""
    assert _directives(root)[directive] == [value]


def test_the_unit_admits_the_calls_of_the_engines_wall(root):
    """A filter that kept the model's child from walling itself in would stop every start."""
    allowed = " ".join(_directives(root)["SystemCallFilter"]).split()
    assert {"seccomp", "landlock_create_ruleset", "landlock_restrict_self"} <= set(allowed)
    assert not any(word.startswith("~") and "sandbox" in word for word in allowed)


def test_the_unit_prints_no_key_into_the_journal(root):
    """`gateway init` prints keys, so no Exec line of the unit runs it."""
    commands = {k: v for k, v in _directives(root).items() if k.startswith("Exec")}
    assert commands == {"ExecStart": ["/opt/cloister/.venv/bin/gateway serve"]}


@needs_systemd
def test_systemd_accepts_the_unit(root, tmp_path):
    """`systemd-analyze verify` has nothing to say about it."""
    # The programme is not installed where tests run; everything else is checked as it is.
    text = re.sub(
        r"^ExecStart=.*$", "ExecStart=/bin/true", (root / UNIT).read_text(), flags=re.MULTILINE
    )
    text = re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE)
    unit = tmp_path / "cloister.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about_us = [line for line in done.stderr.splitlines() if "cloister.service" in line]
    assert (done.returncode, about_us) == (0, []), done.stderr


@needs_systemd
def test_systemd_finds_the_unit_closed(root):
    """`systemd-analyze security` gives an exposure that a looser unit would not have."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(root / UNIT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert overall is not None, done.stderr
    assert float(overall[1]) <= MAX_EXPOSURE


@pytest.fixture
def gateway_service(root):
    return YAML(typ="safe").load(root / "deploy/compose.yaml")["services"]["gateway"]


def test_compose_gives_the_container_no_privilege(gateway_service):
    """Read-only, no capability, no way to a privilege, no core, no swap, not root."""
    assert gateway_service["read_only"] is True
    assert gateway_service["cap_drop"] == ["ALL"]
    assert gateway_service["security_opt"] == ["no-new-privileges:true"]
    assert gateway_service["ulimits"]["core"] == 0
    assert gateway_service["memswap_limit"] == gateway_service["mem_limit"]
    assert gateway_service["user"] == "10001:10001"
    assert "privileged" not in gateway_service
    assert "ports" not in gateway_service


def test_compose_gives_the_container_no_route(root, gateway_service):
    """Every network it is attached to is internal."""
    networks = YAML(typ="safe").load(root / "deploy/compose.yaml")["networks"]
    assert gateway_service["networks"]
    assert all(networks[name]["internal"] is True for name in gateway_service["networks"])


def test_the_image_runs_without_root_or_shell(root):
    """The last stage has a numeric user and exec-form commands only, and no compiler."""
    text = (root / "deploy/Containerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :].splitlines()
    steps = [line.split(" ", 1) for line in last if line and line[0].isupper()]
    assert ["USER", "10001:10001"] in steps
    for name, rest in steps:
        if name in {"RUN", "CMD", "ENTRYPOINT"}:
            assert rest.startswith("["), f"{name} would need a shell"
        assert name != "ADD"
