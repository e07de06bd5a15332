"""What the model finds beside names and names nothing."""

from __future__ import annotations

import pytest

from gateway.pii.idle import without_idle
from gateway.pii.ner.tagger import Span


def spans(text, *found):
    """``found``: (value, label, score), in order."""
    made, at = [], 0
    for value, label, score in found:
        start = text.index(value, at)
        at = start + len(value)
        made.append(Span(start, at, label, score))
    return made


@pytest.mark.parametrize(
    ("text", "found", "left"),
    [
        ("seen by the nurse", [("the", "PERSON", 0.4)], []),
        ("Ms or Mrs?", [("Ms", "PERSON", 0.9), ("Mrs", "PERSON", 0.9)], []),
        ("o2 95 on 2 l", [("2", "LOCATION", 0.4)], []),
        ("scored 17/80 today", [("17/80", "DATE_TIME", 0.7)], []),
        ("risk 1/4300", [("1/4300", "DATE_TIME", 0.7)], []),
        ("on 4/19 and 19/4", [("4/19", "DATE_TIME", 0.3), ("19/4", "DATE_TIME", 0.3)], None),
        ("Md Rahman", [("Md", "PERSON", 0.5), ("Rahman", "PERSON", 0.9)], None),
        ("in 3/2024", [("3/2024", "DATE_TIME", 0.3)], None),
        ("An Nguyen came", [("An Nguyen", "PERSON", 0.4)], None),
        ("El came, An too", [("El", "PERSON", 0.4), ("An", "PERSON", 0.4)], None),
        ("pt F.D. stable", [("F.D.", "PERSON", 0.4)], None),
        ("bed 4B", [("4B", "LOCATION", 0.3)], None),
        ("K was late", [("K", "PERSON", 0.95)], None),
    ],
)
def test_spans_that_name_nothing_are_dropped(text, found, left):
    """Function words, titles, lone letters and numbers go; names that look like them stay."""
    given = spans(text, *found)
    assert without_idle(text, given) == (given if left is None else left)


def test_a_word_between_the_parts_of_a_value_stays():
    """Of a name around it "of" is a part; "and" between two persons is none."""
    text = "Bank of Dover for Ana and Bo"
    given = spans(
        text,
        ("Bank", "ORGANIZATION", 0.9),
        ("of", "ORGANIZATION", 0.3),
        ("Dover", "ORGANIZATION", 0.9),
        ("Ana", "PERSON", 0.9),
        ("and", "PERSON", 0.3),
        ("Bo", "PERSON", 0.9),
    )
    assert without_idle(text, given) == [s for s in given if text[s.start : s.end] != "and"]
