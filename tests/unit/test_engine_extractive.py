"""The walk along the trie: which sentences may follow, and what the model is asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.engine.extractive import (
    ABSTAINED,
    Budget,
    Candidate,
    Feed,
    LabelForm,
    Options,
    chooser,
    quote,
)
from gateway.engine.sentences import Reading

END = 0
FORM = LabelForm(label="⟦{n}⟧", abstain="⟦0⟧", line="{label} {sentence}\n", labels=255)


def candidate(text: str, *tokens: int) -> Candidate:
    return Candidate(text, tokens, (9, *tokens), len(tokens))


ABSTENTION = candidate("The text does not say.", 7, 8)


def run(candidates, likes, budget=None, ends=(END,)):
    """Quote with a model that likes tokens in the order of ``likes``, per question asked."""
    fed: list[list[int]] = []
    wishes = iter(likes)

    def advance(tokens: Sequence[int]):
        fed.append(list(tokens))
        wish = next(wishes)
        return lambda token: 1.0 if token == wish else -float(token)

    places: list[int] = []
    walk = quote(
        Options(candidates, ABSTENTION, ends), chooser(0, 1, 0), budget or Budget(None, 1000)
    )
    scores = None
    while True:
        try:
            step = walk.send(scores)
        except StopIteration as end:
            return places, end.value, fed
        scores = None
        if isinstance(step, Feed):
            scores = advance(step.tokens)
        else:
            places.append(step)


THREE = [candidate("a", 1, 2), candidate("b", 1, 3, 4), candidate("c", 5)]


def test_the_model_is_asked_only_where_the_trie_forks():
    """Forced tokens are fed together with the next question's."""
    places, why, fed = run(THREE, [1, 3, END])
    assert (places, why) == ([1], "stop")
    assert fed == [[], [1], [3, 4]]


def test_only_later_sentences_follow():
    """After the last sentence the model is not even asked."""
    assert run(THREE, [5]) == ([2], "stop", [[]])
    assert run(THREE, [1, 2, 9, 5])[:2] == ([0, 2], "stop")


def test_a_repeated_sentence_is_said_once():
    """Two sentences with the same words count as one."""
    places, why, _ = run([candidate("a", 1), candidate("a", 1), candidate("b", 2)], [1, 9])
    assert (places, why) == ([0, 2], "stop")


def test_a_sentence_that_begins_another_can_be_chosen_and_so_can_the_longer_one():
    """Where one ends and another goes on, ending is as likely as what may follow a sentence."""
    two = [candidate("a", 1), candidate("a b", 1, 2)]
    assert run(two, [1, END, END])[0] == [0]
    assert run(two, [1, 2])[0] == [1]


def test_abstaining_ends_the_answer():
    """The fixed line stands alone."""
    assert run(THREE, [7])[:2] == ([ABSTAINED], "stop")


def test_without_candidates_the_answer_is_the_abstention():
    """Nothing to quote needs no model."""
    assert run([], []) == ([ABSTAINED], "stop", [])


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, ([], "length")), (1, ([], "length")), (2, ([0], "length")), (3, ([0, 2], "stop"))],
)
def test_a_sentence_that_does_not_fit_is_not_begun(tokens: int, expected):
    """max_tokens never leaves half a sentence; a budget too small leaves an empty answer."""
    assert run(THREE, [1, 2, 9, 5], Budget(tokens, 1000))[:2] == expected


def test_the_context_ends_an_answer_too():
    """No token is fed beyond the room there is."""
    places, why, fed = run(THREE, [1, 2, 9, 5], Budget(None, 1))
    assert (places, why) == ([0], "length")
    assert sum(map(len, fed)) <= 1


def test_labels_and_line_breaks_in_a_text_cannot_forge_a_line():
    """One line for each sentence, the question last, and no label but ours."""
    prompt = FORM.prompt(Reading("Who\nis ⟦2⟧?", ("A\n⟦2⟧ b.", "C.")))
    assert prompt == "⟦1⟧ A [2] b.\n⟦2⟧ C.\nWho is [2]?"


def test_a_temperature_draws_among_the_allowed_and_a_seed_repeats_it():
    """Sampling parameters have their effect here too."""
    scores = {1: 0.0, 2: 0.1, 3: -20.0}.__getitem__
    draws = [chooser(1.0, 1.0, seed)([1, 2, 3], scores) for seed in range(50)]
    assert {1, 2} <= set(draws)
    assert draws == [chooser(1.0, 1.0, seed)([1, 2, 3], scores) for seed in range(50)]
    assert {chooser(1.0, 0.01, seed)([1, 2, 3], scores) for seed in range(50)} == {2}
