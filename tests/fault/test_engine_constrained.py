"""Answers held to a form, by a real child that would write noise: JSON, calls, grounded words."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest

from gateway.domain import Chunk, FinishReason, Message, Prompt, ResponseFormat, Sampling, Tool
from gateway.engine.llama import Limits, LlamaEngine, ModelSpec
from gateway.engine.port import Generation
from gateway.errors import RequestError, UnsupportedParameterError
from tests.tinymodel import write_tiny_gguf

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "dose": {"type": "integer", "minimum": 1, "maximum": 500},
        "form": {"enum": ["tablet", "drops"]},
        "when": {"type": "array", "items": {"enum": ["am", "pm"]}, "maxItems": 2},
    },
    "required": ["name", "dose", "form", "when"],
    "additionalProperties": False,
}
WEATHER = Tool("look_up", "Looks a drug up.", SCHEMA)
NOTE = (
    "Patient <PERSON_1> was seen on 2031-05-03 with code J18.9 and takes 81 mg of aspirin. "
    'She said "no pain at all" and was sent home.'
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("m")
    return write_tiny_gguf(folder / "tiny.gguf", context=4096, never_ends=True)


def spec(path: Path) -> ModelSpec:
    return ModelSpec("m", path, hashlib.sha256(path.read_bytes()).hexdigest())


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine([spec(path)], limits=Limits(threads=1))
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


def said(text: str = "Hello", *, kind="json_schema", schema=SCHEMA, **more) -> Prompt:
    sampling = Sampling(max_tokens=400, temperature=more.pop("temperature", 1.0), seed=4, **more)
    wanted = ResponseFormat(kind, "answer", schema=schema if kind == "json_schema" else None)
    return Prompt((Message("user", text),), response_format=wanted, sampling=sampling)


def calling(choice: str | None, *, parallel: bool | None = None, seed: int = 4) -> Prompt:
    return Prompt(
        (Message("user", "Look aspirin up."),),
        tools=(WEATHER,),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        sampling=Sampling(max_tokens=600, temperature=1.0, seed=seed),
    )


async def answers(engine: LlamaEngine, prompt: Prompt, known=frozenset()) -> list[Chunk]:
    """The last chunk of each answer, with all of its text."""
    texts: dict[int, str] = {}
    lasts: dict[int, Chunk] = {}
    async for chunk in engine.generate(Generation("m", prompt, 60, placeholders=known)):
        texts[chunk.index] = texts.get(chunk.index, "") + chunk.text
        if chunk.finish is not None:
            lasts[chunk.index] = chunk
    return [
        Chunk(texts[i], lasts[i].tool_calls, lasts[i].finish, lasts[i].usage) for i in sorted(texts)
    ]


async def test_noise_held_to_a_schema_is_what_the_schema_says(tiny: Path):
    """Greedy, drawn and penalised, one and several at once: valid, and ended by itself."""
    asked = [
        said(temperature=0),
        said(n=4),
        said(temperature=1.5, frequency_penalty=1.0),
        said("and again", temperature=0.7),
    ]
    async with running(tiny) as engine:
        found = await asyncio.gather(*(answers(engine, prompt) for prompt in asked * 2))
    for answer in (one for several in found for one in several):
        assert answer.finish is FinishReason.STOP
        jsonschema.validate(json.loads(answer.text), SCHEMA)
    assert [[a.text for a in several] for several in found[:4]] == [
        [a.text for a in several] for several in found[4:]
    ]
    assert len({answer.text for answer in found[1]}) == 4


async def test_a_masked_value_may_stand_where_the_schema_is_narrow(tiny: Path):
    """Forced there by an enumeration of one: a number's place holds the placeholder's text."""
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 7, "maximum": 7}},
        "required": ["age"],
        "additionalProperties": False,
    }
    async with running(tiny) as engine:
        seen = set()
        for seed in range(30):
            prompt = said(schema=schema, n=1)
            prompt = Prompt(
                prompt.messages,
                response_format=prompt.response_format,
                sampling=Sampling(max_tokens=60, temperature=1.8, seed=seed),
            )
            (answer,) = await answers(engine, prompt, frozenset({"<AGE_1>"}))
            seen.add(json.dumps(json.loads(answer.text)["age"]))
        assert seen == {"7", '"<AGE_1>"'}


async def test_any_json_is_some_json(tiny: Path):
    """json_object: an object, whole."""
    async with running(tiny) as engine:
        (answer,) = await answers(engine, said(kind="json_object", temperature=0.5))
    if answer.finish is FinishReason.STOP:
        assert isinstance(json.loads(answer.text), dict)
    else:
        assert answer.finish is FinishReason.LENGTH
        assert answer.text.startswith("{")


async def test_a_tool_that_must_be_called_is_called(tiny: Path):
    """Required or named: a call and no text; its arguments follow its schema."""
    async with running(tiny) as engine:
        for choice in ("required", "function:look_up"):
            (answer,) = await answers(engine, calling(choice, parallel=False))
            assert answer.text == ""
            assert answer.finish is FinishReason.TOOL_CALLS
            assert [call.name for call in answer.tool_calls] == ["look_up"]
            jsonschema.validate(json.loads(answer.tool_calls[0].arguments), SCHEMA)


async def test_a_tool_that_may_not_be_called_is_not(tiny: Path):
    """none: the answer is its text."""
    async with running(tiny) as engine:
        (answer,) = await answers(engine, calling("none"))
        assert answer.tool_calls == ()
        assert answer.text
        assert answer.finish is not FinishReason.TOOL_CALLS


async def test_a_grounded_answer_has_no_number_that_the_prompt_has_not(tiny: Path):
    """Of noise: every digit, placeholder and quotation stands in the note, in whole."""
    async with running(tiny) as engine:
        prompt = said(NOTE, kind="grounded", temperature=1.2, n=8)
        found = await answers(engine, prompt, frozenset({"<PERSON_1>"}))
    for answer in found:
        for run in re.findall(r"[^\W_]*\d[\w.-]*\w|\d", answer.text):
            assert run in ("1", "2031-05-03", "J18.9", "81", "81mg", "PERSON_1"), run
        assert "<" not in answer.text.replace("<PERSON_1>", "")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"not": {}},
        {"$ref": "https://example.org/schema.json"},
        {"type": "string", "pattern": "(a+)+$(?=b)"},
    ],
)
async def test_a_schema_that_cannot_be_held_is_refused_and_the_child_lives(tiny: Path, schema):
    """A 400 that names the parameter; the next request is answered by the same child."""
    async with running(tiny) as engine:
        child = engine._models["m"].keeper.child
        with pytest.raises(RequestError) as caught:
            await answers(engine, said(schema=schema))
        assert caught.value.param == "response_format"
        await answers(engine, said())
        assert engine._models["m"].keeper.child is child


async def test_an_answer_that_only_quotes_calls_no_tool(tiny: Path):
    """Two forms at once are refused, not ignored."""
    prompt = calling("auto")
    quoting = Prompt(prompt.messages, prompt.tools, response_format=ResponseFormat("extractive"))
    async with running(tiny) as engine:
        with pytest.raises(UnsupportedParameterError):
            await answers(engine, quoting)


async def test_who_leaves_while_a_grammar_compiles_leaves_no_trace(tiny: Path):
    """The slot is free, and the next is answered."""
    async with running(tiny) as engine:
        await answers(engine, said())
        tasks = [asyncio.create_task(answers(engine, said(f"Hello {n}"))) for n in range(20)]
        await asyncio.sleep(0.03)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        (answer,) = await answers(engine, said())
        assert answer.finish is FinishReason.STOP
        assert (engine.running, engine.waiting) == (0, 0)
