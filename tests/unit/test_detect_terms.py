"""What a model takes for an identifier and is none, and what stays an identifier all the same."""

from __future__ import annotations

import pytest

from gateway.pii.ner.tagger import Span
from gateway.pii.terms import Terms

SPARED = [
    ("PERSON", "how do you tell [Bell] palsy from a stroke"),
    ("PERSON", "[Bell]'s facial palsy or a stroke"),
    ("PERSON", "Which [Kellgren-Lawrence] grade is that?"),
    ("PERSON", "a patient with [Tourette]'s and OCD"),
    ("PERSON", "Morbus [Crohn] seit Jahren"),
    ("PERSON", "start [Synvisc] now"),
    ("LOCATION", "BRCA2, [PALB2], CHEK2"),
    ("LOCATION", "[TIBC 480], ferritin 6"),
    ("ORGANIZATION", "[Stark Law] in four lines"),
    ("PERSON", "[Daubert] v. Merrell Dow Pharmaceuticals, 509 U.S. 579 (1993)"),
    ("ORGANIZATION", "see Alpha Beta Ltd v Gamma plc [[2014] UKSC 12]"),
    ("ZIP_CODE", "CPT 99214 vs [99215]"),
    ("ID_NUMBER", "45 CFR [164.514]"),
    ("DATE_TIME", "BP [162/94] today"),
    ("DATE_TIME", "[3/6] systolic murmur"),
    ("DATE_TIME", "Holosystolic [3/6] at the apex"),
    ("ID_NUMBER", "see section [12.4.1]"),
    ("PERSON", "Antrag wegen [Pflegegeldrückforderung]"),
    ("LOCATION", "after [cholecystectomy] she"),
    ("PERSON", "cuadro de [desorientación] leve"),
]
KEPT = [
    ("PERSON", "Mr [Bell] has palsy"),
    ("PERSON", "ask [Bell] about the score"),
    ("PERSON", "patient [Wells], score 3"),
    ("PERSON", "[Crohn] called, his disease is worse"),
    ("PERSON", "our client [Daubert] v. Merrell Dow"),
    ("PERSON", "Dr. [Soma] prescribed it"),
    ("PERSON", "[Ann Bell] has Bell palsy"),
    ("LOCATION", "he lives in [Lyme]"),
    ("DATE_TIME", "seen on [3/6] with cough"),
    ("ID_NUMBER", "badge [99214]"),
    ("PERSON", "Frau [Hartung] kommt"),
    ("PERSON", "con [Asunción] Clemente"),
    ("PERSON", "ask [Ace] to come"),
]


@pytest.fixture(scope="module")
def terms():
    return Terms()


def _marked(marked: str, label: str) -> tuple[str, Span]:
    start = marked.index("[")
    end = marked.rindex("]") - 1
    return marked[:start] + marked[start + 1 : end + 1] + marked[end + 2 :], Span(
        start, end, label, 0.9
    )


@pytest.mark.parametrize(("label", "marked"), SPARED, ids=[row[1][:40] for row in SPARED])
def test_terms_and_published_law_are_spared(terms, label, marked):
    """A term beside its head, a section, a citation, a code, a measurement: nobody is named."""
    text, span = _marked(marked, label)
    assert terms.spare(text, [span]) == []


@pytest.mark.parametrize(("label", "marked"), KEPT, ids=[row[1][:40] for row in KEPT])
def test_the_same_words_stay_names_where_somebody_is_named(terms, label, marked):
    """A title, a verb of a person, a matter at hand: the word names somebody."""
    text, span = _marked(marked, label)
    assert terms.spare(text, [span]) == [span]


def test_no_spans_no_work(terms):
    """Nothing found gives nothing."""
    assert terms.spare("Bell palsy", []) == []
