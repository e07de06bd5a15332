"""A real gateway in a process of its own, for tests and benchmarks that need the whole of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def temporary(home: Path) -> Path:
    """The folder for temporary files of what runs on ``home``: its own, so it can be searched."""
    folder = home.parent / f"{home.name}.tmp"
    folder.mkdir(exist_ok=True)
    return folder


def environment(home: Path) -> dict[str, str]:
    """An environment that names the home and nothing that a developer's shell would add."""
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG"}}
    return {
        **keep,
        "CLOISTER_HOME": str(home),
        "TMPDIR": str(temporary(home)),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def cli(home: Path, *args: str, module: str = "gateway", check: bool = True) -> str:
    """Run one of the command lines against ``home`` and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{module} {args[0]}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


@dataclass
class Gateway:
    """A running gateway: its address, its keys by role, and its process."""

    home: Path
    port: int
    keys: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(repr=False)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    def stop(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Send ``sig`` and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout_s)


def make_home(home: Path, settings: str = "") -> dict[str, str]:
    """Create a demo home, append ``settings`` (TOML) to its file, and return its API keys."""
    cli(home, "init", "--demo")
    with (home / "settings.toml").open("a") as file:
        file.write("\n" + settings)
    keys: dict[str, str] = json.loads((home / "demo-keys.json").read_text())["api_keys"]
    return keys


def upstream_settings(url: str, *, name: str = "upstream", bundled: bool = False) -> str:
    """Settings for one remote model, as the default, without the bundled one."""
    return (
        f'[engine]\nbundled_model = {str(bundled).lower()}\ndefault_model = "{name}"\n'
        f'[[upstream]]\nname = "{name}"\nurls = ["{url}"]\nmodel = "m"\n'
    )


def start(
    home: Path,
    keys: Mapping[str, str],
    *,
    wait_s: float = 60,
    context: ssl.SSLContext | None = None,
) -> Gateway:
    """Start ``gateway serve`` on ``home`` and wait until it is ready. ``context``: it has TLS."""
    port = free_port()
    with (home.parent / f"{home.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--port", str(port)],
            env=environment(home),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    gateway = Gateway(home, port, keys, process, "https" if context else "http")
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"gateway exited {process.returncode}: {gateway.log.read_text()}")
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(
                f"{gateway.url}/health/ready", timeout=2, context=context
            ) as answer,
        ):
            if answer.status == 200:
                return gateway
        time.sleep(0.05)
    gateway.stop(signal.SIGKILL)
    raise AssertionError(f"not ready in {wait_s} s: {gateway.log.read_text()}")


@contextlib.contextmanager
def running(home: Path, settings: str = "") -> Iterator[Gateway]:
    """A fresh home and a gateway on it, stopped at the end."""
    gateway = start(home, make_home(home, settings))
    try:
        yield gateway
    finally:
        gateway.stop()
