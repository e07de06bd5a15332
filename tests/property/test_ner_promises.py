"""Promises of the name model, for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pii.ner.tagger import Tagger

ANY = st.text(st.characters(), max_size=400)
WORDS_OF = ("Mr.", "Ana", "SMITH", "12/03/1940", "\n", "in", "Köln", "0171", "-", "\t")
WORDS = st.lists(st.sampled_from(WORDS_OF), max_size=60).map(" ".join)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger.load()


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY | WORDS, max_size=4))
def test_spans_of_any_texts_are_sorted_disjoint_and_inside(
    tagger: Tagger, texts: list[str]
) -> None:
    """Whatever the characters, spans are in order, apart, inside the text, and probabilities."""
    found = tagger.spans(texts)
    assert len(found) == len(texts)
    for text, spans in zip(texts, found, strict=True):
        at = 0
        for span in spans:
            assert at <= span.start < span.end <= len(text)
            assert 0 < span.score <= 1
            assert span.label in tagger.entity_types
            at = span.end


@settings(max_examples=40, deadline=None)
@given(ANY | WORDS, ANY | WORDS)
def test_a_text_is_tagged_alike_beside_any_other(tagger: Tagger, text: str, other: str) -> None:
    """What stands beside a text in a call changes nothing of what is found in it."""
    assert tagger.spans([other, text])[1] == tagger.spans([text])[0]


@pytest.mark.parametrize("text", ["x" * 300_000, "9" * 300_000, "\n" * 300_000, "a1" * 100_000])
def test_long_texts_without_a_space_are_read(tagger: Tagger, text: str) -> None:
    """Length alone breaks nothing."""
    assert len(tagger.spans([text])) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*WORDS_OF, "the", "pain", "Dr.", "López"]), min_size=1, max_size=300),
    st.lists(st.integers(0, 2000), max_size=4),
)
def test_near_a_change_is_found_what_is_found_in_all_of_the_text(
    tagger: Tagger, words: list[str], starts: list[int]
) -> None:
    """Spans that touch a change are those of the whole text, and none is found that it has not."""
    text = " ".join(words)
    changed = sorted((min(a, len(text)), min(a + 5, len(text))) for a in starts)
    whole = tagger.spans([text])[0]
    near = tagger.spans([text], [changed])[0]
    assert set(near) <= set(whole)
    short = [s for s in whole if len(text[s.start : s.end].split()) < 8]
    assert {s for s in short if any(s.start < b and a < s.end for a, b in changed)} <= set(near)
    assert near == [s for s in whole if s in near]
