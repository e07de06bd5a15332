"""Several answers and log-probabilities of ``/v1/chat/completions``, over a real pipeline."""

from __future__ import annotations

import pytest
from litestar.testing import AsyncTestClient

from tests import echo
from tests.echo import Unnumbered, overlay
from tests.fakes import House
from tests.unit.test_api_routes import CHAT, ask, events

NAME = "Zara Quillfeather"
TEXT = f"of {NAME}"
MASKED = "of <PERSON_1>"


async def test_each_answer_is_a_choice(client):
    """In their order, with the tokens of all of them and the prompt's once."""
    body = (await client.post(CHAT, json=ask(TEXT, n=3))).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    said = [choice["message"]["content"] for choice in body["choices"]]
    assert said == [TEXT, f"1: {TEXT}", f"2: {TEXT}"]
    assert body["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 15,
        "total_tokens": 22,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


async def test_each_choice_of_a_stream_begins_and_ends(client):
    """Every chunk is of one choice; each has a role, its text, and one finish with the receipt."""
    options = {"include_usage": True}
    answer = await client.post(CHAT, json=ask(TEXT, n=3, stream=True, stream_options=options))
    *chunks, usage, done = events(answer.text)
    assert done == "[DONE]"
    assert usage["usage"]["total_tokens"] == 22
    choices = [chunk["choices"][0] for chunk in chunks]
    for index in range(3):
        first, *middle, last = [choice for choice in choices if choice["index"] == index]
        assert first["delta"] == {"role": "assistant", "content": ""}
        text = "".join(choice["delta"]["content"] for choice in middle)
        assert text == (f"{index}: {TEXT}" if index else TEXT)
        assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    ends = [chunk for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert {end["cloister"]["receipt_id"] for end in ends} == {answer.headers["x-receipt-id"]}
    assert len(ends) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_have_openais_shape(client, stream):
    """Of the masked tokens, with exact bytes; what JSON cannot write is a number that it can."""
    asked = ask(TEXT, logprobs=True, top_logprobs=2, stream=stream)
    answer = await client.post(CHAT, json=asked)
    chunks = events(answer.text)[:-1] if stream else [answer.json()]
    told = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert all(each["refusal"] is None for each in told)
    content = [token for each in told for token in each["content"]]
    assert "".join(token["token"] for token in content) == MASKED
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == MASKED
    assert content[0] == {
        "token": "of <",
        "logprob": -0.5,
        "bytes": list(b"of <"),
        "top_logprobs": [
            {"token": "of <", "logprob": -0.5, "bytes": list(b"of <")},
            {"token": "\ufffd", "logprob": -9999.0, "bytes": [255]},
        ],
    }
    assert NAME not in str(told)


async def test_a_verdict_names_its_choice(tmp_path):
    """Of several answers it is told which one a check found wanting."""
    looking = overlay("look", "require: [{stage: compliance, action: annotate}]")
    with echo.ward(tmp_path / "ward", looking, guards={"compliance": Unnumbered()}) as ward:
        house = House(tmp_path / "keys.json", pipeline=ward.pipeline)
        async with AsyncTestClient(house.app) as client:
            answer = await client.post(CHAT, json=ask(TEXT, n=2), headers=house.headers())
    (verdict,) = answer.json()["cloister"]["verdicts"]
    assert (verdict["choice"], verdict["passed"]) == (1, False)


async def test_busy_says_for_how_long(client):
    """Retry-After is what the engine said, not a constant."""
    answer = await client.post(CHAT, json=ask("BUSY 23"))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "23"
