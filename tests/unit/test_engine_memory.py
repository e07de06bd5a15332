"""What a model is said to take, against what loading it takes; and who goes when room is short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.engine.gguf_header import read_header
from gateway.engine.memory import (
    MIB,
    Estimate,
    budget_bytes,
    check_fits,
    estimate,
    machine_bytes,
)
from gateway.engine.shelf import Loaded, MemoryRefusedError, make_room
from tests import sizedmodel
from tests.sizedmodel import write_adapter, write_model

ROOT = Path(__file__).parents[2]
# A process of its own, as the engine's child: it loads, computes a full context, and tells its RSS.
LOAD = """
import ctypes, json, sys
from gateway.engine.worker import bind_library
bind_library()
import llama_cpp.llama_cpp as llama
said = []
log = llama.llama_log_callback(lambda level, text, data: said.append(text.decode()))
llama.llama_log_set(log, ctypes.c_void_p(0))
from gateway.engine.batch import Row
from gateway.engine.rows import Rows
path, size, ubatch, sequences = sys.argv[1], *map(int, sys.argv[2:])
model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
wanted = llama.llama_context_default_params()
wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = size * sequences, ubatch, ubatch
wanted.n_seq_max = wanted.n_outputs_max = sequences
wanted.kv_unified, wanted.flash_attn_type, wanted.n_threads = False, 0, 1
context = llama.llama_init_from_model(model, wanted)
batch = Rows(ubatch)
for stream in range(sequences):
    for start in range(0, size, ubatch):
        rows = [Row(n % 200, n, stream, n == size - 1) for n in range(start, start + ubatch)]
        assert llama.llama_decode(context, batch.fill(rows)) == 0
rss = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
sizes = {}
for line in said:
    for name in ("KV buffer", "compute buffer"):
        if f"{name} size" in line:
            sizes[name] = float(line.split("=")[1].split()[0])
print(json.dumps({"rss": rss * 1024, **sizes}))
"""


def header_of(path: Path):
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


@pytest.mark.parametrize(
    ("shape", "context", "ubatch", "sequences"),
    [
        (sizedmodel.ABOUT_1M, 512, 256, 8),
        (sizedmodel.ABOUT_1M, 2048, 256, 4),
        (sizedmodel.ABOUT_10M, 1024, 256, 4),
    ],
)
def test_the_estimate_is_what_loading_takes(tmp_path: Path, shape, context, ubatch, sequences):
    """Never less than the resident memory of the process, and at most 15 MiB more."""
    path = write_model(tmp_path / "m.gguf", shape)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), str(context), str(ubatch), str(sequences)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    took = json.loads(done.stdout)
    told = estimate(header_of(path), context, ubatch, sequences=sequences, outputs=sequences)
    without = told.total - told.vectors  # nobody has asked for any
    assert took["rss"] <= without <= took["rss"] + 15 * MIB
    assert took["KV buffer"] <= told.kv / MIB <= took["KV buffer"] * 1.1
    assert took["compute buffer"] * 0.98 <= told.compute / MIB <= took["compute buffer"] * 1.75


def test_an_adapter_takes_its_weights_in_the_child_of_its_base(tmp_path: Path):
    """No cache, no process of its own."""
    path = write_adapter(tmp_path / "a.gguf", sizedmodel.ABOUT_1M)
    header = header_of(path)
    assert estimate(header, 4096, 512) == Estimate(header.weights_bytes, 0, 0, 0)


def test_a_model_that_does_not_fit_is_refused_with_the_numbers():
    """Each part is named, so that an operator sees what to change."""
    need = Estimate(900 * MIB, 100 * MIB, 20 * MIB, 50 * MIB)
    check_fits("m", need, 1070 * MIB)
    with pytest.raises(MemoryRefusedError) as refused:
        check_fits("m", need, 1069 * MIB)
    for number in ("1070", "900 weights", "100 cache", "20 computing", "50 else", "1069"):
        assert number in refused.value.message


# --- the budget -----------------------------------------------------------------------------------


def test_the_budget_is_the_setting_or_three_quarters_of_the_machine():
    """MiB as set; 0 asks the machine."""
    assert budget_bytes(7, machine=lambda: 1) == 7 * MIB
    assert budget_bytes(0, machine=lambda: 400) == 300


def test_the_least_limit_of_the_groups_around_a_process_counts(tmp_path: Path):
    """Its own group's or a parent's; "max" and groups of version 1 limit nothing."""
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    inner = groups / "a.slice" / "b.scope"
    inner.mkdir(parents=True)
    whole = machine_bytes(own, groups)
    assert whole > 2**20
    own.write_text("3:memory:/other\n0::/a.slice/b.scope\n")
    (inner / "memory.max").write_text("max\n")
    assert machine_bytes(own, groups) == whole
    (inner / "memory.max").write_text("1000000\n")
    assert machine_bytes(own, groups) == 1_000_000
    (groups / "a.slice" / "memory.max").write_text("900000\n")
    assert machine_bytes(own, groups) == 900_000
    own.write_text("0::/../../outside\n")
    assert machine_bytes(own, groups) == whole


# --- who goes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "loaded", "gone"),
    [
        (40, [], ()),
        (40, [("a", 60, 1, False)], ()),
        (41, [("a", 60, 1, False)], ("a",)),
        (41, [("a", 60, 1, True)], None),
        (30, [("a", 40, 2, False), ("b", 40, 1, False)], ("b",)),
        (30, [("a", 40, 2, False), ("b", 40, 1, True)], ("a",)),
        (90, [("a", 40, 2, False), ("b", 40, 1, False)], ("b", "a")),
        (90, [("a", 40, 2, False), ("b", 40, 1, True)], None),
        (50, [("a", 10, 1, False), ("b", 80, 2, False)], ("b",)),
        (100, [("a", 1, 1, False)], ("a",)),
    ],
)
def test_what_must_go_goes(wanted: int, loaded, gone):
    """Of a budget of 100: idle ones, the one used longest ago first, none in vain."""
    assert make_room(wanted, [Loaded(*one) for one in loaded], 100) == gone


def test_what_never_fits_is_refused_and_does_not_wait():
    """Whatever is loaded."""
    with pytest.raises(MemoryRefusedError):
        make_room(101, [Loaded("a", 60, 1, True)], 100)
