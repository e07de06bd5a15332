"""What becomes of candidates that overlap: the type of a number, and who is named for it."""

from __future__ import annotations

import pytest

from gateway.pii.port import MODEL
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.presidio.resolve import resolve
from gateway.pii.recognizers.folding import fold
from gateway.pii.recognizers.load import Candidate
from tests.silent import Silent

TEXT = "number 4471902"


def found(*candidates):
    given = [Candidate(kind, 7, 14, score, source) for kind, score, source in candidates]
    return [(f.entity_type, f.source) for f in resolve(given, fold(TEXT), TEXT.encode())]


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([("PERSON", 0.9, MODEL), ("PERSON", 0.5, "title")], ("PERSON", "title")),
        ([("PERSON", 0.9, MODEL)], ("PERSON", MODEL)),
        (
            [
                ("ID_NUMBER", 0.4, "long-digits"),
                ("ID_NUMBER", 0.9, MODEL),
                ("MEDICAL_RECORD", 0.85, "medical-record"),
            ],
            ("MEDICAL_RECORD", "medical-record"),
        ),
        (
            [
                ("ID_NUMBER", 0.4, "long-digits"),
                ("ID_NUMBER", 0.9, MODEL),
                ("NATIONAL_ID", 0.6, "spain-nuss+checksum"),
            ],
            ("NATIONAL_ID", "spain-nuss+checksum"),
        ),
    ],
)
def test_a_rule_names_the_kind_and_the_reason(candidates, expected):
    """The model is the source only of what it found alone; a number keeps the kind a rule knows."""
    assert found(*candidates) == [expected]


@pytest.mark.parametrize("form", ["1", "1_2", "12_34"])
def test_the_type_of_a_placeholder_is_no_context(form):
    """`<MEDICAL_RECORD_1>` beside a number does not make a record number of it, in any form."""
    detector = PresidioDetector(tagger=Silent())
    assert detector.detect([f"4471902 and <MEDICAL_RECORD_{form}>"]) == detector.detect(
        [f"4471902 and <PERSON_{form}>"]
    )


@pytest.mark.parametrize("form", ["1", "1_2"])
def test_what_stands_behind_a_placeholder_is_not_read_in_its_place(form):
    """An address that was masked makes no address of the line below it."""
    text = f"Address: <LOCATION_{form}>\nSeen with Ana"
    assert PresidioDetector(tagger=Silent()).detect([text]) == [()]
