"""`gateway doctor`: each fact of a machine, laid out in a folder, gives the line it deserves."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.doctor import Machine, Report, Status, run_doctor
from gateway.settings import Settings

NOW = datetime(2026, 11, 22, tzinfo=UTC)

ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
LOCAL = "eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
ZERO6 = "0" * 32
DEFAULT6 = f"{ZERO6} 00 {ZERO6} 00 fe80{'0' * 28} 00000400 00000001 00000000 00000003 eth1\n"
UNREACHABLE6 = f"{ZERO6} 00 {ZERO6} 00 {ZERO6} ffffffff 00000001 00000000 00200200 lo\n"
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
TCP = "  sl  local_address rem_address   st tx_queue rx_queue\n"


def _word(*octets: int) -> str:
    return f"{int.from_bytes(bytes(octets), sys.byteorder):08X}"


def _socket(address: str, port: int, state: str = "0A") -> str:
    return f"{TCP}   0: {address}:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 1\n"


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


def _report(home, tmp_path, files=(), settings="", environ=()) -> Report:
    root = tmp_path / "root"
    quiet = {
        "proc/net/route": ROUTES,
        "proc/swaps": SWAPS,
        "etc/resolv.conf": "# none\n",
        "proc/sys/kernel/core_pattern": "core\n",
    }
    for name, text in {**quiet, **dict(files)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    decoded = msgspec.toml.decode(settings, type=Settings)
    return run_doctor(decoded, home, Machine(root, dict(environ)), NOW)


def _status(report: Report, name: str) -> Status:
    (found,) = [c.status for c in report.checks if c.name == name]
    return found


def test_a_quiet_machine_passes(home, tmp_path):
    """No route, no resolver, no swap, a closed home and shipped policies: nothing fails."""
    report = _report(home, tmp_path)
    assert report.ok, [c for c in report.checks if c.status is Status.FAIL]
    weak = {c.name for c in report.checks if c.status is Status.WARN}
    assert weak <= {"user"}  # the tests may run as root


# check, files, settings, environment -> status
FACTS = [
    ("routes", {"proc/net/route": ROUTES + LOCAL}, "", {}, Status.OK),
    ("routes", {"proc/net/route": ROUTES + DEFAULT + LOCAL}, "", {}, Status.WARN),
    ("routes", {"proc/net/ipv6_route": DEFAULT6}, "", {}, Status.WARN),
    ("routes", {"proc/net/ipv6_route": UNREACHABLE6}, "", {}, Status.OK),
    ("resolver", {"etc/resolv.conf": "nameserver 192.0.2.53\n"}, "", {}, Status.WARN),
    ("proxies", {}, "", {"https_proxy": "http://192.0.2.1"}, Status.WARN),
    ("proxies", {}, "", {"NO_PROXY": "*"}, Status.WARN),
    ("tripwire", {}, "", {}, Status.OK),
    ("listeners", {"proc/net/tcp": _socket(_word(127, 0, 0, 1), 8080)}, "", {}, Status.OK),
    ("listeners", {"proc/net/tcp": _socket(_word(0, 0, 0, 0), 8080)}, "", {}, Status.FAIL),
    ("listeners", {"proc/net/tcp": _socket(_word(0, 0, 0, 0), 22)}, "", {}, Status.OK),
    ("listeners", {"proc/net/tcp": _socket(_word(0, 0, 0, 0), 8080, "01")}, "", {}, Status.OK),
    ("listeners", {"proc/net/tcp6": _socket(ZERO6, 8080)}, "", {}, Status.FAIL),
    ("upstreams", {}, "http://127.0.0.1:9000", {}, Status.OK),
    ("upstreams", {}, "https://10.0.0.5", {}, Status.OK),
    ("upstreams", {}, "http://10.0.0.5", {}, Status.FAIL),
    ("upstreams", {}, "https://8.8.8.8", {}, Status.FAIL),
    ("upstreams", {}, "https://models.example", {}, Status.FAIL),
    ("isolation", {}, "", {}, Status.OK),
    ("isolation", {}, '[engine]\nisolation = "none"', {}, Status.WARN),
    ("swap", {"proc/swaps": SWAPS + "/dev/sda2 partition 1 0 -2\n"}, "", {}, Status.WARN),
    ("core_dumps", {"proc/sys/kernel/core_pattern": "|/usr/bin/crash\n"}, "", {}, Status.WARN),
    ("policy", {}, '[policy]\nin_force = ["no-such-policy"]', {}, Status.FAIL),
]


@pytest.mark.parametrize(("name", "files", "settings", "environ", "expected"), FACTS)
def test_each_fact_gives_its_status(home, tmp_path, name, files, settings, environ, expected):
    """One fact changed on a quiet machine changes the line that is about it."""
    if settings.startswith("http"):
        settings = f'[[upstream]]\nname = "u"\nmodel = "m"\nurls = ["{settings}"]'
    report = _report(home, tmp_path, files, settings, environ)
    assert _status(report, name) is expected
    assert report.ok == (expected is not Status.FAIL)


def test_an_open_home_fails(home, tmp_path):
    """A file of the home that others may read fails, however deep it lies."""
    (home / "keys").mkdir(mode=0o700)
    path = home / "keys" / "store"
    path.touch(mode=0o600)
    assert _status(_report(home, tmp_path), "home") is Status.OK
    path.chmod(0o640)
    assert _status(_report(home, tmp_path), "home") is Status.FAIL


def test_a_home_that_cannot_be_written_fails(tmp_path):
    """Without a place for the ledger there is no inference, so there is no pass."""
    gone = tmp_path / "home"
    gone.mkdir(mode=0o700)
    gone.rmdir()
    gone.touch(mode=0o600)
    assert _status(_report(gone, tmp_path), "ledger") is Status.FAIL


def test_the_probe_file_is_removed(home, tmp_path):
    """The doctor leaves the home as it was."""
    _report(home, tmp_path)
    assert os.listdir(home) == []  # noqa: PTH208  # names are what is compared


def test_a_policy_past_its_end_fails(home, tmp_path):
    """An expired policy stops requests, so it stops a pass."""
    report = _report(home, tmp_path, settings='[policy]\nin_force = ["hipaa"]')
    assert _status(report, "policy") is Status.OK
    early = run_doctor(Settings(), home, Machine(tmp_path / "root", {}), NOW.replace(year=1999))
    assert _status(early, "policy") is Status.FAIL


def test_nothing_checked_is_no_pass():
    """A report without a check says nothing, so it does not pass."""
    assert not Report(()).ok
