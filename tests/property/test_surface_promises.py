"""Whatever endpoint and place a value comes in by, the model is given none of it (promise 2)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from gateway.engine.port import unrecorded
from tests import echo
from tests.fakes import House

VALUES = tuple(echo.NAMES)
PLACE = "@HERE@"

SCHEMA = {
    "type": "object",
    "title": f"of {PLACE}",
    "description": f"about {PLACE}",
    "properties": {
        "who": {"type": "string", "enum": [PLACE, "nobody"], "default": PLACE},
        "note": {"const": PLACE, "examples": [PLACE], "description": PLACE},
    },
}
PROPERTY = {"type": "object", "properties": {PLACE: {"type": "string"}}, "required": [PLACE]}
FLAT = {"type": "function", "name": "book", "description": f"for {PLACE}", "parameters": SCHEMA}
ARGUMENTS = json.dumps({"who": PLACE, PLACE: [PLACE, {"deep": PLACE}]})
RESPONSES, COMPLETIONS, EMBEDDINGS, CHAT = (
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/chat/completions",
)


def call(**fields: object) -> dict[str, object]:
    return {"type": "function_call", "call_id": "c", "name": "book", "arguments": "{}", **fields}


def output(text: object) -> list[dict[str, object]]:
    return [call(), {"type": "function_call_output", "call_id": "c", "output": text}]


def message(role: str, content: object) -> list[dict[str, object]]:
    return [{"role": role, "content": content}]


def answer_format(schema: object) -> dict[str, object]:
    return {"format": {"type": "json_schema", "name": "n", "description": PLACE, "schema": schema}}


PLACES = {
    "responses: input": (RESPONSES, {"input": f"of {PLACE}"}),
    "responses: instructions": (RESPONSES, {"input": "x", "instructions": f"of {PLACE}"}),
    **{
        f"responses: {role}": (RESPONSES, {"input": message(role, f"of {PLACE}")})
        for role in ("user", "assistant", "system", "developer")
    },
    "responses: input_text": (
        RESPONSES,
        {"input": message("user", [{"type": "input_text", "text": PLACE}])},
    ),
    "responses: output_text": (
        RESPONSES,
        {"input": message("assistant", [{"type": "output_text", "text": PLACE}])},
    ),
    "responses: parts": (
        RESPONSES,
        {
            "input": message(
                "user",
                [{"type": "input_text", "text": PLACE}, {"type": "input_text", "text": PLACE}],
            )
        },
    ),
    "responses: arguments": (RESPONSES, {"input": [call(arguments=ARGUMENTS)]}),
    "responses: arguments that are no JSON": (RESPONSES, {"input": [call(arguments=PLACE)]}),
    "responses: ids": (RESPONSES, {"input": [call(call_id=PLACE, id=PLACE)]}),
    "responses: output": (RESPONSES, {"input": output(PLACE)}),
    "responses: output as JSON": (RESPONSES, {"input": output(ARGUMENTS)}),
    "responses: output in parts": (
        RESPONSES,
        {"input": output([{"type": "input_text", "text": f"of {PLACE}"}])},
    ),
    "responses: tool": (RESPONSES, {"input": "x", "tools": [FLAT]}),
    "responses: properties of a tool": (
        RESPONSES,
        {"input": "x", "tools": [{**FLAT, "parameters": PROPERTY}]},
    ),
    "responses: format": (RESPONSES, {"input": "JSON {}", "text": answer_format(SCHEMA)}),
    "responses: metadata": (RESPONSES, {"input": "x", "metadata": {"subject": PLACE}}),
    "completions: prompt": (COMPLETIONS, {"prompt": f"of {PLACE}"}),
    "completions: JSON": (COMPLETIONS, {"prompt": ARGUMENTS}),
    "completions: prompts": (COMPLETIONS, {"prompt": ["x", PLACE, f"of {PLACE}"]}),
    "completions: echo": (COMPLETIONS, {"prompt": PLACE, "echo": True, "n": 2}),
    "completions: stop": (COMPLETIONS, {"prompt": "x", "stop": [PLACE, f"a {PLACE}"]}),
    "embeddings: input": (EMBEDDINGS, {"input": f"of {PLACE}"}),
    "embeddings: inputs": (EMBEDDINGS, {"input": [PLACE, "x", f"of {PLACE}", ARGUMENTS]}),
    "chat: answers": (
        CHAT,
        {"messages": message("user", f"of {PLACE}"), "n": 3, "logprobs": True, "top_logprobs": 2},
    ),
    "chat: grounded": (
        CHAT,
        {"messages": message("user", PLACE), "response_format": {"type": "grounded"}},
    ),
}


@pytest.fixture(scope="module")
def rooms():
    with TemporaryDirectory() as folder, echo.ward(Path(folder) / "ward") as ward:
        house = House(Path(folder) / "keys.json", pipeline=ward.pipeline)
        with TestClient(house.app) as client:
            client.headers.update(house.headers())
            yield client, ward.engine


def planted(body: object, value: str) -> object:
    return json.loads(json.dumps(body).replace(PLACE, value))


def given_to(engine: echo.EchoEngine) -> str:
    """All that the engine was given, reprs that hide text included; ``again`` holds no text."""
    given = (*engine.asked, *engine.embedded)
    asked = [dataclasses.asdict(dataclasses.replace(each, again=unrecorded)) for each in given]
    for each in asked:
        del each["again"]
    return json.dumps(asked, default=sorted)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_the_model_sees_no_value_wherever_it_stands(rooms, name, stream):
    """Each value in each place of each endpoint: the engine is asked, and was given none of it."""
    client, engine = rooms
    path, body = PLACES[name]
    if stream and path == EMBEDDINGS:
        stream = False
    for value in VALUES:
        engine.asked.clear()
        engine.embedded.clear()
        asked = planted(body, value) | ({"stream": True} if stream else {})
        answer = client.post(path, json=asked)
        assert answer.status_code == 200, answer.text
        seen = given_to(engine)
        assert engine.asked or engine.embedded
        assert value not in seen
        assert value not in json.dumps(json.loads(seen), ensure_ascii=False)


@given(
    places=st.lists(st.sampled_from(sorted(PLACES)), min_size=1, max_size=3),
    value=st.sampled_from(VALUES),
    before=st.text(st.characters(codec="utf-8", exclude_characters='\0"\\'), max_size=6),
)
@hypothesis_settings(max_examples=40)
def test_any_text_around_a_value_changes_nothing(rooms, places, value, before):
    """Whatever stands before a value, it is masked, or the request is refused."""
    client, engine = rooms
    for name in places:
        engine.asked.clear()
        engine.embedded.clear()
        path, body = PLACES[name]
        around = json.dumps(f"{before} ")[1:-1]
        text = json.dumps(body).replace(PLACE, f"{around}{value}")
        answer = client.post(path, content=text.encode())
        assert answer.status_code in {200, 400}
        assert value not in given_to(engine)


NAMES = {
    "a tool's name": {"input": "x", "tools": [{**FLAT, "name": "84720193"}]},
    "the choice of one": {
        "input": "x",
        "tools": [{**FLAT, "name": "84720193"}],
        "tool_choice": {"type": "function", "name": "84720193"},
    },
    "the name of a call": {"input": [call(name="84720193")]},
    "the name of a format": {
        "input": "x",
        "text": {"format": {"type": "json_schema", "name": "84720193", "schema": {}}},
    },
    "a pattern": {
        "input": "x",
        "text": answer_format({"type": "string", "pattern": "84720193"}),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_where_no_placeholder_can_stand_the_request_is_refused(rooms, name):
    """A finding in a name or a pattern: 400 under a parameter of this endpoint, no model."""
    client, engine = rooms
    engine.asked.clear()
    answer = client.post(RESPONSES, json=planted(NAMES[name], "x"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unmaskable_identifier"
    assert answer.json()["error"]["param"].split(".")[0] in {
        "input",
        "tools",
        "tool_choice",
        "text",
    }
    assert "84720193" not in answer.text
    assert not engine.asked
