"""Real clients over a real socket: the openai SDK, curl, LangChain."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time

import openai
import pytest
from langchain_openai import ChatOpenAI

from tests.planted import EMAIL, LETTER, MRN, NAME, leaks

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["clinician"]) as one:
        yield one


TOOL = {
    "type": "function",
    "function": {
        "name": "book_visit",
        "description": "Book a visit for a patient.",
        "parameters": {
            "type": "object",
            "properties": {"patient": {"type": "string"}, "mrn": {"type": "integer"}},
            "required": ["patient"],
        },
    },
}


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_sdk_gets_back_what_it_wrote_and_the_model_sees_none_of_it(client, upstream):
    """A whole answer is restored for a clinician; the upstream got placeholders only."""
    answer = client.chat.completions.create(model="auto", messages=ask(LETTER))
    assert answer.choices[0].message.content == LETTER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 12
    assert "<PERSON_1>" in upstream.seen[-1]
    assert leaks(upstream.seen[-1].encode()) == []


def test_a_stream_is_the_whole_answer_in_pieces(client, upstream):
    """The pieces of a stream join to the restored answer, with usage when it was asked for."""
    events = list(
        client.chat.completions.create(
            model="auto",
            messages=ask(LETTER),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(e.choices[0].delta.content or "" for e in events if e.choices) == LETTER
    assert events[-1].usage.total_tokens == 12
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "stop"
    assert leaks(upstream.seen[-1].encode()) == []


def test_the_async_sdk_runs_many_at_once(gateway):
    """Eight requests side by side each get their own values back, never a neighbour's."""

    async def run() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["clinician"])
        async with client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="auto", messages=ask(f"MRN: 8472{n:04d} is seen again")
                    )
                    for n in range(8)
                )
            )
        return [a.choices[0].message.content for a in answers]

    assert asyncio.run(run()) == [f"MRN: 8472{n:04d} is seen again" for n in range(8)]


def test_tool_calls_come_back_with_tagged_placeholders_unless_policy_names_the_tool(
    client, upstream
):
    """Arguments for a tool that policy does not name keep placeholders, tagged for this answer."""
    text = f'CALL book_visit {{"patient": "Mrs. {NAME}"}}'
    answer = client.chat.completions.create(model="auto", messages=ask(text), tools=[TOOL])
    call = answer.choices[0].message.tool_calls[0]
    patient = json.loads(call.function.arguments)["patient"]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "book_visit"
    assert patient.startswith("<PERSON_1:")
    assert leaks(upstream.seen[-1].encode()) == []


def test_tool_results_in_the_history_are_masked_inside_their_json(client, upstream):
    """Strings, keys and numbers of tool arguments and results reach the model masked."""
    call = {"name": "find", "arguments": json.dumps({"mrn": int(MRN), "name": f"Mrs. {NAME}"})}
    answer = client.chat.completions.create(
        model="auto",
        messages=[
            {"role": "user", "content": "Find the patient."},
            {
                "role": "assistant",
                "tool_calls": [{"id": "call_q", "type": "function", "function": call}],
            },
            {
                "role": "tool",
                "tool_call_id": "call_q",
                "content": json.dumps({"patient": f"Mrs. {NAME}", "email": EMAIL}),
            },
            {"role": "user", "content": f"Write to Mrs. {NAME}."},
        ],
        tools=[TOOL],
    )
    assert answer.choices[0].message.content == f"Write to Mrs. {NAME}."
    assert leaks(upstream.seen[-1].encode()) == []


def test_langchain_speaks_to_it(gateway):
    """LangChain's ChatOpenAI gets whole answers and streams."""
    model = ChatOpenAI(
        base_url=f"{gateway.url}/v1",
        api_key=gateway.keys["lawyer"],
        model="auto",
        timeout=30,
        max_retries=0,
    )
    text = f"Counsel for Mrs. {NAME}, docket no. 2023-CV-10482, wrote to {EMAIL}."
    assert model.invoke(text).content == text
    assert "".join(str(piece.content) for piece in model.stream(text)) == text


def test_curl_streams_until_done(gateway):
    """A plain HTTP client sees server-sent events that end with [DONE]."""
    body = json.dumps({"model": "auto", "stream": True, "messages": ask("How are you?")})
    done = subprocess.run(
        [
            "curl", "-sN", f"{gateway.url}/v1/chat/completions",
            "-H", f"Authorization: Bearer {gateway.keys['clinician']}",
            "-H", "X-Purpose: treatment", "-H", "Content-Type: application/json",
            "--data", body,
        ],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    events = [line for line in done.stdout.split("\n\n") if line]
    assert events[-1] == "data: [DONE]"
    assert all(event.startswith("data: ") for event in events)


def test_a_client_that_leaves_ends_generation(gateway, upstream):
    """Closing a stream closes the upstream's, and the outcome says that it was cut short."""
    upstream.cut_short.clear()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["clinician"]) as client:
        stream = client.chat.completions.create(model="auto", messages=ask("SLOW 400"), stream=True)
        receipt = stream.response.headers["x-receipt-id"]
        next(iter(stream))
        stream.close()
        assert upstream.cut_short.wait(10)
        until = time.monotonic() + 10
        while (finish := _finish(client, receipt)) is None and time.monotonic() < until:
            time.sleep(0.05)
    assert finish == "cancelled"


def _finish(client: openai.OpenAI, receipt: str) -> object:
    found = client.get(f"/receipts/{receipt}", cast_to=object)
    outcomes = [r for r in found["records"] if r["event"] == "outcome"]
    return outcomes[0]["features"]["finish"] if outcomes else None


def test_a_receipt_is_its_owners_or_an_auditors(gateway, client):
    """Somebody else gets 404, as for a receipt that does not exist."""
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=ask(LETTER))
    path = f"/receipts/{answer.headers['x-receipt-id']}"
    own = client.get(path, cast_to=object)
    assert [record["event"] for record in own["records"]] == ["intent", "outcome"]
    assert leaks(json.dumps(own).encode()) == []
    url = f"{gateway.url}/v1"
    with openai.OpenAI(base_url=url, api_key=gateway.keys["auditor"]) as auditor:
        assert auditor.get(path, cast_to=object)["records"] == own["records"]
    with (
        openai.OpenAI(base_url=url, api_key=gateway.keys["lawyer"]) as other,
        pytest.raises(openai.NotFoundError),
    ):
        other.get(path, cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.get("/receipts/" + "0" * 32 + "-" + "0" * 16, cast_to=object)


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_duties_exclude_each_other(gateway, role):
    """Who writes policy or reads the log sends no prompts; the refusal has a receipt."""
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys[role]) as one,
        pytest.raises(openai.PermissionDeniedError) as refused,
    ):
        one.chat.completions.create(model="auto", messages=ask("Hello"))
    assert refused.value.response.headers["x-receipt-id"]
    assert refused.value.code == "permission_denied"
