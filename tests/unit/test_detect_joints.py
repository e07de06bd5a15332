"""Values that are split over messages, fields and arguments."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import Decision, Message, Operator, Prompt, Ruling, ToolCall
from gateway.pii.categories import Categorizer
from gateway.pii.joints import MOST, REACH, joints
from gateway.pii.mask import splice
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.vocabulary import WEAK
from gateway.pii.segments import collect
from gateway.protect import Protector
from tests.silent import Silent

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(findings, _categories):
    return Decision(
        tuple(
            Ruling(Operator.KEEP if f.entity_type in WEAK else Operator.PSEUDONYM, restore=True)
            for f in findings
        )
    )


@pytest.fixture(scope="module")
def guard():
    """Rules alone: what they say of a joint does not depend on a model."""
    return Protector(PresidioDetector(tagger=Silent()), splice, lambda: NOW, Categorizer())


def said(*texts):
    roles = ("user", "assistant")
    return Prompt(tuple(Message(role=roles[i % 2], content=t) for i, t in enumerate(texts)))


def masked(guard, prompt):
    return [m.content for m in guard.protect(prompt, decide)[0].messages]


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (("What is her MRN?", "4471902"), "4471902"),
        (("and the iban? it starts DE89 3704 0044", "0532 0130 00"), "0532 0130 00"),
        (("the card begins 4111 1111", "1111 1111 is the rest"), "1111 1111"),
        (("my ssn is 123-45-", "6789"), "6789"),
        (("my ssn is 123-45-", "", "6789"), "6789"),
        (("my ssn is 123-45-", "\u200b", "\u200b6789"), "6789"),
        (("my ssn is 078-05-", "1984"), "1984"),
        (("my ssn is 078-05-", "1120 see a&amp;b"), "1120"),
        (("What is her MRN?", '"4471902"'), "4471902"),
        (("What is her MRN?", "It's 4471902."), "4471902"),
        (("password?", "1Aaaabbbb" + "c" * 50 + "TAILsecret99"), "99"),
    ],
)
def test_the_rest_of_a_value_in_the_next_message_is_masked(guard, texts, left):
    """What a label or a checksum makes of two messages is masked where the second one begins."""
    assert left not in masked(guard, said(*texts))[-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"a": "4111 1111", "b": "1111 1111"},
        {"ref": "DE89 3704", "more": "0044 0532", "last": "0130 00"},
        ["ssn 123", "-45-", "6789"],
    ],
)
def test_a_value_over_several_fields_is_masked_in_each(guard, fields):
    """In one message, whole or as the arguments of a call, no piece of it stays."""
    pieces = fields.values() if isinstance(fields, dict) else fields
    text = json.dumps(fields)
    call = Message("assistant", None, tool_calls=(ToolCall("1", "f", text),))
    prompt, _ = guard.protect(Prompt((Message("user", text), call)), decide)
    for sent in (prompt.messages[0].content, prompt.messages[1].tool_calls[0].arguments):
        assert not [p for p in pieces if "".join(filter(str.isdigit, p)) in sent]


@pytest.mark.parametrize(
    "texts",
    [
        ("take 5 mg", "10 tablets are left"),
        ("what was the pressure?", "120/80"),
        ("count to three", "1 2 3"),
        ("What was the account balance?", "1,249.50"),
        ("Which claim?", "450 entries in 2 files"),
        ("Do you know the case?", "it is 500 mg of it"),
        ('{"bp": "109/74", "hr": "118", "rr": "15", "temp": "39.5"}',),
        ('["7238", "9908", "2670", "5085"]',),
        ('{"readings": ["900", "1250", "77", "3100"]}',),
    ],
)
def test_numbers_that_only_stand_side_by_side_are_left_alone(guard, texts):
    """Being next to each other makes no value of them."""
    assert masked(guard, said(*texts)) == list(texts)


def test_a_name_of_a_message_stands_between_nothing(guard):
    """Who speaks is no part of what is said."""
    messages = (Message("assistant", "What is her MRN?"), Message("user", "4471902", name="ann"))
    prompt, _ = guard.protect(Prompt(messages), decide)
    assert "4471902" not in prompt.messages[1].content


PARTS = st.sampled_from(
    ["123-45-", "6789", "ssn", "my ssn is ", "4111 1111", "1111 1111", "MRN?", "4471902", "ok", ""]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, min_size=2, max_size=7), st.integers(1, 6))
def test_a_value_that_goes_on_later_renumbers_nothing_before(guard, texts, cut):
    """The mapping of a conversation is part of the mapping of the one that goes on."""
    short = guard.protect(said(*texts[:cut]), decide)[1].mapping
    longer = guard.protect(said(*texts), decide)[1].mapping
    assert short.items() <= longer.items()


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS | st.text(max_size=80), max_size=40))
def test_what_is_searched_besides_is_linear_in_the_strings(texts):
    """Each string is in a bounded number of joints, a stretch of it in each."""
    made = joints(collect(said(*texts)))
    used = [part.index for joint in made for part in joint.parts]
    assert all(used.count(index) <= MOST for index in used)
    assert all(len(j.text) <= MOST * (REACH + 1) and len(j.parts) <= MOST for j in made)
    for joint in made:
        for part in joint.parts[1:]:
            source = (texts[part.index] or "")[part.offset :]
            assert source.startswith(joint.text[part.start : part.end])
