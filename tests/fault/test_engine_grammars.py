"""Schemas made to break a compiler, and the throwaway process that they break instead."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gateway.domain import Prompt, ResponseFormat
from gateway.engine import wall
from gateway.engine.constrain.compiler import FAILED, Compiler
from gateway.engine.constrain.dialects import HERMES
from gateway.engine.constrain.envelope import source
from gateway.engine.constrain.grammar import Grammars
from gateway.errors import EngineError, RequestError
from tests.conftest import ROOT

WITHIN_S = 15.0  # wall-clock for the whole refusal on a busy machine; the bound itself is 2 s


def schema(value: object) -> str:
    return source(f"start: %json {json.dumps(value)}")


HARD = {
    "many patterns": {
        "type": "object",
        "properties": {
            f"p{n}": {"type": "string", "pattern": f"^(a|b)*a(a|b){{{n % 15}}}{n}$"}
            for n in range(4000)
        },
    },
    "intersections": {
        "allOf": [
            {"type": "string", "pattern": "".join(f"(a|b){{0,{n}}}a(a|b){{{n}}}" for n in (19, 23))}
        ]
        * 8
    },
    "memory": {"type": "array", "items": {"enum": [f"{n}x" * 400 for n in range(60_000)]}},
}


@pytest.mark.parametrize("value", HARD.values(), ids=HARD.keys())
async def test_what_costs_too_much_is_an_answer_in_time(value: object):
    """Whatever a schema does to the process, the gateway has a verdict and goes on."""
    compiler = Compiler()
    try:
        await compiler.warm()
        began = time.monotonic()
        assert await compiler.verdict([schema(value)]) in (FAILED, "cannot", "ok", "contradiction")
        assert time.monotonic() - began < WITHIN_S
        assert await compiler.verdict([schema({"type": "integer"})]) == "ok"
    finally:
        await compiler.aclose()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_dies_or_hangs_fails_the_one_question(how: signal.Signals):
    """The next question meets the next process."""
    compiler = Compiler()
    try:
        await compiler.warm()
        spare = await compiler._spare
        os.kill(spare._process.pid, how)
        assert await compiler.verdict([schema({"type": "integer"})]) == FAILED
        assert await compiler.verdict([schema({"type": "integer"})]) == "ok"
    finally:
        await compiler.aclose()


async def test_verdicts_are_remembered_without_what_they_are_about():
    """The same question costs a process once; the texts are not kept."""
    compiler = Compiler()
    try:
        question = [schema({"const": "a planted value"})]
        assert await compiler.verdict(question) == "ok"
        spare = await compiler._spare
        for _ in range(50):
            assert await compiler.verdict(question) == "ok"
        assert await compiler._spare is spare
        assert "planted" not in repr(compiler._known)
    finally:
        await compiler.aclose()


async def test_many_questions_at_once_start_few_processes():
    """Requests wait their turn; each gets its own verdict."""
    compiler = Compiler()
    try:
        questions = [[schema({"type": "integer", "minimum": n, "maximum": 3})] for n in range(8)]
        verdicts = await asyncio.gather(*map(compiler.verdict, questions))
        assert verdicts == ["ok"] * 4 + ["contradiction"] * 4
    finally:
        await compiler.aclose()


async def test_no_process_no_grammar(monkeypatch: pytest.MonkeyPatch):
    """A compiler that cannot be started is our fault, not the request's."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    compiler = Compiler()
    with pytest.raises(EngineError):
        await compiler.verdict([schema({})])
    await compiler.aclose()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 3}, "No value satisfies"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "No value satisfies"),
        ({"allOf": [{"pattern": "^a+$"}, {"pattern": "^b$"}], "type": "string"}, "No value"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, "oneOf"),
    ],
)
async def test_refusals_of_the_compiler_name_no_text(value: dict[str, object], message: str):
    """A contradiction or an exclusive choice that cannot be decided is a 400 with its parameter."""
    grammars = Grammars()
    properties = {"type": "object", "properties": {"planted": value}, "required": ["planted"]}
    form = ResponseFormat("json_schema", name="a", schema=properties)
    try:
        with pytest.raises(RequestError, match=message) as refused:
            await grammars.grammar_for(
                Prompt((), response_format=form), frozenset(["<A_1>"]), HERMES
            )
        assert refused.value.param == "response_format"
        assert "planted" not in refused.value.message
    finally:
        await grammars.aclose()


BEHIND_THE_WALL = """
import sys; sys.path.insert(0, sys.argv[1])
import json, os
from gateway.engine import wall
from gateway.engine.constrain import envelope, vocabulary
stands = wall.raise_wall()
pieces = [*(bytes([b]) for b in range(256)), b"<end>", *(b"%d" % n for n in range(20000))]
words = vocabulary.Vocabulary(pieces, control=(), ends=(256,), tokenize=list)
rules = 'start: %json {"type": "object", "properties": {"n": {"type": "integer"}}}'
answer = words.constraint(envelope.write(envelope.Envelope(rules)))
taken = all(answer.allows(b) and any(answer.mask()) and answer.accept(b) for b in b'{"n": 81}')
print(json.dumps([stands, taken, answer.may_end, "socket" in sys.modules]))
"""


def test_a_vocabulary_and_its_masks_need_nothing_from_behind_the_wall():
    """Imported before it, used behind it: no file and no socket is asked for."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", BEHIND_THE_WALL, str(ROOT)],
        capture_output=True,
        timeout=60,
        check=True,
        env={},
    )
    stands, taken, may_end, sockets = json.loads(done.stdout)
    assert stands.startswith("seccomp")
    assert taken
    assert may_end
    assert not sockets


def test_the_throwaway_process_is_walled_in():
    """It says so before it takes a grammar; without a wall it takes none."""
    boot = "import sys; sys.path.insert(0, sys.argv[1]); "
    boot += "from gateway.engine import wall; from gateway.engine.constrain import compiling; "
    refuse = boot + "wall.raise_wall = lambda: (_ for _ in ()).throw(wall.WallError()); "
    for code, said in ((boot, b"+ok"), (refuse, b"!")):
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", code + "compiling.main()", str(ROOT), "required"],
            input=json.dumps([schema({})]).encode(),
            capture_output=True,
            timeout=60,
            check=True,
            env={},
        )
        assert done.stdout == said
    assert wall.NONE == "none"
