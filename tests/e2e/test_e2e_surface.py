"""The openai SDK against every endpoint, on a real socket.

What one answer to a chat can serve runs against the whole gateway; several answers,
log-probabilities and embeddings against a real pipeline with an engine in memory. ``surface`` says
which: any engine that has these can take its place.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import openai
import pydantic
import pytest
import uvicorn

from tests import echo, running
from tests.fakes import House
from tests.planted import EMAIL, LETTER, MRN, NAME, leaks

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WORDS = {
    NAME: "PERSON",
    MRN: "MEDICAL_RECORD",
    EMAIL: "PERSON",
}
TEXT = f"{NAME} of {EMAIL}"
TOOL = {
    "type": "function",
    "name": "book",
    "description": "Book a visit for a patient.",
    "parameters": {
        "type": "object",
        "properties": {"patient": {"type": "string"}},
        "required": ["patient"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["clinician"]) as one:
        yield one


@pytest.fixture(scope="module")
def engine() -> echo.EchoEngine:
    return echo.EchoEngine()


@pytest.fixture(scope="module")
def surface(tmp_path_factory, engine) -> Iterator[openai.OpenAI]:
    """The SDK in front of a gateway whose engine can do everything."""
    folder = tmp_path_factory.mktemp("surface")
    with echo.ward(folder / "ward", engine=engine, words=WORDS) as ward:
        house = House(folder / "keys.json", pipeline=ward.pipeline)
        port = running.free_port()
        config = uvicorn.Config(house.app, port=port, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{port}/v1"
            with openai.OpenAI(
                base_url=url, api_key=house.keys["dr-quill"].secret, max_retries=0
            ) as one:
                yield one
        finally:
            server.should_exit = True
            thread.join(10)


# --- responses, over the whole gateway ------------------------------------------------------------


def test_a_response_is_restored_and_the_model_sees_none_of_it(client, upstream):
    """``responses.create``: the text comes back as it was written, tokens counted."""
    answer = client.responses.create(
        model="auto", input=LETTER, instructions=f"You help Mrs. {NAME}.", store=False
    )
    assert answer.output_text == LETTER
    assert (answer.status, answer.usage.total_tokens) == ("completed", 12)
    assert leaks(upstream.seen[-1].encode()) == []


def test_a_streamed_response_is_the_whole_in_events(client, upstream):
    """``stream=True``: typed events whose deltas join to the restored text."""
    events = list(client.responses.create(model="auto", input=LETTER, stream=True))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == LETTER
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == LETTER
    assert leaks(upstream.seen[-1].encode()) == []


def test_the_sdks_own_stream_puts_the_response_together(client):
    """``responses.stream``: its snapshot is what the events say."""
    with client.responses.stream(model="auto", input=LETTER) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert final.output_text == LETTER
    assert {"response.output_text.delta", "response.completed"} <= kinds


def test_a_call_and_its_output_go_back_and_forth(client, upstream):
    """An item of the answer is sent back as the SDK holds it, with the tool's output after it."""
    order = f'CALL book {{"patient": "Mrs. {NAME}"}}'
    first = client.responses.create(model="auto", input=order, tools=[TOOL])
    (call,) = first.output
    assert (call.type, call.name) == ("function_call", "book")
    assert leaks(upstream.seen[-1].encode()) == []
    output = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": f'{{"booked": "Mrs. {NAME}", "email": "{EMAIL}"}}',
    }
    history = [{"role": "user", "content": "Book."}, call.model_dump(exclude_none=True), output]
    second = client.responses.create(
        model="auto",
        input=[*history, {"role": "user", "content": f"Write to Mrs. {NAME}."}],
        tools=[TOOL],
    )
    assert second.output_text == f"Write to Mrs. {NAME}."
    assert leaks(upstream.seen[-1].encode()) == []


