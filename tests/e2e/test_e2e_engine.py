"""The whole gateway on a real local model: the openai SDK, and what an operator sees."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import openai
import pytest

from tests import planted, running
from tests.sizedmodel import ABOUT_1M, write_adapter, write_model
from tests.tinymodel import write_tiny_gguf

SETTINGS = """
[engine]
bundled_model = false
default_model = "tiny"
slots = 4
queue = 4
threads = 1
shared_prompts = ["public.txt"]

[energy]
watts_per_core = 10.0
grid_gco2e_per_kwh = 400.0
"""
PUBLIC = "You answer questions of this house briefly and without names. " * 6
NOTE = f"{planted.NAME} (MRN: {planted.MRN}) takes 81 mg of aspirin since 3 May 2031."
SCHEMA = {
    "type": "object",
    "properties": {"drug": {"enum": ["aspirin", "none"]}, "dose": {"type": "integer"}},
    "required": ["drug", "dose"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Gateway]:
    """A gateway with a tiny model that writes noise, a sized one and an adapter of it."""
    folder = tmp_path_factory.mktemp("engine")
    home = folder / "home"
    keys = running.make_home(home, SETTINGS)
    (home / "public.txt").write_text(PUBLIC + "\n")
    write_tiny_gguf(folder / "tiny.gguf", context=4096, never_ends=True)
    write_model(folder / "sized.gguf", ABOUT_1M)
    write_adapter(folder / "notes.gguf", ABOUT_1M)
    for name in ("tiny", "sized"):
        running.cli(home, "models", "add", str(folder / f"{name}.gguf"))
    running.cli(home, "models", "add", str(folder / "notes.gguf"), "--adapter-of", "sized")
    gateway = running.start(home, keys)
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def client(house) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{house.url}/v1", api_key=house.keys["clinician"], max_retries=0
    ) as one:
        yield one


def metric(house, name: str) -> float:
    text = httpx.get(f"{house.url}/metrics", trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_several_answers_with_log_probabilities(client):
    """Each choice is its own draw, with a token and its alternatives for each step."""
    answer = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": NOTE}],
        n=3,
        logprobs=True,
        top_logprobs=2,
        max_tokens=10,
        seed=7,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        told = choice.logprobs.content
        assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in told)
        assert len(told) <= 10
    again = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": NOTE}], n=3, max_tokens=10, seed=7
    )
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.message.content for choice in again.choices] == texts
    assert answer.usage.completion_tokens == sum(len(c.logprobs.content) for c in answer.choices)


def test_json_of_a_schema_streams_and_fits(client):
    """Noise held to a schema: the streamed pieces are the JSON, restored and valid."""
    wanted = {"type": "json_schema", "json_schema": {"name": "dose", "schema": SCHEMA}}
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": NOTE}],
        response_format=wanted,
        max_tokens=300,
        seed=3,
        stream=True,
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    jsonschema.validate(json.loads(text), SCHEMA)


def test_a_tool_is_called_with_arguments_that_fit(client):
    """tool_choice required: one call, finish_reason tool_calls."""
    tool = {"type": "function", "function": {"name": "record", "parameters": SCHEMA}}
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": NOTE}],
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=400,
        seed=3,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "record"
    jsonschema.validate(json.loads(call.function.arguments), SCHEMA)


def test_a_schema_that_cannot_be_held_is_a_400(client):
    """Named by its parameter; never ignored."""
    for schema in ({"type": "integer", "minimum": 3, "maximum": 2}, {"not": {"type": "string"}}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": "Hello"}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": schema},
                },
            )
        assert caught.value.param == "response_format"


def test_a_second_turn_computes_only_itself(client):
    """cached_tokens tells what was there already; another user's is nobody else's."""
    first = [{"role": "user", "content": "The ward round is at nine. " * 40}]

    def ask(messages, who=client):
        answer = who.chat.completions.create(
            model="tiny", messages=messages, max_tokens=8, temperature=0
        )
        usage = answer.usage
        return answer, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens

    answer, read, kept = ask(first)
    assert kept == 0
    turns = [
        *first,
        {"role": "assistant", "content": answer.choices[0].message.content},
        {"role": "user", "content": "And at ten?"},
    ]
    _, longer, kept = ask(turns)
    assert kept >= read
    assert longer - kept < 60


def test_nobody_builds_on_anothers_prompt_but_all_on_a_declared_one(house, client):
    """Two principals, the same words: computed twice. The declared system prompt: once."""
    with openai.OpenAI(
        base_url=f"{house.url}/v1", api_key=house.keys["lawyer"], max_retries=0
    ) as other:

        def kept(who, system: str) -> int:
            answer = who.chat.completions.create(
                model="tiny",
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": "Is it late?"},
                ],
                max_tokens=4,
            )
            return answer.usage.prompt_tokens_details.cached_tokens

        private = "A sentence that nobody has declared to be public. " * 8
        kept(client, private)
        assert kept(other, private) == 0
        kept(client, PUBLIC)
        assert kept(other, PUBLIC) > len(PUBLIC) // 2


@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_of_masked_texts(house, client, form):
    """Length one, in order, and the same for values that are masked to the same placeholder."""
    texts = ["The patient sleeps.", "A contract of sale.", "The patient sleeps."]
    answer = client.embeddings.create(model="sized", input=texts, encoding_format=form)
    vectors = []
    for item in answer.data:
        raw = item.embedding
        if isinstance(raw, str):
            data = base64.b64decode(raw)
            raw = struct.unpack(f"<{len(data) // 4}f", data)
        vectors.append(list(raw))
    assert vectors[0] == vectors[2] != vectors[1]
    assert abs(sum(x * x for x in vectors[0]) - 1) < 1e-4


def test_an_adapter_is_a_model_of_its_own_name(house, client):
    """Listed with its base, and it answers."""
    names = {model.id for model in client.models.list()}
    assert names == {"tiny", "sized", "notes"}
    answer = client.chat.completions.create(
        model="notes", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
    )
    assert answer.model == "notes"


def test_legacy_completions_and_responses(client):
    """Both speak to the same engine."""
    old = client.completions.create(model="tiny", prompt="Once upon", max_tokens=5, echo=True)
    assert old.choices[0].text.startswith("Once upon")
    new = client.responses.create(model="tiny", input="Hello", max_output_tokens=16)
    assert new.status == "incomplete"
    assert new.usage.output_tokens == 16


def test_a_full_queue_says_when_to_come_back(house):
    """429 with Retry-After in whole seconds; those that were let in are answered."""
    codes: list[int] = []
    waits: list[str] = []
    lock = threading.Lock()

    def ask() -> None:
        answer = httpx.post(
            f"{house.url}/v1/chat/completions",
            json={
                "model": "tiny",
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 2500,
                "temperature": 0,
            },
            headers={"Authorization": f"Bearer {house.keys['clinician']}"},
            timeout=120,
            trust_env=False,
        )
        with lock:
            codes.append(answer.status_code)
            waits.append(answer.headers.get("Retry-After", ""))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {200, 429}
    assert codes.count(200) >= 8
    assert all(1 <= int(w) <= 60 for c, w in zip(codes, waits, strict=True) if c == 429)
    assert metric(house, "cloister_engine_running ") == 0


def test_clients_that_vanish_free_their_slots(house, client):
    """Connections are cut in mid-stream; within moments nothing runs and the next is answered."""
    for _ in range(12):
        with (
            httpx.Client(trust_env=False, timeout=60) as gone,
            gone.stream(
                "POST",
                f"{house.url}/v1/chat/completions",
                json={
                    "model": "tiny",
                    "messages": [{"role": "user", "content": "Hello"}],
                    "max_tokens": 3500,
                    "stream": True,
                },
                headers={"Authorization": f"Bearer {house.keys['clinician']}"},
            ) as answer,
        ):
            next(answer.iter_lines())
    deadline = time.monotonic() + 5
    while metric(house, "cloister_engine_running ") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert metric(house, "cloister_engine_running ") == 0
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
    )
    assert answer.choices[0].finish_reason == "length"


def test_an_answers_energy_is_told_where_it_is_looked_for(house, client):
    """In its receipt, in the metrics, and by model in the report."""
    before = metric(house, "cloister_energy_joules_total")
    raw = client.chat.completions.with_raw_response.create(
        model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=200
    )
    told = httpx.get(
        f"{house.url}/v1/receipts/{raw.headers['X-Receipt-Id']}",
        headers={"Authorization": f"Bearer {house.keys['clinician']}"},
        trust_env=False,
    ).json()["explanation"]
    assert told["tokens"]["completion"] == raw.parse().usage.completion_tokens
    energy = told["energy"]
    assert energy["source"] in ("model", "rapl")
    assert energy["millijoules"] > 0
    assert energy["co2e_ug"] == pytest.approx(energy["millijoules"] * 400 / 3600, rel=0.1, abs=1)
    assert metric(house, "cloister_energy_joules_total") > before


def test_nothing_of_all_that_stays_on_disk(house, client):
    """After answers of every kind no file and no log line shows a planted value."""
    client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": planted.LETTER}], max_tokens=4
    )
    assert planted.leaking_files(house.home, planted.VALUES[:-1]) == []
    assert planted.leaks(house.log.read_bytes()) == []


def test_the_report_counts_what_was_used(house, tmp_path: Path):
    """After the gateway has stopped: requests, tokens and joules by model. Runs last."""
    house.stop()
    rows = json.loads(running.cli(house.home, "models", "report", "-o", "json"))["models"]
    by_name = {row["model"]: row for row in rows}
    assert by_name["tiny"]["requests"] > 20
    assert by_name["tiny"]["completion_tokens"] >= 100
    assert by_name["sized"]["requests"] >= 2
    assert (house.home / "usage.json").stat().st_mode & 0o077 == 0
