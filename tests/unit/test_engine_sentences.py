"""Sentences and questions: truth tables."""

from __future__ import annotations

import pytest

from gateway.engine.sentences import SUMMARISE, read, split

SENTENCES = [
    ("", []),
    ("  \n\t ", []),
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ("Dr. Smith saw Mrs. Jones. She left.", ["Dr. Smith saw Mrs. Jones.", "She left."]),
    ("It was K.H. Braun. He left.", ["It was K.H. Braun.", "He left."]),
    ("J. P. Morgan paid. He left.", ["J. P. Morgan paid.", "He left."]),
    ("Application no. 18403/91 failed. Why?", ["Application no. 18403/91 failed.", "Why?"]),
    ("Allergies? No. Patient denies.", ["Allergies?", "No.", "Patient denies."]),
    ("Took 3.5 mg. Then 4.", ["Took 3.5 mg.", "Then 4."]),
    ("Aspirin 81 mg. daily. Stop it.", ["Aspirin 81 mg. daily.", "Stop it."]),
    ("See art. 8 § 2. It applies.", ["See art. 8 § 2.", "It applies."]),
    ("Seen by <PERSON_1>. <PERSON_2> agreed.", ["Seen by <PERSON_1>.", "<PERSON_2> agreed."]),
    ("Visit example.org or 10.0.0.1. Now.", ["Visit example.org or 10.0.0.1.", "Now."]),
    ("Fine 🙂. 🎉 Done.", ["Fine 🙂.", "🎉 Done."]),
    ('He said "Stop." Then left.', ['He said "Stop."', "Then left."]),
    ("PLAN:\n1. Aspirin. 2. Rest.\n- Walk", ["PLAN:", "1. Aspirin.", "2. Rest.", "- Walk"]),
    ("a) Rest.\nb) Walk.", ["a) Rest.", "b) Walk."]),
    ("Wait... What?", ["Wait...", "What?"]),
    ("今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
    (
        "The patient was seen at the clinic on the third day\nand was sent home.\nHe slept.",
        ["The patient was seen at the clinic on the third day\nand was sent home.", "He slept."],
    ),
    ("Short line\nand another", ["Short line", "and another"]),
    ("First.\r\nSecond.\r\n", ["First.", "Second."]),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_sentences_are_slices_at_the_places_a_reader_would_cut(text: str, expected: list[str]):
    """Titles, numbers, list markers and wrapped lines do not end a sentence."""
    assert [text[start:end] for start, end in split(text)] == expected


NOTE = "The patient has flu. She takes aspirin."
READINGS = [
    ("a question at the end", [("user", f"{NOTE}\n\nWhat does she take?")], "What does she take?"),
    (
        "a question and how to answer it",
        [("user", f"{NOTE} What does she take? Answer briefly.")],
        "What does she take? Answer briefly.",
    ),
    (
        "an order at the start",
        [("user", f"Summarise this note:\n\n{NOTE}")],
        "Summarise this note:",
    ),
    ("a question at the start", [("user", f"What does she take?\n{NOTE}")], "What does she take?"),
    (
        "an order at the end",
        [("user", f"{NOTE}\nPlease list them.")],
        "Please list them.",
    ),
    ("no question", [("user", NOTE)], SUMMARISE),
    ("no question mark", [("user", f"{NOTE}\nwhat does she take")], "what does she take"),
    (
        "the note came earlier",
        [("user", NOTE), ("assistant", "I see."), ("user", "her drugs")],
        "her drugs",
    ),
    ("the note is a tool's", [("user", "What is it?"), ("tool", NOTE)], "What is it?"),
    (
        "an earlier question is no document",
        [("user", f"{NOTE} What has she?"), ("assistant", "Flu."), ("user", "What drug?")],
        "What drug?",
    ),
    (
        "system and assistant are no documents",
        [("system", "Be brief."), ("assistant", "Hello."), ("user", f"{NOTE} What has she?")],
        "What has she?",
    ),
]


@pytest.mark.parametrize(("turns", "question"), [row[1:] for row in READINGS])
def test_the_question_is_not_quotable_and_the_note_is(turns, question: str):
    """Whatever the order, the note's sentences are the candidates and the question is not."""
    reading = read(turns)
    assert reading.question == question
    assert reading.sentences == ("The patient has flu.", "She takes aspirin.")


NOT_ASKING = [
    "Is able to walk.",
    "Does not smoke.",
    "When seen, he was pale.",
    "Name: <PERSON_1>",
    "List of drugs:",
    "Has no allergies",
]


@pytest.mark.parametrize("line", NOT_ASKING)
def test_a_line_of_a_note_is_not_taken_for_the_question(line: str):
    """Notes leave out subjects and have headings; those lines stay quotable."""
    for text in (f"{line}\nHe slept well.\nWhat did he do?", f"{line}\nHe slept well."):
        assert any(line.startswith(one) for one in read([("user", text)]).sentences)
    reading = read([("user", f"He slept well.\n{line}\n\nWhat did he do?")])
    assert reading.question == "What did he do?"


def test_a_question_alone_leaves_nothing_to_quote():
    """Without a text there are no candidates."""
    reading = read([("user", "What is the capital of France?")])
    assert reading.question == "What is the capital of France?"
    assert reading.sentences == ()


def test_lines_without_a_letter_are_no_candidates():
    """A rule of dashes answers nothing."""
    assert read([("user", "One.\n---\nTwo. What?")]).sentences == ("One.", "Two.")


def test_a_reading_never_prints_its_text():
    """Text of prompts stays out of logs."""
    assert "flu" not in repr(read([("user", NOTE)]))