def test_a_streamed_call_has_its_arguments(client):
    """The SDK's stream finds the call whole."""
    order = 'CALL book {"patient": "nobody"}'
    with client.responses.stream(model="auto", input=order, tools=[TOOL]) as stream:
        done = [e for e in stream if e.type == "response.function_call_arguments.done"]
        (call,) = stream.get_final_response().output
    assert [event.arguments for event in done] == [call.arguments] == ['{"patient": "nobody"}']


@pytest.mark.parametrize(
    ("name", "value"), [("store", True), ("previous_response_id", "resp_1"), ("background", True)]
)
def test_what_would_need_a_memory_is_refused(client, name, value):
    """Nothing is stored here, and no request can pretend it were."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="auto", input="x", **{name: value})
    assert refused.value.param == name


# --- what needs an engine that can ----------------------------------------------------------------


class Visit(pydantic.BaseModel):
    patient: str


def test_several_choices_with_log_probabilities(surface, engine):
    """``n`` and ``logprobs``, whole: each restored, told token by token of what was masked."""
    answer = surface.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": TEXT}],
        n=3,
        logprobs=True,
        top_logprobs=1,
        logit_bias={"50": -100},
        frequency_penalty=0.5,
        presence_penalty=-0.5,
    )
    assert [choice.message.content for choice in answer.choices] == [
        TEXT,
        f"1: {TEXT}",
        f"2: {TEXT}",
    ]
    masked = engine.asked[-1].prompt.messages[0].content
    told = answer.choices[0].logprobs.content
    assert "".join(token.token for token in told) == masked
    assert leaks(answer.choices[0].logprobs.model_dump_json().encode(), [NAME, EMAIL]) == []
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


def test_several_choices_in_a_stream(surface):
    """The chunks of each index join to its answer."""
    texts, ends = ["", ""], []
    for chunk in surface.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": TEXT}], n=2, stream=True
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends.append((choice.index, choice.finish_reason))
    assert texts == [TEXT, f"1: {TEXT}"]
    assert sorted(ends) == [(0, "stop"), (1, "stop")]


def test_legacy_completions(surface):
    """``completions.create``: several prompts, echo, a stream."""
    answer = surface.completions.create(model="auto", prompt=[TEXT, "x"], echo=True)
    assert [choice.text for choice in answer.choices] == [TEXT + TEXT, "xx"]
    assert len(answer.cloister["receipt_ids"]) == 2
    stream = surface.completions.create(model="auto", prompt=TEXT, stream=True, logprobs=1)
    assert "".join(chunk.choices[0].text for chunk in stream) == TEXT


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_embeddings(surface, engine, form):
    """``embeddings.create``: as the SDK asks by itself, as numbers, and packed."""
    asked = {} if form is None else {"encoding_format": form}
    answer = surface.embeddings.create(model="auto", input=[TEXT, "x"], **asked)
    assert leaks(repr(list(engine.embedded[-1].texts)).encode(), [NAME, EMAIL]) == []
    if form != "base64":
        expected = echo.EchoEngine.vector("x")
        assert answer.data[1].embedding == pytest.approx(expected, rel=1e-6)
    assert [each.index for each in answer.data] == [0, 1]


def test_a_parsed_response(surface):
    """``responses.parse``: a schema of the SDK's, an answer that fits it, restored."""
    answer = surface.responses.parse(
        model="auto", input=f'JSON {{"patient": "{NAME}"}}', text_format=Visit
    )
    assert answer.output_parsed == Visit(patient=NAME)


def test_a_failure_in_a_stream_reaches_the_client(surface):
    """Chat raises, responses end with an error event; neither is complete."""
    messages = [{"role": "user", "content": "LOST"}]
    with pytest.raises(openai.APIError):
        list(surface.chat.completions.create(model="auto", messages=messages, stream=True))
    kinds = [e.type for e in surface.responses.create(model="auto", input="LOST", stream=True)]
    assert kinds[-1] == "error"
    assert "response.completed" not in kinds


def test_busy_is_a_rate_limit(surface):
    """429 and when to come back."""
    with pytest.raises(openai.RateLimitError) as busy:
        surface.responses.create(model="auto", input="BUSY 31")
    assert busy.value.response.headers["retry-after"] == "31"
