"""The real servers that `make peers` builds, each in a process of its own on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.running import ROOT, free_port

BUILT = ROOT / ".peers"
LLAMA_SERVER = BUILT / "bin" / "llama-server"
PYTHON = BUILT / "venv" / "bin" / "python"
NAME = "tiny"


@dataclass
class Running:
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def built(program: Path) -> Path:
    """Return ``program``; skip the test where nobody has built it. CI always has."""
    if not program.exists():
        pytest.skip(f"{program.name} is not built. Get it with: make peers")
    return program


def llama_server(model: Path, *flags: str, port: int = 0) -> contextlib.AbstractContextManager:
    port = port or free_port()
    given = ("--model", model, "--alias", NAME, "--port", port, "--threads", 2, "--offline")
    return _running([built(LLAMA_SERVER), *given, *flags], model, port, "/health")


def llama_cpp_server(model: Path, *flags: str) -> contextlib.AbstractContextManager:
    port = free_port()
    given = ("--model", model, "--model_alias", NAME, "--port", port, "--n_threads", 2)
    command = [built(PYTHON), "-m", "llama_cpp.server", *given, *flags]
    return _running(command, model, port, "/v1/models")


@contextlib.contextmanager
def _running(command: list, model: Path, port: int, path: str) -> Iterator[Running]:
    log_file = model.with_suffix(f".{port}.log")
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=environment, cwd=model.parent
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}{path}", log_file)
        yield Running(port, process)
    finally:
        process.kill()
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"exit {process.returncode}: {log.read_text()}")
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(url, timeout=2),
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()}")
