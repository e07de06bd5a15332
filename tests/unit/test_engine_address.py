"""Where an upstream may be, and what is sent there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.domain import (
    Message,
    Prompt,
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
)
from gateway.engine.port import Embedding, Generation
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.requests import embedding_call, generation_call
from gateway.engine.remote.upstream import Upstream, check_address, health_url
from gateway.errors import RequestError, SettingsError, UnsupportedParameterError

ON_THE_PREMISES = [
    "http://127.0.0.1:8000/v1",
    "http://localhost/v1",
    "http://[::1]:1/v1",
    "http://127.9.9.9/",
    "https://10.1.2.3/v1",
    "https://172.16.0.1:8443/v1",
    "https://192.168.1.1/v1",
    "https://100.64.0.1/v1",
    "https://[fd00::1]/v1",
    "https://[::ffff:10.0.0.1]/v1",
]
ELSEWHERE = [
    "",
    "10.0.0.1:8000",
    "http://10.1.2.3/v1",
    "http://[fd00::1]/v1",
    "https://8.8.8.8/v1",
    "https://172.32.0.1/v1",
    "https://169.254.169.254/v1",
    "https://[fe80::1]/v1",
    "https://[::ffff:8.8.8.8]/v1",
    "https://0.0.0.0/v1",
    "https://[::]/v1",
    "https://model.internal/v1",
    "https://localhost.example/v1",
    "https://2130706433/v1",
    "https://010.0.0.1/v1",
    "ftp://127.0.0.1/v1",
    "https://user:password@10.0.0.1/v1",
    "https://10.0.0.1/v1?x=1",
    "https://10.0.0.1:99999/v1",
]


@pytest.mark.parametrize("url", ON_THE_PREMISES)
def test_loopback_and_private_addresses_are_accepted(url: str):
    """Plain http on loopback only."""
    check_address(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_everything_else_is_refused_at_start(url: str):
    """Names, public and link-local addresses, credentials in the address, plain http beyond."""
    with pytest.raises(SettingsError):
        RemoteEngine(Upstream("m", ("http://127.0.0.1:1/v1", url), "m", 4096))


def body(prompt: Prompt, **more) -> dict:
    return json.loads(generation_call(Generation("m", prompt, 10), "their-name", **more).body)


HELLO = (Message("user", "Hi"),)


def test_a_plain_prompt_sends_nothing_that_was_not_asked():
    """Absent parameters stay absent; the upstream's defaults are its own."""
    assert body(Prompt(HELLO)) == {
        "model": "their-name",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_parameter_is_passed_through():
    """Tools, choice, format, stop, sampling, calls in the history, and the cache's scope."""
    prompt = Prompt(
        messages=(
            Message("assistant", None, tool_calls=(ToolCall("c1", "look", "{}"),)),
            Message("tool", "found", tool_call_id="c1"),
        ),
        tools=(Tool("look", "looks", {"type": "object"}, strict=True),),
        tool_choice="function:look",
        parallel_tool_calls=False,
        stop=("END",),
        response_format=ResponseFormat("json_schema", "n", "d", {"type": "object"}, strict=True),
        sampling=Sampling(5, 0.0, 0.5, 7, 0.25, -0.5, ((3, -100.0), (4, 1.5)), 2, 5),
    )
    sent = body(prompt, salt="abc", reuse=False)
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert sent == {
        "model": "their-name",
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "found", "tool_call_id": "c1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "looks",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "n",
                "description": "d",
                "schema": {"type": "object"},
                "strict": True,
            },
        },
        "stop": ["END"],
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 7,
        "frequency_penalty": 0.25,
        "presence_penalty": -0.5,
        "logit_bias": {"3": -100.0, "4": 1.5},
        "n": 2,
        "logprobs": True,
        "top_logprobs": 5,
        "cache_salt": "abc",
        "cache_prompt": False,
    }
    assert body(Prompt(HELLO, response_format=ResponseFormat("json_object")))[
        "response_format"
    ] == {"type": "json_object"}


def test_a_raw_prompt_is_a_completion():
    """The text as it stands; one alternative is asked for where none is wanted."""
    call = generation_call(Generation("m", Prompt(HELLO, raw=True), 10), "their-name")
    assert call.path == "/completions"
    assert json.loads(call.body) == {
        "model": "their-name",
        "prompt": "Hi",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked = [
        body(Prompt(HELLO, raw=True, sampling=Sampling(logprobs=n)))["logprobs"] for n in (0, 3)
    ]
    assert asked == [1, 3]
    chat = body(Prompt(HELLO, sampling=Sampling(logprobs=0)))
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 0)


def test_texts_to_embed_are_sent_as_a_list_and_never_shown():
    """In their order; the representation of the call holds none of them."""
    call = embedding_call(Embedding("m", ["one", "two"], 10), "their-name")
    assert call.path == "/embeddings"
    assert json.loads(call.body) == {
        "model": "their-name",
        "input": ["one", "two"],
        "encoding_format": "float",
    }
    assert "one" not in repr(call)


NOT_SENT = [
    (Prompt(HELLO, response_format=ResponseFormat("extractive")), "response_format"),
    (Prompt(HELLO, response_format=ResponseFormat("grounded")), "response_format"),
    (Prompt(HELLO, response_format=ResponseFormat("json_object"), raw=True), "response_format"),
    (Prompt(HELLO, tools=(Tool("f"),), raw=True), "tools"),
]


@pytest.mark.parametrize(("prompt", "param"), NOT_SENT)
def test_what_cannot_be_sent_is_refused(prompt: Prompt, param: str):
    """Quotations are decoded here or not at all; a completion has no tools and no format."""
    with pytest.raises(UnsupportedParameterError) as caught:
        body(prompt)
    assert caught.value.param == param


def test_half_a_surrogate_pair_is_no_text():
    """Neither in a prompt nor in a text to embed."""
    with pytest.raises(RequestError):
        body(Prompt((Message("user", "\ud800"),)))
    with pytest.raises(RequestError):
        embedding_call(Embedding("m", ["\ud800"], 10), "m")


@pytest.mark.parametrize(
    "named",
    [
        {"urls": ()},
        {"urls": ("http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1/")},
        {"health_path": "http://127.0.0.1:2/health"},
        {"health_path": "//10.0.0.1/health"},
        {"client_key": Path("gateway.key")},
        {"client_certificate": Path("absent.pem"), "client_key": Path("absent.key")},
        {"ca_file": Path("absent.pem")},
    ],
)
def test_an_upstream_that_says_half_is_refused_at_start(named: dict):
    """No server, one twice, a check somewhere else, half a certificate, files that are absent."""
    whole = {"name": "m", "urls": ("http://127.0.0.1:1/v1",), "model": "m", "context": 9}
    with pytest.raises(SettingsError):
        RemoteEngine(Upstream(**whole | named))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("models", "http://127.0.0.1:1/v1/models"),
        ("/health", "http://127.0.0.1:1/health"),
        ("/v1/models", "http://127.0.0.1:1/v1/models"),
    ],
)
def test_a_health_path_is_relative_to_the_url(path: str, asked: str):
    """As a link on a page is (RFC 3986, 5.2)."""
    assert health_url("http://127.0.0.1:1/v1", path) == asked
