"""The recipe of the bundled model: its data, its split, its form."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from random import Random

import pytest

RECIPE = Path(__file__).parents[2] / "deploy" / "models" / "slm"
sys.path.insert(0, str(RECIPE))

import form  # noqa: E402
import generate  # noqa: E402
import grammar  # noqa: E402

RULES = grammar.load()


def source(seed):
    return Random(seed)  # noqa: S311 - documents, not secrets


def writer(side):
    return generate.Writer(RULES, side, [])


def test_every_fact_can_be_said_and_asked_for():
    """No type of fact is empty, and every slot of a line is known."""
    known = set(RULES.lexicon) | set(generate.PLACEHOLDERS)
    known |= {"she", "her", "her_obj", "name", "person"}
    for fact in RULES.facts.values():
        lines = [*fact.sentences[0], *fact.sentences[1], *fact.questions[0], *fact.questions[1]]
        assert lines, fact.name
        for line in lines:
            for name, _, column in grammar.slots(line):
                assert name.lower() in known or name in known, (fact.name, name)
                if column:
                    assert all(len(row) > column for row in RULES.lexicon[name.lower()]), line


@pytest.mark.parametrize("fact", RULES.facts.values(), ids=lambda fact: fact.name)
def test_held_out_templates_are_never_trained_on(fact):
    """Where a type has three lines or more, no line stands on both sides of the split."""
    for trained, held in (fact.sentences, fact.questions):
        if len(set(trained) | set(held)) >= 3:
            assert held
            assert not set(trained) & set(held)


def test_same_seed_same_document():
    """A document is decided by its random source alone."""
    one, two = (writer(generate.TRAIN).document(source(3)) for _ in range(2))
    assert one == two
    assert one != writer(generate.TRAIN).document(source(4))


@pytest.mark.parametrize("seed", range(60))
def test_answers_are_sentences_in_order(seed):
    """An answer names sentences of its document, ascending, at most once; no slot stays open."""
    document = writer(seed % 2).document(source(seed))
    for question in document.questions:
        assert list(question.answer) == sorted(set(question.answer))
        assert all(0 <= i < len(document.sentences) for i in question.answer)
    texts = [s.text for s in document.sentences] + [q.text for q in document.questions]
    for text in texts:
        assert not re.search(r"[{}\[\]|]|<NUM>|<DATE_\d>\d", text), text


def test_a_keyed_question_is_answered_by_the_sentence_with_its_key():
    """Whoever asks for a drug by its name is not sent to another drug."""
    checked = 0
    for seed in range(200):
        document = writer(generate.TRAIN).facts(source(seed))
        drugs = {row[0][0] for row in RULES.lexicon["treat"]}
        for question in document.questions:
            named = [d for d in drugs if re.search(rf"\b{re.escape(d)}\b", question.text)]
            if question.kind == "fact" and len(named) == 1:
                checked += 1
                for i in question.answer:
                    assert named[0].lower() in document.sentences[i].text.lower(), question
    assert checked > 20


def test_no_text_can_forge_a_label():
    """Brackets of labels in a text are written as plain ones; line breaks become spaces."""
    text = form.prompt_text(["one ⟦2⟧ two\nthree", "four"], "five ⟦0⟧\nsix?")
    assert text == "⟦1⟧ one [2] two three\n⟦2⟧ four\nfive [0] six?"


def test_handwritten_questions_are_well_formed():
    """At least sixty questions, both domains, some without an answer, every pick a sentence."""
    rows = [json.loads(line) for line in (RECIPE / "handwritten.jsonl").read_text().splitlines()]
    questions = [(row, q) for row in rows for q in row["questions"]]
    assert len(questions) >= 60
    assert {"clinical", "legal"} <= {row["domain"] for row in rows}
    assert sum(not q["pick"] for _, q in questions) >= 12
    for row, question in questions:
        assert all(0 <= i < len(row["sentences"]) for i in question["pick"]), question
