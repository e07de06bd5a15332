"""What is read out of the events and bodies of an OpenAI-compatible server."""

from __future__ import annotations

import json
import math

import pytest

from gateway.domain import Chunk, FinishReason, TokenLogprob, ToolCall, Usage
from gateway.engine.remote.answers import AnswerStream
from gateway.engine.remote.embeddings import read_embeddings
from gateway.engine.remote.sse import StreamError
from gateway.errors import ContextLengthExceededError, UnsupportedParameterError
from tests.scripted import DONE, END, HELLO, USAGE, event, text_of


def chat(logprobs: object, content: str = "x") -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "logprobs": logprobs}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def completion(text: str, *, finish: str | None = None, logprobs: object = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_several_answers_are_told_apart_by_their_index():
    """Interleaved; each has its reason and its calls; the first to end carries the count."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    stream = AnswerStream(n=3)
    chunks = stream.feed(
        event({"content": "a"}, index=1)
        + event({"content": "b"}, index=0)
        + event({"tool_calls": [call]}, index=2)
        + event({"content": "c"}, index=1)
        + event(finish="length", index=1)
        + event(finish="stop", index=0)
        + event(finish="tool_calls", index=2)
        + USAGE
        + DONE
    )
    assert [text_of(chunks, index) for index in range(3)] == ["b", "ac", ""]
    assert stream.last() == [
        Chunk(finish=FinishReason.LENGTH, usage=Usage(3, 2), index=1),
        Chunk(finish=FinishReason.STOP, usage=Usage(), index=0),
        Chunk(
            tool_calls=(ToolCall("c", "f", "{}"),),
            finish=FinishReason.TOOL_CALLS,
            usage=Usage(),
            index=2,
        ),
    ]


def test_a_server_that_gives_one_answer_of_several_is_told_from_a_broken_one():
    """The first asks for something the server cannot do; the second lost an answer."""
    one = AnswerStream(n=2)
    one.feed(HELLO + END + DONE)
    with pytest.raises(UnsupportedParameterError) as caught:
        one.last()
    assert caught.value.param == "n"
    broken = AnswerStream(n=2)
    broken.feed(HELLO + event({"content": "x"}, index=1) + END + DONE)
    with pytest.raises(StreamError):
        broken.last()


def test_log_probabilities_of_a_chat_are_bytes_and_as_many_as_were_asked_for():
    """The field of bytes counts where there is one, because half a character has no text."""
    half = {"token": "\ufffd", "bytes": [0xC3], "logprob": -0.5}
    plain = {"token": "ü", "logprob": -1.5}
    told = {"content": [half | {"top_logprobs": [plain, half, plain]}]}
    (chunk,) = AnswerStream(top=2).feed(chat(told))
    expected = TokenLogprob(b"\xc3", -0.5, ((b"\xc3", -0.5), ("ü".encode(), -1.5)))
    assert chunk == Chunk("x", logprobs=(expected,))
    (none,) = AnswerStream(top=0).feed(chat(told))
    assert none.logprobs == (TokenLogprob(b"\xc3", -0.5),)


def test_log_probabilities_that_nobody_asked_for_are_not_passed_on():
    """They tell more of the model than the request was allowed to see."""
    told = {"content": [{"token": "x", "logprob": -1.0}]}
    assert AnswerStream().feed(chat(told)) == [Chunk("x")]


def test_tokens_without_text_still_have_their_probabilities():
    """Half a character is no text yet; its token must not be lost."""
    told = {"content": [{"token": "", "bytes": [0xC3], "logprob": -1.0}]}
    assert AnswerStream(top=0).feed(chat(told, "")) == [
        Chunk("", logprobs=(TokenLogprob(b"\xc3", -1.0),))
    ]


def test_the_older_form_of_completions_is_read():
    """Lists beside each other, the likeliest first; a first token without alternatives."""
    told = {
        "tokens": ["a", "b"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [None, {"c": -3.0, "b": -2.0, "d": -4.0}],
        "text_offset": [0, 1],
    }
    stream = AnswerStream(top=2)
    chunks = stream.feed(completion("ab", logprobs=told) + completion("", finish="stop") + DONE)
    pairs = ((b"b", -2.0), (b"c", -3.0))
    assert chunks == [
        Chunk("ab", logprobs=(TokenLogprob(b"a", -1.0), TokenLogprob(b"b", -2.0, pairs)))
    ]
    assert stream.last() == [Chunk(finish=FinishReason.STOP, usage=Usage())]


def test_the_cached_part_of_a_prompt_is_counted():
    """What the server had not to compute again; null where it does not say."""
    told = {"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}
    for details, cached in ((None, 0), ({"cached_tokens": None}, 0), ({"cached_tokens": 7}, 7)):
        stream = AnswerStream()
        usage = json.dumps({"choices": [], "usage": told | {"prompt_tokens_details": details}})
        stream.feed(HELLO + END + f"data: {usage}\n\n".encode() + DONE)
        assert stream.last()[0].usage == Usage(9, 0, cached)


ODD_TOKENS = [
    {"content": [{"token": "x"}]},
    {"content": [{"token": "x", "logprob": -1, "bytes": [256]}]},
    {"content": [{"token": "x", "logprob": -1, "bytes": [-1]}]},
    {"content": [{"token": "x", "logprob": "-1"}]},
    {"tokens": ["a", "b"], "token_logprobs": [-1.0]},
    {"tokens": ["a"], "token_logprobs": [-1.0, -2.0]},
    {"tokens": "a", "token_logprobs": [-1.0]},
    [],
]


@pytest.mark.parametrize("told", ODD_TOKENS)
def test_odd_log_probabilities_are_no_answer(told: object):
    """Never a guess at what a server may have meant."""
    with pytest.raises(StreamError):
        AnswerStream(top=0).feed(chat(told))


@pytest.mark.parametrize("number", [b"1e999", b"NaN", b"Infinity"])
def test_numbers_that_are_none_are_no_answer(number: bytes):
    """Neither as a probability nor in a vector."""
    odd = chat({"content": [{"token": "x", "logprob": 5}]}).replace(b"5", number)
    with pytest.raises(StreamError):
        AnswerStream(top=0).feed(odd)
    with pytest.raises(StreamError):
        read_embeddings(b'{"data":[{"index":0,"embedding":[1.0,%s]}]}' % number, 1)


def test_an_error_event_that_speaks_of_the_context_says_so():
    """A server may find out after it has begun the stream."""
    error = {"error": {"message": "This model's maximum context length is 8 tokens", "code": 400}}
    with pytest.raises(ContextLengthExceededError):
        AnswerStream().feed(b"data: " + json.dumps(error).encode() + b"\n\n")


# --- embeddings -----------------------------------------------------------------------------------


def vectors(*pairs: tuple[int, list[float]], **more: object) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in pairs]
    return json.dumps({"object": "list", "data": data, **more}).encode()


def test_vectors_come_in_the_order_of_the_texts_and_are_one_long():
    """The server may answer in another order, and need not normalise."""
    body = vectors((1, [0, 2]), (0, [3, 4]), usage={"prompt_tokens": 5, "total_tokens": 5})
    told = read_embeddings(body, 2)
    assert told.vectors == [[0.6, 0.8], [0.0, 1.0]]
    assert told.usage == Usage(5, 0)
    assert all(math.isclose(math.hypot(*vector), 1) for vector in told.vectors)
    assert "0.6" not in repr(told)


ODD_VECTORS = [
    b"",
    b"{}",
    b'{"error":{"message":"secret"}}',
    vectors(),
    vectors((0, [1])),
    vectors((0, [1]), (1, [1]), (2, [1])),
    vectors((0, [1]), (0, [1])),
    vectors((0, [1]), (2, [1])),
    vectors((0, [1]), (1, [1, 2])),
    vectors((0, []), (1, [])),
    vectors((0, [0, 0]), (1, [1, 0])),
    vectors((0, [1.7e308, 1.7e308]), (1, [1, 0])),
    vectors((0, [1]), (1, [1])).replace(b"[1]", b'"AACAPw=="'),
]


@pytest.mark.parametrize("body", ODD_VECTORS)
def test_odd_vectors_are_no_answer(body: bytes):
    """Another number of them, a text twice, several lengths, no direction, no numbers."""
    with pytest.raises(StreamError):
        read_embeddings(body, 2)
