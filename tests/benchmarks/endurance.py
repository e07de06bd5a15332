"""What stays in memory, what grows, and how soon a model is free when its clients vanish."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import urllib.request
from pathlib import Path

from tests.benchmarks.compared import SLOTS, Texts, bodies, gateway_job
from tests.benchmarks.harness import Figure, percentile
from tests.benchmarks.load import Connection, Job, chat_body, run
from tests.benchmarks.randommodel import CONTEXT, Shape
from tests.running import Gateway

CLIENTS = 200
LONG_ANSWER = 1500  # tokens: more than are written before all are gone
RUNNING, WAITING, CELLS = (f"cloister_engine_{name}" for name in ("running", "waiting", "kv_cells"))
PARALLEL = 8
_SETTLE_S = 15.0
_POLL_S = 0.03  # asking costs the gateway some ten milliseconds: it must not be all it does


def gauge(gateway: Gateway, name: str) -> float | None:
    """The sum of a gauge over its labels; None where the gateway has none of this name."""
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode()
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", lines, re.MULTILINE)
    return sum(map(float, found)) if found else None


# --- memory ---------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def engine_child(gateway: Gateway) -> int:
    """The process that holds the model: the largest of the gateway's children."""
    children: list[int] = []
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            children += map(int, (task / "children").read_text().split())
    return max(children, key=resident_bytes)


def resident(gateway: Gateway, shape: Shape, size: int) -> tuple[Figure, str]:
    """What the child holds beyond its model's file and the KV cache, after the load before."""
    cells = gauge(gateway, CELLS)
    cache = int(cells or SLOTS * CONTEXT) * shape.cell_bytes
    beyond = (resident_bytes(engine_child(gateway)) - size - cache) / 1e6
    name = f"resident_above_weights_and_kv_{PARALLEL}way_{shape.name}"
    told = "as its gauge tells" if cells else "a context for each slot"
    return Figure(name, beyond, "MB", "lower", 200, 120), (
        f"{name}: file {size / 1e6:.0f} MB, cache {cache / 1e6:.0f} MB of "
        f"{cache // shape.cell_bytes} cells ({told}) in float16"
    )


def growth(gateway: Gateway, model: str, requests: int) -> tuple[list[Figure], str]:
    """Resident memory after ``requests`` short ones against that after the first tenth of them."""
    child = engine_child(gateway)
    early = requests // 10
    _short_ones(gateway, model, 0, early)
    before = resident_bytes(gateway.process.pid), resident_bytes(child)
    _short_ones(gateway, model, early, requests)
    after = resident_bytes(gateway.process.pid), resident_bytes(child)
    name = f"growth_{requests}_{PARALLEL}way_tiny"
    figures = [
        Figure(name, (sum(after) / sum(before) - 1) * 100, "%", "lower", 2, None),
        Figure(f"{name}_gateway", (after[0] / before[0] - 1) * 100, "%", "lower"),
        Figure(f"{name}_child", (after[1] / before[1] - 1) * 100, "%", "lower"),
    ]
    return figures, (
        f"{name}: {sum(before) / 1e6:.0f} MB after {early} requests, {sum(after) / 1e6:.0f} MB "
        f"after {requests}, gateway and child together"
    )


def _short_ones(gateway: Gateway, model: str, first: int, last: int) -> None:
    # All as many digits: what detection compiles for a form when it first meets it is no growth.
    numbers = range(100_000 + first, 100_000 + last)
    asked = [chat_body(f"{n} is one?", model=model, tokens=2) for n in numbers]
    run(Job(gateway.port, PARALLEL, asked, gateway.keys["clinician"]))


# --- the storm ------------------------------------------------------------------------------------


def storm(gateway: Gateway, shape: Shape, texts: Texts) -> tuple[Figure, str]:
    """Milliseconds from when ``CLIENTS`` clients vanish in mid-stream until every slot is free."""
    freed_ms, how = asyncio.run(_storm(gateway, shape.name, texts))
    run(gateway_job(gateway, PARALLEL, texts.take(100, PARALLEL), shape.name))  # none leaked
    name = f"cancel_storm_{CLIENTS}way_{shape.name}"
    return Figure(name, freed_ms, "ms", "lower", 100, None), f"{name}: {how}"


async def _storm(gateway: Gateway, model: str, texts: Texts) -> tuple[float, str]:
    key = gateway.keys["clinician"]
    one = await Connection.open(gateway.port, key)
    alone = [(await one.chat(body)).first_s for body in bodies(texts.take(100, 5), model)]
    await one.close()
    connections = [await Connection.open(gateway.port, key) for _ in range(CLIENTS)]
    for connection, text in zip(connections, texts.take(100, CLIENTS), strict=True):
        connection.send(chat_body(text, model=model, tokens=LONG_ANSWER))
    await _in_full_flow(gateway, connections)
    told = await asyncio.to_thread(_held, gateway)
    next_body = bodies(texts.take(100, 1), model)[0]
    for connection in connections:
        connection.vanish()
    gone = time.perf_counter()
    if told is not None:
        while await asyncio.to_thread(_held, gateway):  # noqa: ASYNC110 - told by no event
            await asyncio.sleep(_POLL_S)
        return (time.perf_counter() - gone) * 1000, f"gauges, {told:.0f} held before"
    one = await Connection.open(gateway.port, key)
    first_s = (await one.chat(next_body)).first_s
    await one.close()
    late = max(0.0, first_s - percentile(alone, 0.5))
    return late * 1000, "no gauges; how much later than alone the next request's first token came"


async def _in_full_flow(gateway: Gateway, connections: list[Connection]) -> None:
    """Wait until some stream and the others wait for a slot, past masking.

    Raises:
        AssertionError: a request was refused.
    """
    until = time.perf_counter() + _SETTLE_S
    await asyncio.wait(
        [connection.begun for connection in connections],
        timeout=_SETTLE_S,
        return_when=asyncio.FIRST_COMPLETED,
    )
    while time.perf_counter() < until:
        held = await asyncio.to_thread(_held, gateway)
        if held == CLIENTS:
            break
        await asyncio.sleep(_POLL_S if held is not None else until - time.perf_counter())
    ended = [connection for connection in connections if connection.ended.done()]
    if ended:
        raise AssertionError(f"{len(ended)} of {CLIENTS} did not last: {ended[0].told()}")


def _held(gateway: Gateway) -> float | None:
    """Requests that hold a slot or wait for one; None where the gateway does not tell."""
    running, waiting = gauge(gateway, RUNNING), gauge(gateway, WAITING)
    return None if running is None else running + (waiting or 0)
