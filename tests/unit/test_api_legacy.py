"""``/v1/completions`` over a real pipeline and an engine in memory."""

from __future__ import annotations

import pytest

from tests.unit.test_api_routes import error_of, events

PATH = "/v1/completions"
NAME = "Zara Quillfeather"
TEXT = f"of {NAME}"
MASKED = "of <PERSON_1>"


async def test_a_text_is_continued_without_a_template(client, ward):
    """One raw user message, sixteen tokens unless more are asked for; masked, then restored."""
    answer = await client.post(PATH, json={"prompt": TEXT})
    (asked,) = ward.engine.asked
    assert asked.prompt.raw
    assert [m.content for m in asked.prompt.messages] == [MASKED]
    assert asked.prompt.sampling.max_tokens == 16
    body = answer.json()
    receipt = answer.headers["x-receipt-id"]
    assert body["id"] == f"cmpl-{receipt}"
    assert (body["object"], body["model"]) == ("text_completion", "house/free")
    assert body["choices"] == [
        {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]
    assert body["usage"]["total_tokens"] == 12
    assert body["cloister"] == {"receipt_id": receipt, "verdicts": [], "receipt_ids": [receipt]}


async def test_every_parameter_reaches_the_engine(client, ward):
    """Sampling, stops and the number of answers are those of chat."""
    body = {
        "prompt": TEXT,
        "max_tokens": 3,
        "n": 2,
        "stop": [NAME],
        "seed": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logit_bias": {"4": -100},
        "logprobs": 5,
        "suffix": "",
        "best_of": 1,
    }
    assert (await client.post(PATH, json=body)).status_code == 200
    prompt = ward.engine.asked[0].prompt
    assert prompt.stop == ("<PERSON_1>",)
    drawn = prompt.sampling
    assert (drawn.max_tokens, drawn.n, drawn.seed, drawn.temperature) == (3, 2, 5, 0.5)
    assert (drawn.presence_penalty, drawn.frequency_penalty) == (1.0, -1.0)
    assert (drawn.logit_bias, drawn.logprobs, drawn.top_p) == (((4, -100.0),), 5, 0.9)


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_are_several_requests(client, ward, stream):
    """Choices in their order, an intent and an outcome for each, and all receipts in the answer."""
    prompts = [TEXT, "of Ottoline Brack"]
    answer = await client.post(PATH, json={"prompt": prompts, "n": 2, "stream": stream})
    assert len(ward.engine.asked) == 2
    if stream:
        *chunks, done = events(answer.text)
        assert done == "[DONE]"
        texts = ["", "", "", ""]
        for chunk in chunks:
            texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
        ends = [c for c in chunks if c["choices"][0]["finish_reason"]]
        assert [c["choices"][0]["index"] for c in ends] == [0, 1, 2, 3]
        receipts = ends[-1]["cloister"]["receipt_ids"]
    else:
        body = answer.json()
        texts = [choice["text"] for choice in body["choices"]]
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
        assert body["usage"]["prompt_tokens"] == 14
        receipts = body["cloister"]["receipt_ids"]
    assert texts == [TEXT, f"1: {TEXT}", prompts[1], f"1: {prompts[1]}"]
    assert len(set(receipts)) == 2
    assert answer.headers["x-receipt-id"] == receipts[0]
    for receipt in receipts:
        record = (await client.get(f"/v1/receipts/{receipt}")).json()
        assert [each["event"] for each in record["records"]] == ["intent", "outcome"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_is_the_callers_own_text(client, stream):
    """It stands before each answer, as it was written and whether or not it may be restored."""
    body = {"prompt": f"<PERSON_7> {TEXT}", "echo": True, "n": 2, "stream": stream}
    answer = await client.post(PATH, json=body)
    if stream:
        texts = ["", ""]
        for chunk in events(answer.text)[:-1]:
            texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    else:
        texts = [choice["text"] for choice in answer.json()["choices"]]
    whole = f"<PERSON_7> {TEXT}"
    assert texts == [whole + whole, f"{whole}1: {whole}"]


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_have_the_older_shape(client, stream):
    """Tokens of the masked answer with their offsets in it, and the likeliest ones of each."""
    answer = await client.post(PATH, json={"prompt": TEXT, "logprobs": 2, "stream": stream})
    told = [
        chunk["choices"][0]["logprobs"]
        for chunk in (events(answer.text)[:-1] if stream else [answer.json()])
        if chunk["choices"][0]["logprobs"]
    ]
    tokens = [token for each in told for token in each["tokens"]]
    offsets = [offset for each in told for offset in each["text_offset"]]
    assert "".join(tokens) == MASKED
    assert offsets == [0, 4, 8, 12]
    assert told[0]["token_logprobs"][0] == -0.5
    assert told[0]["top_logprobs"][0] == {"of <": -0.5, "\ufffd": -9999.0}


async def test_a_stream_counts_its_tokens_when_asked(client):
    """Of all prompts, in a chunk without choices."""
    body = {"prompt": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = events((await client.post(PATH, json=body)).text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 24


async def test_a_later_prompt_that_fails_ends_the_stream(client):
    """What was answered stays answered; then there is an error event and no [DONE]."""
    answer = await client.post(PATH, json={"prompt": ["first", "BUSY 9"], "stream": True})
    *chunks, last = events(answer.text)
    assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "stop"
    assert last["error"]["code"] == "busy"
    assert "[DONE]" not in answer.text


async def test_busy_says_for_how_long(client):
    """Retry-After is what the engine said."""
    answer = await client.post(PATH, json={"prompt": "BUSY 17"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "17"


REFUSED = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", ""]}, "prompt"),
    ({"prompt": ["a"] * 17}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": [[1, 2]]}, "prompt"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "logprobs": 6}, "logprobs"),
    ({"prompt": "a", "logprobs": True}, "logprobs"),
    ({"prompt": "a", "logprobs": 0, "echo": True}, "echo"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
    ({"prompt": "a", "user": NAME}, "user"),
    ({"prompt": "a", "n": 17}, "n"),
    ({"prompt": "a", "stop": [""]}, "stop"),
    ({"prompt": "a", "messages": []}, None),
    ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
    ({"prompt": "a", "model": "house/quoter"}, "prompt"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
async def test_what_would_be_ignored_is_refused(client, ward, body, param):
    """With the parameter's name, and nothing reaches a model."""
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
    assert NAME not in answer.text
    assert not ward.engine.asked


async def test_personal_data_where_no_placeholder_can_stand_names_the_prompt(client):
    """JSON with too many strings is refused under the name that is published here."""
    answer = await client.post(PATH, json={"prompt": "[" + "1," * 20_001 + "1]"})
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "prompt"
