"""``/v1/responses`` over a real pipeline and an engine in memory."""

from __future__ import annotations

import json

import msgspec
import openai.types
import pytest

from gateway.api.items import to_prompt
from gateway.api.schemas_embeddings import EmbeddingBody
from gateway.api.schemas_legacy import CompletionBody
from gateway.api.schemas_responses import (
    FunctionTool,
    InputItem,
    ResponsesBody,
    TextConfig,
    decode_responses,
)
from gateway.domain import Message, ResponseFormat, Tool, ToolCall
from gateway.errors import RequestError
from tests.unit.test_api_routes import error_of

PATH = "/v1/responses"
NAME = "Zara Quillfeather"
TEXT = f"of {NAME}"
TOOL = {
    "type": "function",
    "name": "book",
    "description": "Books a visit",
    "parameters": {"type": "object", "properties": {"who": {"type": "string"}}},
    "strict": True,
}
PLANTED = "Ottoline-078051120"


def prompt(**body: object):
    return to_prompt(decode_responses(json.dumps(body).encode(), depth_limit=64))


def typed(text: str) -> list[dict[str, object]]:
    """The events of a stream; each line ``event:`` names the type of its data."""
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        head, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert head == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


# --- what reaches the prompt ----------------------------------------------------------------------


def test_items_become_messages():
    """Instructions first; parts joined; the calls of a turn in one message with its text."""
    asked = prompt(
        instructions="i",
        input=[
            {"role": "developer", "content": "d"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_text", "text": "b"},
                ],
            },
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "t", "annotations": [], "logprobs": []}
                ],
            },
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "c1",
                "name": "f",
                "arguments": "{}",
            },
            {
                "type": "function_call",
                "call_id": "c2",
                "name": "g",
                "arguments": "{}",
                "status": "completed",
            },
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "s"}],
            },
            {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
        ],
    )
    assert asked.messages == (
        Message("system", "i"),
        Message("developer", "d"),
        Message("user", "a\nb"),
        Message(
            "assistant", "t", tool_calls=(ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
        ),
        Message("tool", "r", tool_call_id="c1"),
        Message("tool", "s", tool_call_id="c2"),
        Message("assistant", None, tool_calls=(ToolCall("c3", "f", "{}"),)),
    )


def test_tools_sampling_and_format_reach_the_prompt():
    """Flat tools, the choice of one, bounds, and the format of the text."""
    schema = {"type": "object"}
    asked = prompt(
        input="x",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "book"},
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.25,
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
    )
    assert asked.tools == (Tool("book", "Books a visit", TOOL["parameters"], strict=True),)
    assert (asked.tool_choice, asked.parallel_tool_calls) == ("function:book", False)
    drawn = asked.sampling
    assert (drawn.max_tokens, drawn.temperature, drawn.top_p, drawn.n) == (9, 0.5, 0.25, 1)
    assert asked.response_format == ResponseFormat("json_schema", "n", None, schema, strict=True)


@pytest.mark.parametrize("kind", ["text", "json_object", "grounded", "extractive"])
def test_the_simple_formats(kind):
    """Each kind arrives under its name."""
    assert prompt(input="x", text={"format": {"type": kind}}).response_format.kind == kind


UNSUPPORTED = {
    "access_programs": {"cyber": PLANTED},
    "background": True,
    "background_options": {"completion_window": PLANTED},
    "context_management": [{"type": PLANTED}],
    "conversation": PLANTED,
    "image": {"a": PLANTED},
    "include": ["message.output_text.logprobs"],
    "max_tool_calls": 3,
    "moderation": {"model": PLANTED},
    "previous_response_id": PLANTED,
    "prompt": {"id": PLANTED},
    "prompt_cache_key": PLANTED,
    "prompt_cache_options": {"mode": PLANTED},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low"},
    "safety_identifier": PLANTED,
    "service_tier": "priority",
    "store": True,
    "top_logprobs": 3,
    "truncation": "auto",
    "user": PLANTED,
}


def test_every_parameter_without_an_effect_is_in_the_table_of_this_test():
    """A new neutral default needs a case here."""
    assert set(UNSUPPORTED) == set(ResponsesBody.neutral)


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_an_unsupported_parameter_is_refused_by_name(client, ward, name):
    """Never silently ignored, and its value is not quoted."""
    answer = await client.post(PATH, json={"input": "x", name: UNSUPPORTED[name]})
    assert answer.status_code == 400
    told = error_of(answer)
    assert (told["code"], told["param"]) == ("unsupported_parameter", name)
    assert PLANTED not in answer.text
    assert not ward.engine.asked


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in ResponsesBody.neutral.items() for v in values]
)
def test_a_neutral_default_is_accepted(name, value):
    """A client that spells out a default gets its answer."""
    assert prompt(input="x", **{name: value}).messages


