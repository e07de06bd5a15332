"""Promise 5 of DESIGN §4: every split of a stream gives the restored whole."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.pii import jsontext, placeholders
from gateway.pii.mask import LITERAL, Value
from gateway.pii.restore import (
    JsonRestorer,
    Report,
    Restorer,
    restore_arguments,
    restore_json,
    restore_text,
)

TAG = "k7f3"
MAPPING = {
    "<PERSON_1>": Value('Anna "Ann"\\\nSchm\u00fcdt', "PERSON", restore=True),
    "<PERSON_1_2>": Value("Anna", "PERSON", restore=True),
    "<MEDICAL_RECORD_1>": Value("12345678", "MEDICAL_RECORD", restore=True, number=True),
    "<MEDICAL_RECORD_1_2>": Value("12345678", "MEDICAL_RECORD", restore=True),
    "<US_SSN_1>": Value("078-05-1120", "US_SSN", restore=False),
    "<US_SSN_2>": Value("78051120", "US_SSN", restore=False, number=True),
    "<URL_1>": Value("https://ward.example/x", "URL", restore=True),
    "<LITERAL_1>": Value("<PERSON_1>", LITERAL, restore=True),
}
SECRETS = ("Anna", "Schm", "12345678", "078-05-1120", "78051120")

PIECES = [
    *MAPPING, "<PERSON_7>", "<PERSON_01>", "&lt;PERSON_1&gt;", "\\u003cPERSON_1\\u003e",
    "\\<PERSON\\_1\\>", "< person_1 >", "\uff1cPERSON_1\uff1e", "<", ">", "<PERSON", "_1", "_1_2>",
    "&", "&l", "t;", "\\", "\\u00", "3c", "https://", "//", "www.", "mailto:", "](", "[", "]", "(",
    ")", "[x]:", "<a href=", '"', "'", "=", "<b>", "</b>", " ", "\n", "\n\n", "{", "}", ",", ":",
    '{"', '":', '",', "1", "null", "é", "\U0001f600", "\u0301", "\ud83d", "a",
]  # fmt: skip
answers = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=14).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | answers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(answers, inner, max_size=3),
    max_leaves=5,
)
json_answers = st.builds(
    lambda value, readable: json.dumps(value, ensure_ascii=not readable),
    st.dictionaries(answers, values, max_size=3),
    st.booleans(),
)


@st.composite
def splits(draw, whole_texts):
    """A text, cut anywhere; empty chunks too."""
    whole = draw(whole_texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    return whole, [whole[i:j] for i, j in pairwise(edges)]


def streamed(restorer, chunks):
    return "".join(restorer.feed(chunk) for chunk in chunks) + restorer.finish()


@given(splits(answers))
@settings(max_examples=300)
def test_any_split_of_a_text_is_restored_as_the_whole(split):
    """Where a stream is cut makes no difference, in the text or in the report."""
    whole, chunks = split
    expected = restore_text(whole, MAPPING, TAG)
    for pieces in (chunks, list(whole)):
        restorer = Restorer(MAPPING, TAG)
        assert (streamed(restorer, pieces), restorer.report) == expected


@given(splits(json_answers | answers))
@settings(max_examples=300)
def test_any_split_of_json_is_restored_as_the_whole(split):
    """The same for JSON, also where the model wrote no valid JSON."""
    whole, chunks = split
    expected = restore_json(whole, MAPPING, TAG)
    for pieces in (chunks, list(whole)):
        restorer = JsonRestorer(MAPPING, TAG)
        assert (streamed(restorer, pieces), restorer.report) == expected


@given(answers)
@settings(max_examples=200)
def test_what_is_held_back_is_only_an_open_placeholder(text):
    """The first token waits for nothing but an open placeholder, whose length is bounded."""
    restorer = Restorer({}, TAG)
    said = ""
    for i, char in enumerate(text):
        said += restorer.feed(char)
        held = text[len(said) : i + 1]
        assert said + held == text[: i + 1]
        assert len(held) < 200
        assert held == "" or held[0] in "<&\\\uff1c"


@given(answers)
@settings(max_examples=200)
def test_a_text_without_a_mapping_passes_as_it_was(text):
    """Nothing is changed that no mapping names; what looks like a placeholder is reported."""
    restored, report = restore_text(text, {}, TAG)
    assert restored == text
    assert report == Report(unknown=len(list(placeholders.find(text))))


@given(json_answers)
@settings(max_examples=200)
def test_json_stays_json_with_the_same_shape(text):
    """Restoring changes strings and nothing around them (promise 5)."""
    restored, _ = restore_json(text, MAPPING, TAG)
    before, after = jsontext.tokens(text), jsontext.tokens(restored)
    assert before is not None
    assert after is not None
    assert len(before) == len(after)
    changed = {(b.kind, a.kind) for b, a in zip(before, after, strict=True)}
    string, number = jsontext.TokenKind.STRING, jsontext.TokenKind.NUMBER
    assert all(b is a or (b, a) == (string, number) for b, a in changed)


@given(json_answers | answers)
@settings(max_examples=200)
def test_a_tool_that_policy_does_not_name_gets_no_value(arguments):
    """In arguments of such a tool no value is restored and no placeholder stays fillable."""
    for secret in SECRETS:
        if secret in arguments or secret in json.dumps(arguments):
            return
    masked, report = restore_arguments(arguments, MAPPING, TAG, allowed=False)
    assert not any(secret in masked for secret in SECRETS)
    left = {found.canonical for found in placeholders.find(masked)}
    literal = {"<PERSON_1>"} if report.restored else set()
    assert not (left & MAPPING.keys()) - literal


@given(json_answers)
@example('{"\\ud800\\udc50www.<PERSON_1>": null}')
@settings(max_examples=200)
def test_arguments_of_a_named_tool_are_the_json_with_its_values(arguments):
    """Every string of the arguments is restored as that string alone would be."""
    restored, _ = restore_arguments(arguments, MAPPING, TAG, allowed=True)
    before, after = jsontext.tokens(arguments), jsontext.tokens(restored)
    assert before is not None
    assert after is not None
    for b, a in zip(before, after, strict=True):
        if b.kind is not jsontext.TokenKind.NUMBER and a.kind is b.kind:
            assert a.text == restore_text(b.text, MAPPING, TAG)[0]
