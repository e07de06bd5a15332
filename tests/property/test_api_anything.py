"""Any bytes at any address give an answer in our shape that quotes nothing of them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from gateway.api import schemas_embeddings, schemas_legacy, schemas_responses
from gateway.api.decode import check_structure, decode_body
from gateway.api.prompts import to_prompt
from gateway.api.schemas import PUBLISHED, ChatBody, decode_chat
from gateway.errors import RequestError
from tests.fakes import House

PLANTED = "Ottoline078051120"
POSTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/deidentify",
)

NAMES = sorted(
    PUBLISHED
    | schemas_embeddings.PUBLISHED
    | schemas_legacy.PUBLISHED
    | schemas_responses.PUBLISHED
)

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(PLANTED),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.just(PLANTED), inner, max_size=3)
    ),
    max_leaves=12,
)
_bodies = st.dictionaries(st.sampled_from(NAMES) | st.just(PLANTED), _values)


@pytest.fixture(scope="module")
def house():
    with TemporaryDirectory() as folder:
        yield House(Path(folder) / "api-keys.json")


@pytest.fixture(scope="module")
def client(house):
    with TestClient(house.app) as client:
        client.headers.update(house.headers())
        yield client


def check_refusal(answer) -> None:
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert PLANTED not in answer.text
    assert all(PLANTED not in value for value in answer.headers.values())


@given(raw=st.binary(max_size=200), path=st.sampled_from(POSTS))
@example(raw=PLANTED.encode(), path=POSTS[0])
@example(raw=b'{"' + PLANTED.encode(), path=POSTS[1])
@hypothesis_settings(max_examples=150)
def test_any_bytes_are_answered(client, raw, path):
    """Bytes that are no request are a 4xx in OpenAI's shape."""
    check_refusal(client.post(path, content=raw))


@given(body=_bodies, path=st.sampled_from(POSTS))
@hypothesis_settings(max_examples=200)
def test_any_json_of_published_names_is_answered_without_quoting_it(client, body, path):
    """A value, or a key, in any place is not in the refusal."""
    answer = client.post(path, content=json.dumps(body).encode())
    if answer.status_code != 200:
        check_refusal(answer)


@given(path=st.text(st.characters(codec="utf-8"), min_size=1).map(quote))
@hypothesis_settings(max_examples=100)
def test_any_path_is_answered(client, path):
    """An address that does not exist is a 404 (or 405) in OpenAI's shape."""
    for prefix in ("/", "/v1/models/", "/v1/receipts/", "/v1/"):
        answer = client.get(f"{prefix}x{PLANTED}{path}")
        check_refusal(answer)


def _places(value: object, path: tuple[object, ...] = ()):
    """The path of every value in a body."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


FULL = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {
            "role": "assistant",
            "content": "a",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "seed": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {}, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": {}, "strict": True},
    },
    "metadata": {"purpose": "treatment", "matter": "matter-7", "subject": "s"},
}
WRONG = (PLANTED, f"{PLANTED} \u00e9", [PLANTED], {PLANTED: PLANTED}, 78051120.5, None)


def _planted(path: tuple[object, ...], wrong: object) -> dict[str, object]:
    body = json.loads(json.dumps(FULL))
    *parents, last = path
    place = body
    for step in parents:
        place = place[step]
    place[last] = wrong
    return body


def test_a_wrong_value_in_any_place_is_not_quoted():
    """Every field of a full request in turn gets a value of a wrong type, or none."""
    refusals = [
        refusal
        for path in _places(FULL)
        for wrong in WRONG
        if path and (refusal := _refusal(json.dumps(_planted(path, wrong)).encode()))
    ]
    assert len(refusals) > len(list(_places(FULL)))
    for error in refusals:
        told = f"{error.message} {error.param} {error!r} {error.args}"
        assert PLANTED not in told
        assert "78051120" not in told
        assert error.__suppress_context__ or error.__context__ is None


def _refusal(raw: bytes) -> RequestError | None:
    try:
        to_prompt(decode_chat(raw, depth_limit=64))
    except RequestError as error:
        return error
    return None


def test_the_full_request_is_a_request():
    """What the test above breaks is whole before."""
    prompt = to_prompt(decode_chat(json.dumps(FULL).encode(), depth_limit=64))
    assert len(prompt.messages) == 4


_nested = st.recursive(st.just(0), lambda inner: st.lists(inner, max_size=3), max_leaves=30)


def _depth(value: object) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(value=_nested, limit=st.integers(0, 8), noise=st.text(st.sampled_from('[]{}"\\ab')))
@hypothesis_settings(max_examples=200)
def test_depth_is_counted_exactly(value, limit, noise):
    """A body is refused if and only if it is deeper than the limit; strings do not count."""
    deep = _depth(value) + 1 > limit
    raw = json.dumps([noise, value, noise]).encode()
    try:
        check_structure(raw, limit)
    except RequestError:
        assert deep
    else:
        assert not deep


_DECODER = msgspec.json.Decoder(ChatBody)


@given(text=st.text())
@example(text="\\u0000")
@example(text="\u2028\x7f")
@hypothesis_settings(max_examples=200)
def test_any_text_without_nul_arrives_as_it_was_written(text):
    """Strictness refuses no ordinary text, escaped or not."""
    for escaped in (True, False):
        raw = json.dumps(
            {"messages": [{"role": "user", "content": text}]}, ensure_ascii=escaped
        ).encode()
        if "\0" in text:
            with pytest.raises(RequestError):
                decode_body(raw, _DECODER, PUBLISHED, depth_limit=64)
        else:
            body = decode_body(raw, _DECODER, PUBLISHED, depth_limit=64)
            assert body.messages[0].content == text
