"""Promises 4 and 5 of DESIGN §4 where a policy asks for surrogates."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain import Message, Operator, Prompt, Ruling
from gateway.pii import forms
from gateway.pii.locate import locate, queries
from gateway.pii.mask import Masked, Memory, mask
from gateway.pii.restore import JsonRestorer, Restorer, restore_json, restore_text
from gateway.pii.segments import collect, rebuild
from gateway.pii.surrogates.draw import beginning, conversation_key
from gateway.pii.surrogates.issue import Surrogates
from gateway.pii.surrogates.numbers import passes
from tests.wordlist import TODAY, detect, users

SECRET = b"a secret of this process, 32 byt"
TAG = "k7f3"
VALUES = {
    "Anna Schmidt": "PERSON",
    "Anna": "PERSON",
    "Frau Schmidt": "PERSON",
    "SCHMIDT, ANNA": "PERSON",
    "Peter Schmidt": "PERSON",
    "María López": "PERSON",
    "Schmidt GmbH": "ORGANIZATION",
    "12 Elm Street, Ulm": "LOCATION",
    "12 March 2021": "DATE_TIME",
    "03/04/2021": "DATE_TIME",
    "March 14": "DATE_TIME",
    "MRN-7186888": "MEDICAL_RECORD",
    "12345678": "MEDICAL_RECORD",
    "078-05-1120": "US_SSN",
    "078 05 1120": "US_SSN",
    "4111 1111 1111 1111": "CREDIT_CARD",
    "DE89 3704 0044 0532 0130 00": "IBAN_CODE",
    "(617) 555-0142": "PHONE_NUMBER",
    "anna.schmidt@ward.example": "EMAIL_ADDRESS",
    "45": "AGE",
    "王小明": "PERSON",
}
FILLERS = [
    " ", ", ", "\n", ". ", " saw ", "x", "7", "<PERSON_1>", "Clara ", "-", "'s", "s", "\\n", "_",
    "March 15, 2021", "2021", "https://h.example/", "<a href=", ">", "**", "é", "(", '"',
]  # fmt: skip
CHECKED = {"MEDICAL_RECORD", "US_SSN", "CREDIT_CARD", "IBAN_CODE"}
pieces = st.sampled_from([*VALUES, *FILLERS])
texts = st.lists(pieces, max_size=7).map("".join)
messages = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), texts)
conversations = st.lists(messages, max_size=3).map(
    lambda rest: Prompt((Message("user", "We begin."), *rest))
)


def surrogate(_finding) -> Ruling:
    return Ruling(Operator.SURROGATE, restore=True)


def mask_prompt(prompt: Prompt, rule=surrogate, words=None) -> Masked:
    segments = collect(prompt)
    found = locate(segments, [detect(words or VALUES, query) for query in queries(segments)])
    rulings = [[rule(finding) for finding in findings] for findings in found]
    key = conversation_key(SECRET, b"scope", beginning(prompt))
    return mask(segments, found, rulings, today=TODAY, memory=Memory(Surrogates(key)))


def surrogates(masked: Masked) -> dict[str, str]:
    return {key: v.text for key, v in masked.mapping.items() if v.surrogate_for}


def known(masked: Masked):
    return {key: (v.text, v.entity_type, v.number) for key, v in masked.mapping.items()}


@given(conversations, st.lists(messages, max_size=2))
@settings(max_examples=60, deadline=None)
def test_a_mapping_is_part_of_the_mapping_of_the_conversation_that_goes_on(begun, added):
    """What a conversation was given it keeps, whatever is said later (promise 4)."""
    longer = Prompt((*begun.messages, *added))
    assert known(mask_prompt(begun)).items() <= known(mask_prompt(longer)).items()


@given(texts, st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=120, deadline=None)
@example("Anna SchmidtAnna", [])
@example("March 15, 2021 March 14 12 March 2021", [3])
def test_an_echo_is_restored_exactly_for_every_split(text, cuts):
    """What comes back as the model saw it is the text that was sent, wherever it was cut."""
    masked = mask_prompt(users(text))
    [written] = masked.texts
    whole, report = restore_text(written, masked.mapping, TAG)
    edges = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    for parts in ([written[i:j] for i, j in pairwise(edges)], list(written)):
        restorer = Restorer(masked.mapping, TAG)
        streamed = "".join(map(restorer.feed, parts)) + restorer.finish()
        assert (streamed, restorer.report) == (whole, report)
    assert report.unknown == report.hidden == 0
    if report.withheld == 0:
        assert whole == text


@given(st.dictionaries(texts, texts | st.sampled_from([12345678, 45, 3.5]), max_size=3))
@settings(max_examples=60, deadline=None)
def test_json_comes_back_with_its_numbers(content):
    """Numbers that were replaced are numbers again, also where the model writes them bare."""
    prompt = users(json.dumps(content))
    masked = mask_prompt(prompt)
    written = rebuild(prompt, masked.texts).messages[0].content or ""
    restored, report = restore_json(written, masked.mapping, TAG)
    restorer = JsonRestorer(masked.mapping, TAG)
    assert "".join(map(restorer.feed, written)) + restorer.finish() == restored
    if report.withheld == 0:
        assert json.loads(restored) == content


@given(conversations)
@settings(max_examples=60, deadline=None)
def test_no_surrogate_is_a_value_a_text_or_anybodys_number(prompt):
    """A surrogate stands in no text of its turn, equals no value, and passes no checksum."""
    masked = mask_prompt(prompt)
    given_out = surrogates(masked)
    assert not set(given_out) & set(given_out.values())
    for key, value in masked.mapping.items():
        if value.surrogate_for and value.entity_type in CHECKED:
            assert not passes(key)
    for text, excepted in zip(masked.texts, masked.excepted, strict=True):
        covered = {i for span in excepted for i in range(span.start, span.end)}
        for start, end in forms.visible(text, masked.normalised_values()):
            assert covered.issuperset(range(start, end))


@given(conversations)
@settings(max_examples=40, deadline=None)
def test_for_a_role_that_may_not_see_a_value_its_surrogate_stays(prompt):
    """Where nothing may be restored the answer passes as it is, and the report says how often."""
    masked = mask_prompt(prompt, lambda _finding: Ruling(Operator.SURROGATE, restore=False))
    text = "\n".join(key for key in surrogates(masked) if " " not in key)
    restored, report = restore_text(text, masked.mapping, TAG)
    assert restored == text
    assert report.restored == 0
