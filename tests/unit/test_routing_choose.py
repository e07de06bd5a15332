"""Which model answers, and what is said when none may."""

from __future__ import annotations

import itertools

import pytest

from gateway.domain import Decoding, ModelCard, ModelConstraints
from gateway.errors import UnknownModelError, UnsupportedParameterError
from gateway.routing import choose as routing
from gateway.routing.choose import EXTRACTIVE, JSON, LARGEST_CONTEXT, REQUESTED, SMALLEST_FIT, TOOLS


def card(name, size=1, context=4096, decoding=Decoding.FREE, tags=(), zone="local"):
    return ModelCard(name, "00" * 32, "llama", size, context, decoding, frozenset(tags), zone)


QUOTER = card("quoter", size=1, context=2048, decoding=Decoding.EXTRACTIVE)
SMALL = card("small", size=10, context=2048)
LARGE = card("large", size=100, context=8192, tags=["medical"])
REMOTE = card("remote", size=5, context=32768, zone="annex")
ALL = (REMOTE, LARGE, SMALL, QUOTER)
LOCAL = ModelConstraints(zones=frozenset({"local"}))
ANY = ModelConstraints()


def choose(cards=ALL, requested=None, constraints=LOCAL, tokens=100, max_tokens=None, **other):
    return routing.choose(
        cards,
        requested=requested,
        constraints=constraints,
        prompt_tokens_estimate=tokens,
        max_tokens=max_tokens,
        **other,
    )


CHOICES = [
    # what is asked, the model, the reason
    ({}, "small", SMALLEST_FIT),
    ({"requested": "auto"}, "small", SMALLEST_FIT),
    ({"requested": ""}, "small", SMALLEST_FIT),
    ({"requested": "large"}, "large", REQUESTED),
    ({"requested": "quoter"}, "quoter", REQUESTED),
    ({"intent": "summarize"}, "quoter", SMALLEST_FIT),
    ({"intent": "question"}, "quoter", SMALLEST_FIT),
    ({"intent": "letter"}, "small", SMALLEST_FIT),
    ({"needs": frozenset({EXTRACTIVE})}, "quoter", SMALLEST_FIT),
    ({"needs": frozenset({TOOLS}), "intent": "question"}, "small", SMALLEST_FIT),
    ({"needs": frozenset({JSON, EXTRACTIVE})}, "small", SMALLEST_FIT),
    ({"tokens": 2000, "max_tokens": 48}, "small", SMALLEST_FIT),
    ({"tokens": 2000, "max_tokens": 49}, "large", SMALLEST_FIT),
    ({"tokens": 9000}, "large", LARGEST_CONTEXT),
    ({"constraints": ANY}, "remote", SMALLEST_FIT),
    ({"constraints": ModelConstraints(tags=frozenset({"medical"}))}, "large", SMALLEST_FIT),
    ({"cards": (QUOTER,)}, "quoter", SMALLEST_FIT),
]


@pytest.mark.parametrize(("asked", "model", "reason"), CHOICES)
def test_the_smallest_model_that_can_is_chosen(asked, model, reason):
    """Constraints first, then ability, then context, then size; a named model is taken as named."""
    route = choose(**asked)
    assert (route.model.name, route.reason) == (model, reason)
    assert route.intent == asked.get("intent", "unsure")


def test_only_a_local_model_can_be_held_to_quoting():
    """Quoting is done token by token; another server's model is never asked to."""
    elsewhere = ModelCard("elsewhere", "", "remote", 1, 4096)
    needs = frozenset({EXTRACTIVE})
    assert choose(cards=(elsewhere, SMALL), needs=needs).model is SMALL
    with pytest.raises(UnsupportedParameterError):
        choose(cards=(elsewhere,), needs=needs)


def test_the_order_of_the_cards_does_not_matter():
    """The same models and the same question always give the same route."""
    twins = (card("b", size=7), card("a", size=7), QUOTER)
    routes = {choose(cards=each) for each in itertools.permutations(twins)}
    assert {route.model.name for route in routes} == {"a"}


@pytest.mark.parametrize(
    "asked",
    [
        {"requested": "no-such-model"},
        {"requested": "remote"},
        {"requested": "small", "constraints": ModelConstraints(tags=frozenset({"medical"}))},
        {"constraints": ModelConstraints(zones=frozenset())},
        {"constraints": ModelConstraints(tags=frozenset({"none-has-it"}))},
        {"cards": ()},
    ],
)
def test_a_forbidden_model_is_as_unknown_as_one_that_does_not_exist(asked):
    """The error does not tell which of the two it was, and repeats no name."""
    with pytest.raises(UnknownModelError) as caught:
        choose(**asked)
    assert caught.value.param == "model"
    assert "no-such-model" not in caught.value.message


@pytest.mark.parametrize(
    ("needs", "param"), [({TOOLS}, "tools"), ({JSON}, "response_format"), ({JSON, TOOLS}, "tools")]
)
@pytest.mark.parametrize("requested", [None, "quoter"])
def test_a_quoting_model_is_not_asked_for_what_it_cannot(needs, param, requested):
    """Tools and JSON on a model that only quotes are refused with the parameter's name."""
    with pytest.raises(UnsupportedParameterError) as caught:
        choose(cards=(QUOTER,), requested=requested, needs=frozenset(needs))
    assert caught.value.param == param
