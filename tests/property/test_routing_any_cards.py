"""Whatever models there are, the one that is chosen is one that policy permits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import Decoding, ModelCard, ModelConstraints
from gateway.errors import UnknownModelError, UnsupportedParameterError
from gateway.routing.choose import AUTO, JSON, LARGEST_CONTEXT, TOOLS, choose
from gateway.routing.intent import INTENTS, classify

words = st.frozensets(st.sampled_from(["a", "b", "c"]))
cards = st.builds(
    ModelCard,
    name=st.sampled_from(["m1", "m2", "m3", "m4"]),
    digest=st.just("00" * 32),
    backend=st.just("llama"),
    size_bytes=st.integers(1, 5),
    context=st.integers(1, 100),
    decoding=st.sampled_from(Decoding),
    tags=words,
    zone=st.sampled_from(["local", "annex"]),
    writes=st.booleans(),
)
constraints = st.builds(
    ModelConstraints,
    words,
    st.none() | st.frozensets(st.sampled_from(["local", "annex"])),
)


@given(
    st.lists(cards, max_size=5),
    st.sampled_from([None, AUTO, "m1", "m9"]),
    constraints,
    st.integers(0, 120),
    st.frozensets(st.sampled_from([TOOLS, JSON])),
    st.sampled_from(INTENTS),
)
def test_the_choice_keeps_every_constraint(models, requested, limits, tokens, needs, intent):
    """Tags, zone, ability and the caller's word hold for the choice; else there is none."""
    candidates = [
        card
        for card in models
        if card.writes
        and limits.tags <= card.tags
        and (limits.zones is None or card.zone in limits.zones)
        and requested in {None, AUTO, card.name}
    ]
    try:
        route = choose(
            models,
            requested=requested,
            constraints=limits,
            prompt_tokens_estimate=tokens,
            max_tokens=None,
            needs=needs,
            intent=intent,
        )
    except UnknownModelError:
        assert candidates == []
        return
    except UnsupportedParameterError:
        assert needs
        assert Decoding.FREE not in {card.decoding for card in candidates}
        return
    model = route.model
    assert model in candidates
    assert not needs or model.decoding is Decoding.FREE
    if requested in {None, AUTO}:
        assert (route.reason == LARGEST_CONTEXT) == (tokens > model.context)


@given(st.text(max_size=1000))
def test_any_text_has_an_intent(text):
    """One of the published names, always."""
    assert classify(text) in INTENTS
