"""Answers drawn at random under a grammar, with a vocabulary of single bytes and a few words."""

from __future__ import annotations

import random
from functools import cache

from gateway.engine.constrain.vocabulary import Constraint, Vocabulary

END = 256
CONTROL = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]")
WORDS = ('": ', '", "', '{"', "}}", " mg", "81", "<PERSON_1>", "the ", '"a', ": [", "]}", "</")


@cache
def vocabulary(*, control: bool = False) -> Vocabulary:
    """256 bytes, the end, some words and, if asked for, markers as control tokens."""
    words = [word.encode() for word in (*WORDS, *(CONTROL if control else ()))]
    pieces = [*(bytes([byte]) for byte in range(256)), b"<|end|>", *words]
    markers = range(len(pieces) - len(CONTROL), len(pieces)) if control else ()
    return Vocabulary(pieces, control=markers, ends=(END,), tokenize=list)


def allowed(constraint: Constraint) -> list[int]:
    mask = constraint.mask()
    return [token for token in range(len(mask) * 8) if mask[token // 8] >> token % 8 & 1]


def write(
    grammar: str, rng: random.Random, *, most: int = 2000, control: bool = False
) -> str | None:
    """Draw allowed tokens until the answer ends; None for one that did not within ``most``.

    Tokens that close something are likelier, so that most answers end.
    """
    words = vocabulary(control=control)
    constraint = words.constraint(grammar)
    assert not constraint.failed
    answer = b""
    for step in range(most):
        choices = allowed(constraint)
        assert choices, "a dead end"
        closing = [token for token in choices if words.pieces[token][:1] in b'"]}']
        if END in choices and (len(choices) == 1 or rng.random() < 0.1 + step / most):
            token = END
        elif closing and rng.random() < 0.2 + step / most:
            token = rng.choice(closing)
        else:
            token = rng.choice([one for one in choices if one != END] or choices)
        assert constraint.allows(token)
        assert constraint.accept(token)
        if token == END:
            assert constraint.complete
            return answer.decode()
        answer += words.pieces[token]
    return None


def accepts(grammar: str, text: str, *, whole: bool = True) -> bool:
    """Whether ``text`` may be written byte by byte and, if ``whole``, end there."""
    constraint = vocabulary().constraint(grammar)
    assert not constraint.failed
    return all(constraint.accept(byte) for byte in text.encode()) and (
        constraint.may_end or not whole
    )
