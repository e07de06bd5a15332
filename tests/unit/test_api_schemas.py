"""The wire format: what is published is taken, what has no effect is refused, nothing is quoted."""

from __future__ import annotations

import json

import msgspec
import openai.types.chat
import pytest

from gateway.api.prompts import to_prompt
from gateway.api.schemas import (
    PUBLISHED,
    AssistantMessage,
    ChatBody,
    ToolMessage,
    UserMessage,
    decode_chat,
)
from gateway.api.schemas_deidentify import decode_deidentify
from gateway.api.wire import StreamOptions
from gateway.domain import Message, Purpose, ResponseFormat, Sampling, Tool, ToolCall
from gateway.errors import RequestError, UnsupportedParameterError
from gateway.pii.languages import searched

USER = {"role": "user", "content": "hello"}
PLANTED = "Ottoline-078051120"
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Finds a chart",
        "parameters": {"type": "object", "properties": {"mrn": {"type": "string"}}},
        "strict": True,
    },
}


def decode(body: object, depth_limit: int = 64) -> ChatBody:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_chat(raw, depth_limit=depth_limit)


def prompt(**body: object):
    return to_prompt(decode({"messages": [USER], **body}))


def refusal(body: object) -> RequestError:
    with pytest.raises(RequestError) as refused:
        to_prompt(decode(body))
    error = refused.value
    assert PLANTED not in f"{error.message}{error.param}{error!r}"
    assert error.__cause__ is None
    return error


