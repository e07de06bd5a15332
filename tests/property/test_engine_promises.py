"""What holds for every input: parsers give a value or our error, and splits do not matter."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import time
from collections.abc import Sequence

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.engine.adapters import check_adapter
from gateway.engine.answer import AnswerText
from gateway.engine.extractive import (
    ABSTAINED,
    ABSTENTION,
    Budget,
    Candidate,
    Feed,
    LabelForm,
    Options,
    chooser,
    quote,
)
from gateway.engine.gguf_header import GgufHeader, read_header
from gateway.engine.memory import estimate
from gateway.engine.remote.answers import AnswerStream
from gateway.engine.remote.embeddings import read_embeddings
from gateway.engine.remote.sse import EventParser, StreamError
from gateway.engine.sentences import Reading, read, split
from gateway.engine.template import ChatTemplate
from gateway.engine.wire import Turn
from gateway.errors import GatewayError, ModelFileError
from tests.tinymodel import TEMPLATE, gguf_bytes

SOUND = gguf_bytes(
    {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": [2],
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.token_type": [1, 1],
        "tokenizer.chat_template": TEMPLATE,
    },
    {
        "token_embd.weight": np.zeros((2, 32), np.float32),
        "blk.0.attn_norm.weight": np.zeros(32, np.float32),
    },
)
FRAGMENTS = st.sampled_from(
    [
        *("Dr. ", "no. 18403/91", "3.5 mg. ", "e.g. ", "J. ", "<PERSON_1>", "<PERSON_1_2> ", "\n"),
        *(
            "\r\n",
            "\n\n",
            "- ",
            "1. ",
            "a) ",
            "PLAN:",
            "? ",
            "! ",
            "... ",
            "🙂",
            "👩‍⚕️",
            "é",
            "e\u0301",
        ),
        *(
            "What is it? ",
            "Summarise:",
            "The cat sat. ",
            "“Yes.” ",
            "。",
            "\u2028",
            "\x00",
            "<|end|>",
        ),
        *("⟦1⟧", "\t", " and then lower case goes on for a long while without an end ", "A", "b"),
    ]
)
TEXTS = st.one_of(st.text(max_size=120), st.lists(FRAGMENTS, max_size=25).map("".join))


# --- the header ---------------------------------------------------------------------------------


def header_or_error(data: bytes) -> None:
    try:
        header = read_header(io.BytesIO(data), len(data))
    except ModelFileError:
        return
    assert isinstance(header, GgufHeader)
    assert header.context > 0
    assert header.tensors
    assert estimate(header, 64, 32).total > 0


@given(st.binary(max_size=300))
@example(SOUND)
def test_any_bytes_give_a_header_or_our_error(data: bytes):
    """No other exception, whatever stands there."""
    header_or_error(data)
    header_or_error(b"GGUF\x03\0\0\0" + data)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_header_gives_a_header_or_our_error(data: st.DataObject):
    """A few bytes changed anywhere in a sound file: still no other exception."""
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    header_or_error(bytes(damaged))
    header_or_error(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


ADAPTER = gguf_bytes(
    {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    },
    {
        "token_embd.weight.lora_a": np.zeros((2, 4), np.float32),
        "token_embd.weight.lora_b": np.zeros((32, 4), np.float32),
    },
)


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_adapter_fits_its_base_or_gives_our_error(data: st.DataObject):
    """A few bytes changed anywhere: no other exception, and nothing of another shape passes."""
    base = read_header(io.BytesIO(SOUND), len(SOUND))
    check_adapter(read_header(io.BytesIO(ADAPTER), len(ADAPTER)), base)
    damaged = bytearray(ADAPTER)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = read_header(io.BytesIO(bytes(damaged)), len(damaged))
        check_adapter(header, base)
    except ModelFileError:
        return
    assert header.alpha > 0
    first, second = (tensor.shape for tensor in header.tensors.values())
    assert (first[1], second[1], first[0]) == (2, 32, second[0])


NUMBERS = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 16, 32, 512]),
    st.floats(width=32),
    st.booleans(),
    st.lists(st.integers(-1, 64), min_size=1, max_size=3),
    st.text(max_size=3),
)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("block_count", "embedding_length", "attention.head_count", "feed_forward_length"),
                *("attention.head_count_kv", "attention.key_length", "attention.value_length"),
                *("ssm.inner_size", "ssm.state_size", "expert_used_count", "wkv.head_size"),
            ]
        ),
        NUMBERS,
    )
)
def test_any_dimensions_give_an_estimate_or_our_error(changed):
    """Whatever the metadata claims: a model of bounded dimensions, or a refusal."""
    fields = {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "llama.attention.head_count": 2,
        "tokenizer.ggml.tokens": ["a", "b"],
    } | {f"llama.{key}": value for key, value in changed.items()}
    tensors = {
        "token_embd.weight": np.zeros((2, 32), np.float32),
        "blk.0.attn_norm.weight": np.zeros(32, np.float32),
    }
    data = gguf_bytes(fields, tensors)
    try:
        header = read_header(io.BytesIO(data), len(data))
    except ModelFileError:
        return
    assert (header.dimensions.layers, header.dimensions.width) == (1, 32)
    assert estimate(header, 64, 32, sequences=2).total > 0


# --- the text of an answer ----------------------------------------------------------------------


def pieces(data: st.DataObject, whole: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def written(parts: Sequence[bytes], stop: Sequence[str]) -> tuple[str, bool, list[str]]:
    answer = AnswerText(stop)
    out = [answer.feed(part) for part in parts]
    out.append(answer.close())
    return "".join(out), answer.stopped, out


@settings(max_examples=150)
@given(
    st.data(),
    st.one_of(st.binary(max_size=60), st.text(alphabet="ab\né🙂", max_size=40).map(str.encode)),
    st.lists(st.text(alphabet="ab\né🙂", max_size=4), max_size=3),
)
def test_every_split_of_an_answer_gives_the_whole(data, whole: bytes, stop: list[str]):
    """Same text, same reason, for every way the bytes arrive; and nothing but the stop is lost."""
    text, stopped, _ = written([whole], stop)
    assert written(pieces(data, whole), stop)[:2] == (text, stopped)
    expected = whole.decode("utf-8", "replace")
    assert expected.startswith(text)
    assert not any(one in text for one in stop if one)
    assert stopped == any(one in expected for one in stop if one)
    if not stopped:
        assert text == expected


# --- sentences and quotations -------------------------------------------------------------------


@settings(max_examples=150)
@given(TEXTS)
def test_sentences_are_slices_that_leave_out_only_white_space(text: str):
    """In order, without overlap, trimmed; every other character stands in exactly one."""
    spans = split(text)
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        assert text[position:start].strip() == ""
        assert text[start:end].strip() == text[start:end]
        position = end
    assert text[position:].strip() == ""


TURNS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXTS), max_size=5
)


@settings(max_examples=150)
@given(TURNS)
def test_what_may_be_quoted_stands_word_for_word_in_what_users_and_tools_said(turns):
    """Never the system's words, never the assistant's; the question is the last user's."""
    reading = read(turns)
    sources = [text for role, text in turns if role in ("user", "tool")]
    place = 0
    for sentence in reading.sentences:  # in document order: each one in this source or a later one
        while sentence not in sources[place]:
            place += 1
    assert reading.question


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), max_size=8), st.data())
def test_an_answer_is_whole_candidates_in_order_each_at_most_once(tokens, data: st.DataObject):
    """Whatever the model likes, whatever the budget: a subsequence of the document, or the line."""
    separator, end = 9, 0
    candidates = [Candidate(repr(one), tuple(one), (separator, *one), len(one)) for one in tokens]
    abstention = Candidate(ABSTENTION, (5, 6), (separator, 5, 6), 2)
    answer = data.draw(st.none() | st.integers(0, 12))
    room = data.draw(st.integers(0, 20))
    fed: list[int] = []

    def advance(more: Sequence[int]):
        fed.extend(more)
        likes = data.draw(st.permutations(range(10)))
        return lambda token: float(likes[token])

    walk = quote(
        Options(candidates, abstention, (end,)),
        chooser(data.draw(st.sampled_from([0.0, 1.0])), 1.0, 1),
        Budget(answer, room),
    )
    places, why, scores = [], None, None
    while why is None:
        try:
            step = walk.send(scores)
        except StopIteration as stop:
            why = stop.value
            break
        scores = None
        if isinstance(step, Feed):
            scores = advance(step.tokens)
        else:
            places.append(step)
    assert why in ("stop", "length")
    if ABSTAINED in places:
        assert places == [ABSTAINED]
    else:
        assert places == sorted(set(places))
        said = [candidates[place].text for place in places]
        assert len(set(said)) == len(said)
        assert answer is None or sum(candidates[place].cost for place in places) <= answer
    assert len(fed) <= room


