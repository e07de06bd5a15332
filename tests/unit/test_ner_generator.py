"""The generator of training texts: exact spans, one seed one corpus, nothing undefined."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.models.ner.generate import Example, check, examples
from deploy.models.ner.generate.corpus import grammar
from deploy.models.ner.generate.grammar import Draw, Parser, Span, TemplateError
from deploy.models.ner.generate.labels import LABELS
from deploy.models.ner.generate.noise import apply, roughen
from deploy.models.ner.generate.values import Makers
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn() -> list[Example]:
    return list(examples(7, 1500))


def expanded(line: str, seed: int = 1) -> tuple[str, list[Span]]:
    rng = Random(seed)  # noqa: S311
    draw = Draw(rng, "en", grammar().scopes["en-clinical-queries"], Makers())
    draw.expand(Parser(line).parse())
    return "".join(draw.parts), draw.spans


def test_every_name_in_the_templates_is_defined() -> None:
    """No template refers to a production, slot, form or type that is not there."""
    assert check() == []


def test_every_label_is_an_entity_type(drawn: list[Example]) -> None:
    """Slots and written labels are types of the vocabulary."""
    assert set(LABELS.values()) <= set(ENTITY_TYPES)
    assert {s.label for e in drawn for s in e.spans} <= set(ENTITY_TYPES)


def test_spans_are_sorted_apart_and_without_blanks_at_their_ends(drawn: list[Example]) -> None:
    """A span lies in the text, holds a letter or digit, and touches no other."""
    for e in drawn:
        last = 0
        for s in e.spans:
            value = e.text[s.start : s.end]
            assert last <= s.start < s.end <= len(e.text), e
            assert value == value.strip(), e
            assert any(c.isalnum() for c in value), e
            last = s.end


def test_the_same_seed_gives_the_same_texts_in_another_process() -> None:
    """Neither hashing nor the order of a set has a say."""
    command = [sys.executable, "-m", "deploy.models.ner.generate", "--seed", "5", "--count", "40"]
    runs = {
        subprocess.run(
            [*command, "--jsonl"], cwd=ROOT, env={"PYTHONHASHSEED": salt}, check=True,
            capture_output=True, text=True, encoding="utf-8",
        ).stdout
        for salt in ("0", "1")
    }  # fmt: skip
    assert len(runs) == 1


def test_more_than_a_quarter_and_less_than_half_are_clean(drawn: list[Example]) -> None:
    """A model that never sees clean texts covers them."""
    assert 0.25 < sum(e.clean for e in drawn) / len(drawn) < 0.5


def test_held_out_texts_are_none_of_the_training_ones(drawn: list[Example]) -> None:
    """What is measured on was not trained on."""
    held = list(examples(7, 300, held_out=True))
    seen = {e.text for e in drawn if len(e.text) > 40}
    assert not seen & {e.text for e in held}


@pytest.mark.parametrize(
    ("line", "text", "labels"),
    [
        ("plain (as is) words", "plain (as is) words", []),
        (r"a \(b\|c\) \[d\] \{e\} \<f\>", "a (b|c) [d] {e} <f>", []),
        ("{AGE=in her nineties}, ok", "in her nineties, ok", [(0, 15, "AGE")]),
        ("{ORGANIZATION=St. {!saint}'s}", None, ["ORGANIZATION"]),
        ("(x|x) y", "x y", []),
        ("{upper:p1.plain}", None, ["PERSON"]),
        ("{!date}", None, []),
        ("{p1.he}", None, []),
    ],
)
def test_a_line_expands_as_the_readme_says(
    line: str, text: str | None, labels: list[object]
) -> None:
    """Each construct of the README, on its own."""
    made, spans = expanded(line)
    if text is not None:
        assert made == text
        assert [(s.start, s.end, s.label) for s in spans] == labels
    else:
        assert [s.label for s in spans] == labels


def test_a_person_and_a_tagged_value_recur() -> None:
    """One variable is one person, one tag one value."""
    text, spans = expanded("{p1.plain}|{p1.first}|{mrn#1}|{mrn#1}")
    full, first, one, two = (text[s.start : s.end] for s in spans)
    assert full.startswith(first)
    assert one == two


@pytest.mark.parametrize("line", ["[open", "(a|b", "{PERSON=x"])
def test_a_bracket_left_open_is_an_error(line: str) -> None:
    """A slip in a template stops the run instead of writing odd texts."""
    with pytest.raises(TemplateError):
        Parser(line).parse()


@given(
    st.lists(st.sampled_from(["Ann Lee", "12/3", "Ω"]), min_size=1, max_size=5),
    st.integers(0, 10_000),
)
def test_roughening_keeps_spans_inside_and_in_order(values: list[str], seed: int) -> None:
    """Whatever the noise does, spans stay in the text, in order and apart."""
    text, spans = "", []
    for value in values:
        text += "said to "
        spans.append(Span(len(text), len(text) + len(value), "PERSON"))
        text += value + ", then "
    made, kept = roughen(Random(seed), text, spans)  # noqa: S311
    last = 0
    for s in kept:
        assert last <= s.start < s.end <= len(made)
        last = s.end


def test_edits_inside_a_span_belong_to_it_and_those_at_its_ends_do_not() -> None:
    """``apply`` moves the ends of spans with the edits around them."""
    edits = [(4, 4, "*"), (7, 8, "\n> "), (11, 11, "*")]
    text, spans = apply("see Ann Lee.", [Span(4, 11, "PERSON")], edits)
    assert text == "see *Ann\n> Lee*."
    assert [text[s.start : s.end] for s in spans] == ["Ann\n> Lee"]
