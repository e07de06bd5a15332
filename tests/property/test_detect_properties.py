"""Promises of detection over any text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.disguise import expand
from gateway.pii.recognizers.folding import fold

ANY_TEXT = st.text(alphabet=st.characters(codec=None), max_size=60)
PIECES = st.sampled_from(
    [
        "Mr. ",
        "Anna ",
        "MRN: ",
        "1234567 ",
        "123-45-6789",
        "a@b.co",
        "03/04/2020",
        "\u200b",
        "\ud800",
        "é",
        "\uff11\uff12",
        "card ",
        "4111111111111111",
        "https://x.example/",
        "Straße 12",
        "\n",
        "\x00",
        "no. ",
        "DE89370400440532013000",
        "claim ",
        "key=",
        "sk-abcdefghijklmnop1234",
        " ",
        "(",
        "91 years old",
        "passport ",
        "AB1234563",
        "10.2.3.44",
        "\u05d0\u05d1",
        "phone 0171 2345678",
    ]
)
TEXTS = st.one_of(ANY_TEXT, st.lists(PIECES, max_size=14).map("".join))


@pytest.fixture(scope="module")
def detector() -> PresidioDetector:
    return PresidioDetector()


@settings(max_examples=150)
@given(text=TEXTS)
def test_findings_are_sorted_disjoint_and_inside(detector, text):
    """Any string, lone surrogates too, gives findings in order that lie in it and apart."""
    (found,) = detector.detect([text])
    for one, next_ in pairwise(found):
        assert one.end <= next_.start
    assert all(0 <= f.start < f.end <= len(text) for f in found)
    assert all(0 < f.score <= 1 and f.entity_type in detector.entity_types for f in found)


@settings(max_examples=50)
@given(texts=st.lists(TEXTS, max_size=4))
def test_texts_do_not_influence_each_other(detector, texts):
    """Findings of a text are the same alone, in company, and a second time."""
    assert detector.detect(texts) == [detector.detect([text])[0] for text in texts]


@settings(max_examples=150)
@given(text=TEXTS)
def test_the_prefilter_loses_nothing(detector, text):
    """A recognizer that the prefilter leaves out would have found nothing."""
    data = fold(text).text.encode()
    possible = set(detector._prefilter.possible(data))
    for index, recognizer in enumerate(detector._recognizers):
        if index not in possible:
            assert list(recognizer.find(data)) == [], recognizer.id


@given(text=ANY_TEXT)
def test_folding_keeps_the_way_back(text):
    """Each folded character has its origin in the text, in order, and always a UTF-8 form."""
    folded = fold(text)
    folded.text.encode()
    spans = [folded.original(i, i + 1) for i in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) and end == start + 1 for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@settings(max_examples=150)
@given(text=TEXTS)
def test_disguises_are_undone_within_the_text(detector, text):
    """What a view says comes from the text, and merging keeps every plain finding covered."""
    expanded = expand([text])
    plain = detector.detect(expanded.texts)
    (merged,) = expanded.merge(plain)
    assert all(0 <= f.start < f.end <= len(text) for f in merged)
    covered = {i for f in merged for i in range(f.start, f.end)}
    assert all(set(range(f.start, f.end)) <= covered for f in plain[0])
