"""What a prompt asks for, by cues, and that not knowing is an answer."""

from __future__ import annotations

import pytest

from gateway.routing.intent import INTENTS, classify

PROMPTS = [
    ("Summarize this note for the discharge.", "summarize"),
    ("Please summarise:\n<PERSON_1> came in with chest pain.", "summarize"),
    ("Give me a short summary of the hearing.", "summarize"),
    ("tl;dr", "summarize"),
    ("What dose of ramipril does <PERSON_1> take?", "question"),
    ("The patient was seen on <DATE_TIME_1>. Was an ECG done?", "question"),
    ("Draft a letter to the referring physician about <PERSON_1>.", "letter"),
    ("Write an email to opposing counsel.", "letter"),
    ("List all medications.", "extract"),
    ("Please extract the dates from the following judgment.", "extract"),
    ("Translate the note to Spanish.", "translate"),
    ("Explain the difference between the two contracts.", "general"),
    ("", "unsure"),
    ("ok", "unsure"),
    ("Summarize the note and translate it to German.", "unsure"),
    ("Faites un r\u00e9sum\u00e9 de cette note.", "unsure"),
    ("The patient was listed for surgery and found stable.", "unsure"),
]


@pytest.mark.parametrize(("text", "intent"), PROMPTS)
def test_cues_name_the_intent(text, intent):
    """One kind of cue names it; none, two kinds, or another language leave it unsure."""
    assert classify(text) == intent


def test_the_instruction_is_found_before_and_after_a_long_text():
    """An instruction stands at either end; the document between them is not read for cues."""
    filler = "The lungs were clear and the heart was regular. " * 40
    document = f"{filler}Please translate and list and explain. {filler}"
    assert classify("Summarize the following.\n" + document) == "summarize"
    assert classify(document + "\nWhat was found on the chest film?") == "question"


@pytest.mark.parametrize("text", ["a" * 100_000, "? " * 50_000, "please " * 15_000, "\n" * 100_000])
def test_long_texts_are_answered(text):
    """Whatever is sent, one of the published intents comes back."""
    assert classify(text) in INTENTS
