"""Promise 1 on the running gateway: traced in process, and by the kernel in a bare namespace."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import running
from tests.simulator import Upstream

ROOT = Path(__file__).parent.parent.parent


def _ask(port: int, key: str, *, stream: bool) -> bytes:
    body = {
        "model": "upstream",
        "stream": stream,
        "messages": [{"role": "user", "content": "Ms. Clara Oakfield, MRN: 84720011, came in."}],
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError("not ready")


def test_a_gateway_at_work_touches_the_addresses_of_its_settings_only(tmp_path):
    """From start to stop: one listener, one upstream, no name looked up, nothing else."""
    home, trace, port = tmp_path / "home", tmp_path / "trace", running.free_port()
    with Upstream() as upstream, (tmp_path / "log").open("wb") as log:
        keys = running.make_home(home, running.upstream_settings(upstream.url))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.airgap.traced", trace, "serve", "--port", str(port)],
            env=running.environment(home),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_ready(port, process)
            assert b"Clara Oakfield" in _ask(port, keys["clinician"], stream=False)
            assert b"[DONE]" in _ask(port, keys["clinician"], stream=True)
        finally:
            process.terminate()
            process.wait(30)
        upstream_port = int(upstream.url.rsplit(":", 1)[1].partition("/")[0])
    seen: dict[str, set[object]] = {}
    for line in trace.read_text().splitlines():
        event, value = json.loads(line)
        seen.setdefault(event, set()).add(ast.literal_eval(value))
    lookups = {v for event, values in seen.items() if "get" in event for v in values}
    assert seen.pop("socket.connect") == {("127.0.0.1", upstream_port)}
    # urllib3, which Presidio brings along, tries at import whether ::1 can be bound: no packet.
    assert seen.pop("socket.bind") - {("::1", 0)} == {("127.0.0.1", port)}
    assert lookups <= {"127.0.0.1"}  # a literal, which no resolver sees
    assert not [event for event in seen if "get" not in event]


# --- in a namespace with loopback only ------------------------------------------------------------


def _unshare() -> list[str]:
    """The command that starts another one in a fresh network namespace.

    Skips where this machine does not permit it.
    """
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare or ip is not installed")
    command = ["unshare", "--net"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    probe = subprocess.run([*command, "ip", "link", "set", "lo", "up"], check=False)
    if probe.returncode != 0:
        pytest.skip("this machine does not permit a network namespace")
    return command


# The kernel counts each connect and each datagram for which there was no route, whichever process
# made it, native code included: a trace that needs no tracer.
_COUNTS = """
import sys
from pathlib import Path

lines = Path("/proc/net/snmp").read_text().splitlines()
names, values = [line.split() for line in lines if line.startswith("Ip:")]
six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
lost = int(dict(zip(names, values))["OutNoRoutes"]) + int(six.get("Ip6OutNoRoutes", 0))
print(f"without a route: {lost}")
"""

_ESCAPE = """
import socket
for address in ("192.0.2.1", 9), ("198.51.100.1", 443):
    try:
        socket.create_connection(address, 1)
    except OSError:
        pass
"""


def _in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_unshare(), "sh", "-c", f'ip link set lo up; {script}; exec "$PYTHON" -c "$COUNTS"'],
        env={**os.environ, "PYTHON": sys.executable, "COUNTS": _COUNTS, "ESCAPE": _ESCAPE},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def test_the_kernel_sees_an_attempt_to_leave():
    """The count that the next test relies on rises when a process tries two addresses."""
    done = _in_namespace('"$PYTHON" -c "$ESCAPE"')
    assert "without a route: 2" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_e2e_suite_passes_with_loopback_only_and_nothing_tries_to_leave():
    """The whole e2e suite runs in a namespace without a route, and the kernel counts no attempt."""
    done = _in_namespace('"$PYTHON" -m pytest tests/e2e -q -m "not slow" || exit 1')
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "without a route: 0" in done.stdout, done.stdout[-2000:]