def test_every_parameter_of_the_openai_sdk_is_published_here():
    """A parameter that OpenAI adds gets a decision: supported, or refused by its name."""
    responses = openai.types.responses
    published = {
        ResponsesBody: {
            *responses.response_create_params.ResponseCreateParamsBase.__annotations__,
            "stream",
        },
        FunctionTool: responses.FunctionToolParam.__annotations__,
        TextConfig: responses.ResponseTextConfigParam.__annotations__,
        CompletionBody: {
            *openai.types.completion_create_params.CompletionCreateParamsBase.__annotations__,
            "stream",
        },
        EmbeddingBody: openai.types.EmbeddingCreateParams.__annotations__,
        InputItem: {
            *responses.EasyInputMessageParam.__annotations__,
            *responses.ResponseOutputMessageParam.__annotations__,
            *responses.ResponseFunctionToolCallParam.__annotations__,
        },
    }
    for struct, names in published.items():
        ours = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert set(names) <= ours, struct.__name__


REFUSED = {
    "no input": ({}, "input"),
    "null input": ({"input": None}, "input"),
    "no items": ({"input": []}, "input"),
    "an unknown item": ({"input": [{"type": PLANTED}]}, "input[0].type"),
    "an item of what is stored": (
        {"input": [{"type": "item_reference", "id": PLANTED}]},
        "input[0].type",
    ),
    "a role there is not": ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    "a message without content": ({"input": [{"role": "user"}]}, "input[0].content"),
    "a message without a role": ({"input": [{"content": PLANTED}]}, "input[0].role"),
    "a message with a call": (
        {"input": [{"role": "user", "content": "x", "name": PLANTED}]},
        "input[0].name",
    ),
    "a call without arguments": (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
        "input[0].arguments",
    ),
    "an output without a call": (
        {"input": [{"type": "function_call_output", "output": PLANTED}]},
        "input[0].call_id",
    ),
    "an image": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PLANTED}]}]},
        "input[0].content[0].type",
    ),
    "a citation": (
        {
            "input": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "x", "annotations": [{"url": PLANTED}]}
                    ],
                }
            ]
        },
        "input[0].content[0].annotations",
    ),
    "another's call": (
        {
            "input": [
                {
                    "type": "function_call",
                    "call_id": "c",
                    "name": "f",
                    "arguments": "{}",
                    "namespace": PLANTED,
                }
            ]
        },
        "input[0].namespace",
    ),
    "a tool of another kind": ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
    "an output schema": (
        {"input": "x", "tools": [{**TOOL, "output_schema": {"title": PLANTED}}]},
        "tools[0].output_schema",
    ),
    "two tools of a name": ({"input": "x", "tools": [TOOL, TOOL]}, "tools"),
    "choice of no tool": (
        {"input": "x", "tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
        "tool_choice",
    ),
    "an unknown format": (
        {"input": "x", "text": {"format": {"type": PLANTED}}},
        "text.format.type",
    ),
    "a format without a schema": (
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}},
        "text.format.schema",
    ),
    "verbosity": ({"input": "x", "text": {"verbosity": "low"}}, "text.verbosity"),
    "no tokens": ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    "an unknown key": ({"input": "x", PLANTED: 1}, None),
    "other metadata": ({"input": "x", "metadata": {PLANTED: "x"}}, "metadata"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_is_refused_by_published_names_only(name):
    """The parameter is named where it is one of ours; what the client wrote is not."""
    body, param = REFUSED[name]
    with pytest.raises(RequestError) as refused:
        prompt(**body)
    assert refused.value.param == param
    assert PLANTED not in f"{refused.value.message}{refused.value.param}"


async def test_refusals_of_the_pipeline_name_parameters_of_this_endpoint(client):
    """Not those of chat completions, from which a prompt is built."""
    schema = {"$ref": "https://example.org"}
    tool = {**TOOL, "parameters": schema}
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    for body, param in (
        ({"input": "x", "text": text}, "text.format"),
        ({"input": "x", "tools": [tool]}, "tools"),
        ({"input": "[" + "1," * 20_001 + "1]"}, "input"),
    ):
        answer = await client.post(PATH, json=body)
        assert (answer.status_code, error_of(answer)["param"]) == (400, param)


# --- answers --------------------------------------------------------------------------------------


async def test_a_whole_answer(client, ward):
    """A message with the restored text, the tokens, what was asked; nothing is stored."""
    answer = await client.post(
        PATH, json={"input": TEXT, "instructions": f"about {NAME}", "store": False}
    )
    receipt = answer.headers["x-receipt-id"]
    body = answer.json()
    assert body["id"] == f"resp_{receipt}"
    assert (body["object"], body["status"], body["store"]) == ("response", "completed", False)
    (item,) = body["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [
        {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    ]
    assert body["usage"]["input_tokens_details"]["cached_tokens"] == 2
    assert body["usage"]["total_tokens"] == 12
    assert body["instructions"] == f"about {NAME}"
    assert body["cloister"]["receipt_id"] == receipt
    assert NAME not in str([m.content for m in ward.engine.asked[0].prompt.messages])


async def test_a_stream_has_openais_sequence(client):
    """Each item and part is opened, filled and closed; completed is last, and there is no more."""
    answer = await client.post(PATH, json={"input": TEXT, "stream": True})
    found = typed(answer.text)
    kinds = [event["type"].removeprefix("response.") for event in found]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *(["output_text.delta"] * deltas),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert deltas > 1
    text = "".join(e["delta"] for e in found if e["type"].endswith("text.delta"))
    assert text == found[-4]["text"] == found[-3]["part"]["text"] == TEXT
    last = found[-1]["response"]
    assert last["output"] == [found[-2]["item"]]
    assert last["usage"]["total_tokens"] == 12
    assert last["cloister"]["receipt_id"] == answer.headers["x-receipt-id"]


async def test_an_answer_that_was_cut_is_incomplete(client):
    """Whole or streamed: why it ended early is told, and no completed is sent."""
    whole = (await client.post(PATH, json={"input": "CUT it"})).json()
    found = typed((await client.post(PATH, json={"input": "CUT it", "stream": True})).text)
    for body in (whole, found[-1]["response"]):
        assert body["status"] == "incomplete"
        assert body["incomplete_details"] == {"reason": "max_output_tokens"}
        assert body["output"][0]["status"] == "incomplete"
    assert found[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_are_items_with_whole_arguments(client, stream):
    """A call has an id of ours to answer to; an answer of calls alone has no message."""
    order = f'CALL book {{"who": "{NAME}"}}'
    answer = await client.post(PATH, json={"input": order, "tools": [TOOL], "stream": stream})
    if stream:
        found = typed(answer.text)
        assert [event["type"].removeprefix("response.") for event in found] == [
            *("created", "in_progress", "output_item.added"),
            *("function_call_arguments.delta", "function_call_arguments.done"),
            *("output_item.done", "completed"),
        ]
        assert found[3]["delta"] == found[4]["arguments"]
        body = found[-1]["response"]
    else:
        body = answer.json()
    (item,) = body["output"]
    assert (item["type"], item["name"]) == ("function_call", "book")
    assert json.loads(item["arguments"]) == {"who": NAME}
    assert item["call_id"].startswith("call_")
    assert body["tools"][0]["name"] == "book"


@pytest.mark.parametrize("order", ["LOST", "AGAIN"])
async def test_a_failure_in_a_stream_is_an_error_event_and_the_last(client, order):
    """No completed, no incomplete, and nothing of the model's words in the error."""
    found = typed((await client.post(PATH, json={"input": order, "stream": True})).text)
    assert found[-1]["type"] == "error"
    assert found[-1]["code"] == "engine_failed"
    assert not [event for event in found if "complete" in event["type"]]


async def test_without_a_durable_outcome_nothing_is_completed(client, ward):
    """The ledger fails while the answer is on its way: an error event in the place of completed."""
    ward.engine.before_end = ward.ledger.close
    found = typed((await client.post(PATH, json={"input": TEXT, "stream": True})).text)
    assert found[-1]["code"] == "ledger_unavailable"
    assert not [event for event in found if event["type"].endswith((".done", ".completed"))]


async def test_metadata_names_purpose_and_matter(client, ward):
    """As in chat; what may not be is refused before a model is asked."""
    good = {"input": "x", "metadata": {"purpose": "research", "matter": "matter-7"}}
    assert (await client.post(PATH, json=good)).status_code == 200
    bad = {"input": "x", "metadata": {"purpose": "marketing"}}
    assert (await client.post(PATH, json=bad)).status_code == 403
    assert len(ward.engine.asked) == 1