def test_every_kind_of_message_reaches_the_prompt():
    """Roles, names, parts joined with newlines, tool calls and results arrive in order."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}], "name": "dev"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": [],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "result"},
        {"role": "assistant", "content": "done", "name": "bot"},
    ]
    assert prompt(messages=messages).messages == (
        Message("system", "s"),
        Message("developer", "d", "dev"),
        Message("user", "a\nb"),
        Message("assistant", None, tool_calls=(ToolCall("c1", "f", "{}"),)),
        Message("tool", "result", tool_call_id="c1"),
        Message("assistant", "done", "bot"),
    )


def test_sampling_stop_tools_and_format_reach_the_prompt():
    """Every supported parameter has its place in the prompt."""
    asked = prompt(
        max_completion_tokens=7,
        temperature=0,
        top_p=0.5,
        seed=-3,
        n=16,
        logprobs=True,
        top_logprobs=20,
        logit_bias={"9": -100, "7": 1.5},
        frequency_penalty=-2,
        presence_penalty=2,
        stop=["x", "y"],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "look_up"}},
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
    )
    function = TOOL["function"]
    assert asked.sampling == Sampling(
        max_tokens=7,
        temperature=0.0,
        top_p=0.5,
        seed=-3,
        frequency_penalty=-2.0,
        presence_penalty=2.0,
        logit_bias=((7, 1.5), (9, -100.0)),
        n=16,
        logprobs=20,
    )
    assert asked.stop == ("x", "y")
    assert asked.tools == (
        Tool("look_up", function["description"], function["parameters"], strict=True),
    )
    assert asked.tool_choice == "function:look_up"
    assert asked.parallel_tool_calls is False
    assert asked.response_format == ResponseFormat(
        "json_schema", name="n", schema={"type": "object"}, strict=True
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"stop": "x"}, ("x",)),
        ({"stop": None}, ()),
        ({"stop": []}, ()),
        ({"stop": ["a", "b", "c", "d"]}, ("a", "b", "c", "d")),
    ],
)
def test_stop_is_a_string_or_up_to_four(body, expected):
    """One string, a list of at most four, or nothing."""
    assert prompt(**body).stop == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"tool_choice": "none"}, None),
        ({"tool_choice": "auto"}, None),
        ({"tools": [TOOL]}, None),
        ({"tools": [TOOL], "tool_choice": "none"}, "none"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "auto"),
        ({"tools": [TOOL], "tool_choice": "required"}, "required"),
    ],
)
def test_tool_choice(body, expected):
    """Without tools there is no choice to make."""
    assert prompt(**body).tool_choice == expected


@pytest.mark.parametrize("kind", ["text", "json_object", "extractive", "grounded"])
def test_the_simple_response_formats(kind):
    """Each kind arrives under its name."""
    assert prompt(response_format={"type": kind}).response_format == ResponseFormat(kind)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 4}, 4),
    ],
)
def test_log_probabilities_are_told_when_asked_for(body, expected):
    """How many alternatives of each token, or that nothing is told."""
    assert prompt(**body).sampling.logprobs == expected


@pytest.mark.parametrize("body", [{"max_tokens": 5}, {"max_tokens": 5, "max_completion_tokens": 5}])
def test_the_old_name_of_the_token_limit_is_accepted(body):
    """max_tokens and max_completion_tokens are one parameter."""
    assert prompt(**body).sampling.max_tokens == 5


def test_metadata_names_purpose_matter_and_subject():
    """The three keys that mean something are read."""
    body = decode(
        {
            "messages": [USER],
            "metadata": {"purpose": "treatment", "matter": "m", "subject": "s"},
        }
    )
    assert body.metadata.purpose is Purpose.TREATMENT
    assert (body.metadata.matter, body.metadata.subject) == ("m", "s")


NEUTRAL_CASES = [(name, value) for name, values in ChatBody.neutral.items() for value in values]


@pytest.mark.parametrize(("name", "value"), NEUTRAL_CASES)
def test_a_neutral_default_is_accepted(name, value):
    """A client that spells out a default gets its answer."""
    decode({"messages": [USER], name: value})


UNSUPPORTED = {
    "audio": {"voice": PLANTED},
    "function_call": "auto",
    "functions": [{"name": PLANTED}],
    "modalities": ["text", "audio"],
    "moderation": {"model": PLANTED},
    "prediction": {"type": "content", "content": PLANTED},
    "prompt_cache_key": PLANTED,
    "prompt_cache_options": {"ttl": PLANTED},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "safety_identifier": PLANTED,
    "service_tier": "priority",
    "store": True,
    "user": PLANTED,
    "verbosity": "low",
    "web_search_options": {},
}


def test_every_parameter_without_an_effect_is_in_the_table_of_this_test():
    """A new neutral default needs a case here."""
    assert set(UNSUPPORTED) == set(ChatBody.neutral)


def test_every_parameter_of_the_openai_sdk_is_published_here():
    """A parameter that OpenAI adds gets a decision: supported, or refused by its name."""
    params = openai.types.chat
    published = {
        ChatBody: {
            *params.completion_create_params.CompletionCreateParamsBase.__annotations__,
            "stream",
        },
        AssistantMessage: params.ChatCompletionAssistantMessageParam.__annotations__,
        UserMessage: params.ChatCompletionUserMessageParam.__annotations__,
        ToolMessage: params.ChatCompletionToolMessageParam.__annotations__,
        StreamOptions: params.ChatCompletionStreamOptionsParam.__annotations__,
    }
    for struct, names in published.items():
        ours = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert set(names) - {"role"} <= ours, struct.__name__


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_parameter_is_refused_by_name(name):
    """Never silently ignored, and its value is not quoted."""
    error = refusal({"messages": [USER], name: UNSUPPORTED[name]})
    assert isinstance(error, UnsupportedParameterError)
    assert error.param == name


@pytest.mark.parametrize(
    ("name", "value"), [("n", True), ("logprobs", 0), ("store", 0), ("n", 1.0)]
)
def test_a_neutral_default_has_its_type(name, value):
    """True is not 1 and 0 is not false."""
    assert refusal({"messages": [USER], name: value}).param == name


def message(**fields: object) -> dict[str, object]:
    return {"messages": [USER, fields]}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REFUSED = {
    "no messages": ({}, "messages"),
    "null messages": ({"messages": None}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "unknown parameter": ({"messages": [USER], PLANTED: 1}, None),
    "unknown role": (message(role=PLANTED, content="x"), "messages[1].role"),
    "function role": (message(role="function", name="f", content=PLANTED), "messages[1].role"),
    "no role": (message(content=PLANTED), "messages[1].role"),
    "no content": (message(role="user"), "messages[1].content"),
    "null content": (message(role="user", content=None), "messages[1].content"),
    "content of a wrong type": (
        message(role="user", content={"a": PLANTED}),
        "messages[1].content",
    ),
    "no parts": (message(role="user", content=[]), "messages[1].content"),
    "unknown part": (
        message(role="user", content=[{"type": PLANTED}]),
        "messages[1].content[0].type",
    ),
    "unknown field of a message": (
        message(role="user", content="x", **{PLANTED: 1}),
        "messages[]",
    ),
    "tool calls of a user": (
        message(role="user", content="x", tool_calls=[CALL]),
        "messages[]",
    ),
    "tool result without a call": (message(role="tool", content="x"), "messages[1].tool_call_id"),
    "empty assistant": (message(role="assistant"), "messages[1].content"),
    "refusal": (message(role="assistant", content="x", refusal=PLANTED), "messages[1].refusal"),
    "old function call": (
        message(role="assistant", content="x", function_call={"name": PLANTED}),
        "messages[1].function_call",
    ),
    "tool name with spaces": (
        message(
            role="assistant",
            tool_calls=[{**CALL, "function": {"name": f"{PLANTED} x", "arguments": "{}"}}],
        ),
        "messages[1].tool_calls[0].function.name",
    ),
    "arguments that are an object": (
        message(
            role="assistant",
            tool_calls=[{**CALL, "function": {"name": "f", "arguments": {"a": PLANTED}}}],
        ),
        "messages[1].tool_calls[0].function.arguments",
    ),
    "custom tool": (
        {"messages": [USER], "tools": [{"type": "custom", "custom": {"name": PLANTED}}]},
        "tools[0].type",
    ),
    "a cache breakpoint": (
        message(
            role="user",
            content=[{"type": "text", "text": "x", "prompt_cache_breakpoint": {"a": PLANTED}}],
        ),
        "messages[1].content[0].prompt_cache_breakpoint",
    ),
    "two tools of a name": ({"messages": [USER], "tools": [TOOL, TOOL]}, "tools"),
    "choice of no tool": (
        {
            "messages": [USER],
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": PLANTED}},
        },
        "tool_choice",
    ),
    "required without tools": ({"messages": [USER], "tool_choice": "required"}, "tool_choice"),
    "unknown choice": ({"messages": [USER], "tool_choice": PLANTED}, "tool_choice"),
    "unknown format": (
        {"messages": [USER], "response_format": {"type": PLANTED}},
        "response_format.type",
    ),
    "five stops": ({"messages": [USER], "stop": list("abcde")}, "stop"),
    "an empty stop": ({"messages": [USER], "stop": ["a", ""]}, "stop"),
    "no tokens": ({"messages": [USER], "max_tokens": 0}, "max_tokens"),
    "fewer than no tokens": ({"messages": [USER], "max_tokens": -1}, "max_tokens"),
    "no tokens by the new name": (
        {"messages": [USER], "max_completion_tokens": 0},
        "max_completion_tokens",
    ),
    "no answers": ({"messages": [USER], "n": 0}, "n"),
    "seventeen answers": ({"messages": [USER], "n": 17}, "n"),
    "a penalty beyond two": ({"messages": [USER], "presence_penalty": 2.5}, "presence_penalty"),
    "a penalty as text": (
        {"messages": [USER], "frequency_penalty": PLANTED},
        "frequency_penalty",
    ),
    "a bias for a word": ({"messages": [USER], "logit_bias": {PLANTED: 1}}, "logit_bias"),
    "a bias for no token": ({"messages": [USER], "logit_bias": {"-1": 1}}, "logit_bias"),
    "a bias twice": ({"messages": [USER], "logit_bias": {"7": 1, "07": 2}}, "logit_bias"),
    "a bias beyond a hundred": ({"messages": [USER], "logit_bias": {"7": 101}}, "logit_bias"),
    "301 biases": (
        {"messages": [USER], "logit_bias": {str(i): 1 for i in range(301)}},
        "logit_bias",
    ),
    "alternatives without log-probabilities": (
        {"messages": [USER], "top_logprobs": 3},
        "top_logprobs",
    ),
    "21 alternatives": (
        {"messages": [USER], "logprobs": True, "top_logprobs": 21},
        "top_logprobs",
    ),
    "two token limits": (
        {"messages": [USER], "max_tokens": 1, "max_completion_tokens": 2},
        "max_completion_tokens",
    ),
    "hot": ({"messages": [USER], "temperature": 2.1}, "temperature"),
    "temperature as text": ({"messages": [USER], "temperature": PLANTED}, "temperature"),
    "top_p above one": ({"messages": [USER], "top_p": 1.01}, "top_p"),
    "a seed beyond 64 bits": ({"messages": [USER], "seed": 2**63}, "seed"),
    "usage without a stream": (
        {"messages": [USER], "stream_options": {"include_usage": True}},
        "stream_options",
    ),
    "obfuscation": (
        {"messages": [USER], "stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options.include_obfuscation",
    ),
    "unknown metadata": ({"messages": [USER], "metadata": {PLANTED: "x"}}, "metadata"),
    "unknown purpose": ({"messages": [USER], "metadata": {"purpose": PLANTED}}, "metadata.purpose"),
    "a list": ([PLANTED], None),
    "a key that imitates a path": (
        {"messages": [USER], "x` - at `$.messages[78051120].content": 1},
        "messages[].content",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_is_refused_by_published_names_only(name):
    """The parameter is named where it is one of ours; what the client wrote is not."""
    body, param = REFUSED[name]
    assert refusal(body).param == param


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "refusal"])
def test_content_that_is_not_text_is_unsupported(kind):
    """It would reach no model, so it is refused and not dropped."""
    error = refusal(message(role="user", content=[{"type": kind, kind: {"url": PLANTED}}]))
    assert isinstance(error, UnsupportedParameterError)
    assert error.param == "messages[1].content[0].type"


NOT_JSON = {
    "nothing": b"",
    "half": b'{"messages":[',
    "two values": b'{"messages":[{"role":"user","content":"x"}]} {}',
    "NaN": b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "infinity": b'{"messages":[{"role":"user","content":"x"}],"temperature":Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"messages":[{"role":"user","content":"x"}]}',
    "UTF-16": '{"messages":[{"role":"user","content":"x"}]}'.encode("utf-16"),
    "invalid UTF-8": b'{"messages":[{"role":"user","content":"\xff"}]}',
    "an encoded surrogate": b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "a lone high surrogate": rb'{"messages":[{"role":"user","content":"\ud800"}]}',
    "a lone low surrogate": rb'{"messages":[{"role":"user","content":"\udc00x"}]}',
    "surrogates in a key": (
        rb'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"\ud800":1}}'
    ),
    "a raw NUL": b'{"messages":[{"role":"user","content":"a\0b"}]}',
    "an escaped NUL": rb'{"messages":[{"role":"user","content":"a\u0000b"}]}',
    "an escaped NUL after backslashes": rb'{"messages":[{"role":"user","content":"\\\u0000"}]}',
    "a control character": b'{"messages":[{"role":"user","content":"a\x01b"}]}',
    "messages twice": (
        b'{"messages":[{"role":"user","content":"x"}],"messages":[{"role":"user","content":"y"}]}'
    ),
    "content twice": b'{"messages":[{"role":"user","content":"x","content":"y"}]}',
    "a key twice, spelled differently": (
        rb'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"a":1,"\u0061":1}}'
    ),
    "deep": b'{"messages":' + b"[" * 100_000,
    "too many lists": b'{"messages":[' + b"[]," * 20_000 + b"[]]}",
    "too many numbers": b'{"messages":[' + b"1," * 60_000 + b"1]}",
    "deep objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "a huge number": b'{"messages":[],"seed":' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_bytes_that_have_no_single_reading_are_refused(name):
    """What two parsers may read differently is refused before anything is looked at."""
    with pytest.raises(RequestError) as refused:
        decode(NOT_JSON[name])
    assert refused.value.param in {None, "messages", "seed"}


def test_a_backslash_before_u0000_is_text():
    r"""The six characters \u0000 in a prompt about code are no NUL."""
    body = decode(rb'{"messages":[{"role":"user","content":"\\u0000"}]}')
    assert body.messages[0].content == r"\u0000"


def test_a_long_text_is_not_too_much_structure():
    """Commas and colons in prose or code are text, however many."""
    text = "a: [1, 2], " * 20_000
    assert decode({"messages": [{"role": "user", "content": text}]}).messages[0].content == text


def test_brackets_in_strings_are_not_nesting():
    """Depth counts structure, not text."""
    text = '[[[["\\' * 50
    assert decode({"messages": [{"role": "user", "content": text}]}, 4).messages[0].content == text


@pytest.mark.parametrize(("depth", "accepted"), [(58, True), (59, True), (60, False)])
def test_the_depth_limit_is_exact(depth, accepted):
    """As many arrays and objects may be open at once as the limit says."""
    schema: dict[str, object] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = {"messages": [USER], "tools": [tool]}  # four are open around the schema
    if accepted:
        decode(body, 63)
    else:
        with pytest.raises(RequestError):
            decode(body, 63)


def test_published_names_are_those_of_the_api_reference():
    """A few that must be there, and nothing that Python added."""
    assert {"messages", "role", "type", "content", "max_completion_tokens", "purpose"} <= PUBLISHED
    assert not {name for name in PUBLISHED if name.startswith("_")}


@pytest.mark.parametrize("language", ["en", "xx", "pt-BR", "sr-Latn-RS", "DE", "gsw"])
def test_any_language_of_the_right_shape_is_taken(language):
    """A language that is not served is no error: everything is searched, and the answer says so."""
    body = decode_deidentify(
        json.dumps({"text": "t", "language": language}).encode(), depth_limit=9
    )
    assert body.language == language
    told = searched(language, ("en", "de"))
    assert told["known"] is (language in {"en", "DE"})
    assert told["searched"] == ["en", "de"]


def test_deidentify_takes_text_language_and_policies():
    """One policy or several, by name."""
    body = decode_deidentify(b'{"text":"t","language":"de","policy":["a","b"]}', depth_limit=64)
    assert (body.text, body.language, body.policy) == ("t", "de", ["a", "b"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": 1}, "text"),
        ({"text": "t", "language": "German"}, "language"),
        ({"text": "t", "language": "en_GB"}, "language"),
        ({"text": "t", "language": "en-"}, "language"),
        ({"text": "t", "language": "\u0435n"}, "language"),
        ({"text": "t", "policy": ""}, "policy"),
        ({"text": "t", "metadata": {"matter": PLANTED}}, "metadata"),
        ({"text": "t", PLANTED: 1}, None),
    ],
)
def test_a_wrong_deidentify_request_is_refused(body, param):
    """Published names only, here too."""
    with pytest.raises(RequestError) as refused:
        decode_deidentify(json.dumps(body).encode(), depth_limit=64)
    assert refused.value.param == param
    assert PLANTED not in refused.value.message
