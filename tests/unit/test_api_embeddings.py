"""``/v1/embeddings`` over a real pipeline and an engine in memory."""

from __future__ import annotations

import base64
import struct

import pytest

from tests.echo import QUOTER, EchoEngine
from tests.unit.test_api_routes import error_of

PATH = "/v1/embeddings"
NAME = "Zara Quillfeather"


async def test_each_text_has_a_vector_of_its_masked_form(client, ward):
    """OpenAI's shape, the order of the input, and a receipt."""
    answer = await client.post(PATH, json={"input": [f"a {NAME}", "b"], "model": "auto"})
    assert answer.status_code == 200
    body = answer.json()
    assert [each["index"] for each in body["data"]] == [0, 1]
    assert body["data"][0]["embedding"] == pytest.approx(EchoEngine.vector("a <PERSON_1>"))
    assert body["data"][1]["object"] == "embedding"
    assert (body["object"], body["model"]) == ("list", "house/free")
    assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert body["cloister"]["receipt_id"] == answer.headers["x-receipt-id"]
    record = (await client.get(f"/v1/receipts/{answer.headers['x-receipt-id']}")).json()
    assert [each["event"] for each in record["records"]] == ["intent", "outcome"]
    assert NAME not in str(ward.engine.embedded[0].texts)


async def test_base64_is_of_little_endian_floats(client):
    """The same numbers, 32 bits each."""
    packed = await client.post(PATH, json={"input": "b", "encoding_format": "base64"})
    data = base64.b64decode(packed.json()["data"][0]["embedding"])
    assert struct.unpack("<3f", data) == pytest.approx(EchoEngine.vector("b"))


REFUSED = [
    ({}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": ["a"] * 257}, "input"),
    ({"input": [1, 2]}, "input"),
    ({"input": [[1, 2]]}, "input"),
    ({"input": "a", "dimensions": 8}, "dimensions"),
    ({"input": "a", "user": NAME}, "user"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "a", "model": QUOTER.name}, "model"),
    ({"input": "a", NAME: 1}, None),
    ({"input": "[" + "1," * 20_001 + "1]"}, "input"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
async def test_what_would_be_ignored_is_refused(client, ward, body, param):
    """With the parameter's name, and nothing reaches a model."""
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
    assert NAME not in answer.text
    assert not ward.engine.embedded


async def test_256_texts_are_taken(client, ward):
    """The bound itself is inside."""
    answer = await client.post(PATH, json={"input": ["a"] * 256})
    assert len(answer.json()["data"]) == 256
    assert len(ward.engine.embedded) == 1


async def test_a_matter_that_is_not_granted_embeds_nothing(client, ward):
    """The same grants as for a prompt."""
    answer = await client.post(PATH, json={"input": "a", "metadata": {"matter": "matter-8"}})
    assert answer.status_code == 403
    assert not ward.engine.embedded
