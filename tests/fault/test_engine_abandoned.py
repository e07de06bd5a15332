"""A step that has become for nobody ends at once, and leaves nothing wrong behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.randommodel import M10, model

# In a process of its own, as the child is: native code and a thread that cancels meanwhile.
PROGRAM = """
import json, os, sys, threading, time
from gateway.engine import wire, worker
worker.bind_library()
from gateway.engine import native
from gateway.engine.batch import Batcher
from gateway.engine.streams import Streams
from gateway.engine.tokenizing import Desk
native.silence()
load = wire.Load(context=4096, streams=2, threads=1, form=None, abstention="", separator="")
with open(sys.argv[1], "rb") as file:
    model = native.Model([native.open_stream(os.dup(file.fileno()))], load)
desk = Desk(model, load)
batcher = Batcher(model, Streams(2, 600, time.monotonic), time.monotonic, time.process_time)

def ask(identity, text):
    turns = (wire.Turn("user", text),)
    wanted = wire.Generate(id=identity, turns=turns, max_tokens=8, temperature=0.0, scope="s")
    batcher.add(desk.job(wanted))

def finish(identity):
    text, cached = "", 0
    for _ in range(1000):
        step = batcher.step()
        text += "".join(said.text for said in step.said if said.id == identity)
        for end in step.ended:
            if end.id == identity:
                return text, end.finish, end.cached_tokens
    raise AssertionError

evaluate, whole = model.evaluate, []
def watched(rows, adapter):
    whole.append(evaluate(rows, adapter))
    return whole[-1]
model.evaluate = watched

def step_without_asker(identity):
    over = threading.Event()
    def leave():
        while not over.is_set():
            batcher.unwanted(identity)
    thread = threading.Thread(target=leave)
    thread.start()
    batcher.step()
    over.set()
    thread.join()

note = "She takes aspirin. " * 150
results = {"abandoned": 0, "answers": []}
# Once is enough, but the other thread must have a processor in those milliseconds.
identity, until = 0, time.monotonic() + 60
while not (identity >= 20 and results["abandoned"]) and time.monotonic() < until:
    identity += 1
    text = f"{identity}. {note}"  # begins anew: a prompt that is known is a step of one token
    ask(identity, text)
    whole.clear()
    step_without_asker(identity)
    results["abandoned"] += whole.count(False)
    batcher.cancel(identity)
    cancelled = finish(identity)
    assert cancelled[1] == "cancelled", cancelled
ask(100_000, text)
results["answers"].append(finish(100_000))
model.wipe()
fresh = Batcher(model, Streams(2, 600, time.monotonic), time.monotonic, time.process_time)
batcher = fresh
ask(100_001, text)
results["answers"].append(finish(100_001))

# Of two who asked only one has left: the step is still for the other.
ask(100_002, "Others are here, too.")
ask(100_003, "Others are here.")
whole.clear()
step_without_asker(100_002)
results["shared"] = whole
print(json.dumps(results))
"""


def test_a_step_for_nobody_is_abandoned_and_a_shared_one_is_not(tmp_path: Path, root: Path):
    """After it the same prompt is answered as by a context that has seen nothing."""
    path = model(M10, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    told = json.loads(done.stdout)
    assert told["abandoned"] > 0
    (after, finish, _), (fresh, _, cached) = told["answers"]
    assert (after, finish, cached) == (fresh, "length", 0)
    assert told["shared"] == [True]