@given(TEXTS, st.lists(TEXTS, max_size=6))
def test_a_labelled_prompt_has_one_line_for_each_candidate(question: str, sentences: list[str]):
    """No text can add a line or forge a label."""
    form = LabelForm("⟦{n}⟧", "⟦0⟧", "{label} {sentence}\n", 255)
    lines = form.prompt(Reading(question, tuple(sentences))).split("\n")
    assert len(lines) == len(sentences) + 1
    for number, line in enumerate(lines[:-1], 1):
        assert line.startswith(f"⟦{number}⟧ ")
        assert line.count("⟦") == line.count("⟧") == 1
    assert "⟦" not in lines[-1]


# --- templates and events -----------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["user", "system"]), TEXTS), min_size=1, max_size=4))
def test_a_rendered_prompt_holds_every_message_and_marks_it_as_a_users(turns):
    """The template's text is the template's alone, whatever users write."""
    template = ChatTemplate(TEMPLATE, bos="", eos="")
    rendered = template.render([Turn(*turn) for turn in turns], "n0nce")
    assert [piece.text for piece in rendered if not piece.ours] == [t for _, t in turns if t]
    ours = "".join(piece.text for piece in rendered if piece.ours)
    assert ours == "".join(f"<|{role}|>" for role, _ in turns) + "<|assistant|>"


