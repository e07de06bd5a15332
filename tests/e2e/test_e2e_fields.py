"""Promise 2: a value planted in each field of a request reaches no model and comes back nowhere."""

from __future__ import annotations

import copy
import json

import httpx
import pytest

from tests.planted import EMAIL, leaks

BASE = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "Please answer."},
        {
            "role": "assistant",
            "content": "I look it up.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"q": "x", "n": 1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"a": ["b"]}'},
        {
            "role": "user",
            "content": [{"type": "text", "text": '{"k":'}, {"type": "text", "text": '"v"}'}],
        },
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "Finds.",
                "parameters": {
                    "type": "object",
                    "title": "T",
                    "description": "D",
                    "properties": {
                        "q": {"type": "string", "description": "Q", "enum": ["x"]},
                        "n": {"type": "integer", "default": 1, "examples": [1]},
                    },
                    "required": ["q"],
                },
            },
        }
    ],
    "tool_choice": "auto",
    "stop": ["END"],
    "metadata": {"purpose": "treatment"},
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "shape",
            "description": "S",
            "schema": {"type": "object", "properties": {"k": {"const": "v"}}},
        },
    },
}  # fmt: skip


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Every place of a JSON value: each leaf, and each key of an object."""
    if isinstance(value, dict):
        own = [(*path, ("key", key)) for key in value]
        return own + [p for k, v in value.items() for p in _paths(v, (*path, k))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in _paths(v, (*path, i))]
    return [path]


def _planted(path: tuple[object, ...]) -> dict[str, object]:
    body = copy.deepcopy(BASE)
    *way, last = path
    place: object = body
    for step in way:
        place = place[step]  # type: ignore[index]
    if isinstance(last, tuple):
        place[EMAIL] = place.pop(last[1])  # type: ignore[index,attr-defined]
    else:
        place[last] = EMAIL  # type: ignore[index]
    return body


def _name(path: tuple[object, ...]) -> str:
    return ".".join(f"{{{s[1]}}}" if isinstance(s, tuple) else str(s) for s in path)


@pytest.mark.parametrize("path", _paths(BASE), ids=_name)
def test_no_field_carries_a_value_to_the_model(gateway, upstream, path):
    """An e-mail address as this field's value or key is masked, or the request is refused."""
    before = len(upstream.seen)
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=_planted(path),
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )
    # The upstream echoes the last message: planted there, what comes back is no JSON any more.
    assert answer.status_code in {200, 400, 404} or answer.json()["error"]["code"] in {
        "restore_failed",
        "engine_failed",
    }
    for seen in upstream.seen[before:]:
        assert leaks(seen.encode(), [EMAIL]) == []
    if answer.status_code != 200:
        assert leaks(answer.content, [EMAIL]) == []
        assert answer.json()["error"]["code"]


def test_the_whole_request_without_a_planted_value_is_answered(gateway, upstream):
    """The request that the cases above vary is a good one: their refusals are of the value."""
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=BASE,
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"k": "v"}
