"""One answer under a grammar: nothing raises, and whatever goes wrong ends it."""

from __future__ import annotations

import random

import pytest

from gateway.engine.constrain.envelope import Envelope, write
from gateway.engine.constrain.vocabulary import Vocabulary
from tests import constraining

WORD = write(Envelope('start: "ab" "c"?'))


def test_a_token_is_tested_without_being_taken():
    """``allows`` leaves the state as it is; the mask says the same of every token."""
    constraint = constraining.vocabulary().constraint(WORD)
    assert [constraint.allows(token) for token in b"ab"] == [True, False]
    assert constraint.accept(ord("a"))
    assert constraint.accept(ord("b"))
    assert constraint.may_end
    assert not constraint.complete
    assert set(constraining.allowed(constraint)) == {ord("c"), constraining.END}
    assert constraint.accept(ord("c"))
    assert constraint.complete
    assert constraining.allowed(constraint) == [constraining.END]
    assert constraint.accept(constraining.END)
    assert not constraint.failed


@pytest.mark.parametrize(
    "grammar",
    ["", "{}", '{"lark": 3}', "\ud800", "x" * 5_000_000, write(Envelope("start: nowhere"))],
    ids=["empty", "no field", "wrong type", "surrogate", "huge", "no rule"],
)
def test_a_grammar_that_is_none_allows_nothing(grammar: str):
    """Not even an end: the answer is told as one that broke off."""
    constraint = constraining.vocabulary().constraint(grammar)
    assert constraint.failed
    assert not constraint.may_end
    assert not constraint.complete
    assert not any(constraint.mask())
    assert not constraint.accept(constraining.END)
    assert constraint.forced() == ()


@pytest.mark.parametrize("token", [-1, 10**9, 2**40, constraining.END, ord("x")])
def test_a_token_that_may_not_come_ends_the_answer(token: int):
    """Tokens that do not exist, ends that come too early: refused, and failed for good."""
    constraint = constraining.vocabulary().constraint(WORD)
    assert not constraint.allows(token)
    assert not constraint.accept(token)
    assert constraint.failed
    assert not constraint.accept(ord("a"))
    assert not any(constraint.mask())


def test_any_tokens_in_any_order_raise_nothing():
    """A sampler gone wild meets False."""
    rng = random.Random(7)  # noqa: S311
    for _ in range(200):
        constraint = constraining.vocabulary().constraint(WORD)
        for _ in range(10):
            token = rng.choice([rng.randrange(-5, 300), *b"abc", constraining.END])
            assert constraint.accept(token) is not constraint.failed


def test_what_must_follow_is_told():
    """Keys, braces and marks need no model."""
    schema = '{"x-guidance": {"whitespace_flexible": false}, "type": "object", "required": ["key"],'
    schema += '"properties": {"key": {"type": "boolean"}}, "additionalProperties": false}'
    constraint = constraining.vocabulary().constraint(write(Envelope(f"start: %json {schema}")))
    forced = constraint.forced()
    assert b"".join(constraining.vocabulary().pieces[token] for token in forced) == b'{"key":'
    assert all(constraint.accept(token) for token in forced)


def test_nesting_is_bounded_outside_strings_only():
    """Brackets in a string are text."""
    rules = 'start: item\nitem: "[" (item ("," item)*)? "]" | /"([^"\\\\]|\\\\.)*"/'
    text = write(Envelope(rules, depth=3))
    assert constraining.accepts(text, '[[["[[[[[\\"[[["]]]')
    assert constraining.accepts(text, "[[],[[]],[[]]]")
    assert not constraining.accepts(text, "[[[[", whole=False)


@pytest.mark.parametrize("size", [287, 288, 289, 320])
def test_a_mask_has_a_bit_for_each_token_whatever_their_number(size: int):
    """In whole words of 32 bits, the last one filled up with zeros."""
    pieces = [*(bytes([byte]) for byte in range(256)), b"<end>"]
    pieces += [b"ab" + b"x" * number for number in range(size - len(pieces))]
    words = Vocabulary(pieces, control=(), ends=(constraining.END,), tokenize=list)
    constraint = words.constraint(write(Envelope("start: /abx*/")))
    mask = constraint.mask()
    assert len(mask) == words.mask_bytes == -(-size // 32) * 4
    assert constraining.allowed(constraint) == [ord("a"), *range(257, size)]
