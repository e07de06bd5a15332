"""Where an upstream may be, and what is sent there."""

from __future__ import annotations

import json

import pytest

from gateway.domain import (
    Message,
    Prompt,
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
)
from gateway.engine.completions import request_body
from gateway.engine.port import Generation
from gateway.engine.remote import RemoteEngine, Upstream, check_address
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
        RemoteEngine(Upstream("m", url, "m", 4096))


def body(prompt: Prompt, **more) -> dict:
    return json.loads(request_body(Generation("m", prompt, 10, **more), "their-name"))


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
        sampling=Sampling(5, 0.0, 0.5, 7),
    )
    sent = body(prompt, cache_scope="abc", adapter="lora")
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert sent == {
        "model": "lora",
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
        "cache_salt": "abc",
    }
    assert body(Prompt(HELLO, response_format=ResponseFormat("json_object")))[
        "response_format"
    ] == {"type": "json_object"}


def test_what_cannot_be_sent_is_refused():
    """An extractive format is decoded here or not at all; half a surrogate pair is no text."""
    with pytest.raises(UnsupportedParameterError) as caught:
        body(Prompt(HELLO, response_format=ResponseFormat("extractive")))
    assert caught.value.param == "response_format"
    with pytest.raises(RequestError):
        body(Prompt((Message("user", "\ud800"),)))