@settings(max_examples=200)
@given(st.data(), st.lists(st.text(max_size=8), max_size=6), st.sampled_from(["\n", "\r", "\r\n"]))
def test_every_split_of_an_event_stream_gives_the_same_events(data, texts: list[str], newline: str):
    """Bytes may be cut inside a line break or a character."""
    clean = [text.replace("\r", "").replace("\n", "") for text in texts]
    stream = "".join(f": c{newline}data: {one}{newline}{newline}" for one in clean) + newline
    parser = EventParser()
    events = [one for part in pieces(data, stream.encode()) for one in parser.feed(part)]
    events += parser.feed(b"\n")
    assert events == clean


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_any_bytes_give_events_or_our_error(parts: list[bytes]):
    """No other exception."""
    parser = EventParser()
    try:
        for part in parts:
            assert all(isinstance(one, str) for one in parser.feed(part))
    except StreamError:
        return


FIELDS = [
    "bytes", "choices", "content", "data", "delta", "embedding", "error", "finish_reason",
    "function", "index", "logprob", "logprobs", "prompt_tokens_details", "text", "token",
    "token_logprobs", "tokens", "tool_calls", "top_logprobs", "usage",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSON, st.sampled_from(["choices", "data", "usage"]), st.integers(1, 3))
def test_any_json_gives_an_answer_or_our_error(value: object, field: str, n: int):
    """Of a stream and of a list of vectors: no other exception."""
    inner = value if isinstance(value, list) else [value]
    text = json.dumps({"choices": [], field: inner}).encode()
    stream = AnswerStream(n, top=1)
    with contextlib.suppress(StreamError, GatewayError):
        assert all(0 <= chunk.index < n for chunk in stream.feed(b"data: " + text + b"\n\n"))
        assert {chunk.index for chunk in stream.last()} == set(range(n))
    with contextlib.suppress(StreamError):
        assert len(read_embeddings(text, n).vectors) == n


@given(st.binary(max_size=200))
def test_any_bytes_give_vectors_or_our_error(body: bytes):
    """No other exception."""
    with contextlib.suppress(StreamError):
        assert len(read_embeddings(body, 1).vectors) == 1


def test_an_event_in_many_pieces_takes_no_longer_than_its_length():
    """A server that sends byte by byte has nothing read twice."""
    parser = EventParser()
    began = time.process_time()
    for _ in range(300_000):
        assert parser.feed(b"x") == []
    assert time.process_time() - began < 3
