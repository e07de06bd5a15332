"""llama.cpp's own server and batched benchmark, as `make peers` builds them, started and read."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.running import free_port

BIN = Path(__file__).parents[2] / ".peers" / "bin"
SERVER, BATCHED = "llama-server", "llama-batched-bench"
SLOT_CONTEXT = 2048  # tokens
# How idle threads of libgomp wait: as they do by default, asleep, or as in the gateway's own child.
WAITS: tuple[Mapping[str, str], ...] = (
    {},
    {"OMP_WAIT_POLICY": "passive"},
    {"GOMP_SPINCOUNT": "3000"},
)
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running llama-server."""

    port: int
    pid: int


def missing() -> str:
    """What is not there and how to get it, in one line; "" where all is."""
    absent = [name for name in (SERVER, BATCHED) if not (BIN / name).is_file()]
    return f"{' and '.join(absent)} missing: run `make peers`" if absent else ""


@contextlib.contextmanager
def llama_server(
    model: Path, *, slots: int, threads: int, flags: Sequence[str] = ()
) -> Iterator[Server]:
    """Run llama-server on ``model``. A flag that is NAME=VALUE goes into its environment."""
    port = free_port()
    variables = dict(flag.split("=") for flag in flags if not flag.startswith("-") and "=" in flag)
    flags = [flag for flag in flags if flag.partition("=")[0] not in variables]
    process = subprocess.Popen(
        [
            *(BIN / SERVER, "-m", model, "--host", "127.0.0.1", "--port", str(port)),
            *("-np", str(slots), "-c", str(slots * SLOT_CONTEXT), "-t", str(threads)),
            *("--no-webui", "--log-disable", *flags),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
    )
    try:
        _wait(port, process)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"llama-server did not start (exit {process.poll()})")


@dataclass(frozen=True, slots=True)
class Batched:
    """Tokens a second of all sequences: reading prompts, writing answers, both together."""

    reading: float
    writing: float
    whole: float


def batched_bench(
    model: Path,
    *,
    sequences: int,
    prompt: int,
    answer: int,
    threads: int,
    more: Mapping[str, str],
) -> Batched:
    """Run llama-batched-bench: ``sequences`` prompts of their own, then a token of each a step.

    ``more`` goes into its environment.
    """
    cells = sequences * (prompt + answer)
    done = subprocess.run(
        [
            *(BIN / BATCHED, "-m", model, "-c", str(cells), "-t", str(threads)),
            *("-npp", str(prompt), "-ntg", str(answer), "-npl", str(sequences)),
            *("--output-format", "jsonl"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, **more},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise AssertionError(f"{BATCHED} told nothing: {done.stderr[-300:]}")
    row = json.loads(lines[0])
    return Batched(row["speed_pp"], row["speed_tg"], row["speed"])
