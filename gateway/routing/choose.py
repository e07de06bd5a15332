"""Which model answers: a pure choice among the cards of the models at hand.

Policy constrains first (tags, zones); a model that policy forbids is as unknown as one that does
not exist, and so is one that only embeds. A caller may name a model. Otherwise the smallest one is
taken that can do what is asked and that the prompt fits; the same cards and question always give
the same model.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import Decoding, ModelCard, ModelConstraints, Route
from gateway.errors import UnknownModelError, UnsupportedParameterError

AUTO = "auto"
"""The name by which a caller leaves the choice to the gateway; so does naming none."""

REQUESTED = "requested"
SMALLEST_FIT = "smallest-fit"
LARGEST_CONTEXT = "largest-context"
"""No model fits by the estimate; the engine counts exactly and has the last word."""

TOOLS = "tools"
JSON = "json"
EXTRACTIVE = "extractive"
GROUNDED = "grounded"
RAW = "raw"
EMBEDDINGS = "embeddings"

REMOTE = "remote"
"""The backend of a model that another server runs."""

_NEEDS_FREE_DECODING = {
    TOOLS: "tools",
    JSON: "response_format",
    RAW: "prompt",
    EMBEDDINGS: "model",
}
_NEEDS_OUR_ENGINE = frozenset({EXTRACTIVE, GROUNDED})
"""What is decided token by token, which nobody can ask of another server."""
_QUOTING_SUITS = frozenset({"extract", "question", "summarize"})
"""What a model that only quotes can serve; all else goes to a free one where there is one."""


def choose(  # noqa: PLR0913 - each is one fact the choice rests on
    cards: Sequence[ModelCard],
    *,
    requested: str | None,
    constraints: ModelConstraints,
    prompt_tokens_estimate: int,
    max_tokens: int | None,
    needs: frozenset[str] = frozenset(),
    intent: str = "unsure",
) -> Route:
    """Choose a model. ``needs`` is a subset of ``TOOLS JSON EXTRACTIVE GROUNDED RAW EMBEDDINGS``.

    Any local model can be held to quoting or to the prompt's values, so ``EXTRACTIVE`` and
    ``GROUNDED`` exclude remote ones only.

    Raises:
        UnknownModelError: the named model is not there or policy forbids it, or no model is left.
        UnsupportedParameterError: no permitted model has what is needed.
    """
    vectors = EMBEDDINGS in needs
    suited = [card for card in cards if card.writes or vectors]
    permitted = [card for card in suited if _permits(constraints, card)]
    if requested and requested != AUTO:
        named = [card for card in permitted if card.name == requested]
        if not named:
            raise UnknownModelError(param="model")
        return Route(_able(named, needs)[0], REQUESTED, intent)
    if not permitted:
        raise UnknownModelError("No model that policy permits is loaded.", param="model")
    able = _able(permitted, needs)
    fitting = [card for card in able if prompt_tokens_estimate + (max_tokens or 0) <= card.context]
    if not fitting:
        return Route(
            min(able, key=lambda card: (-card.context, card.name)), LARGEST_CONTEXT, intent
        )
    quotes = EXTRACTIVE in needs or intent in _QUOTING_SUITS
    best = min(
        fitting,
        key=lambda card: (
            card.writes and vectors,  # a model made for vectors before one that also gives some
            _strains(card, quotes),
            card.size_bytes,
            card.name,
        ),
    )
    return Route(best, SMALLEST_FIT, intent)


def _permits(constraints: ModelConstraints, card: ModelCard) -> bool:
    return constraints.tags <= card.tags and (
        constraints.zones is None or card.zone in constraints.zones
    )


def _able(cards: Sequence[ModelCard], needs: frozenset[str]) -> list[ModelCard]:
    """The cards that have what is needed; never empty."""
    unmet = sorted(needs & _NEEDS_FREE_DECODING.keys())
    able = [card for card in cards if not unmet or card.decoding is Decoding.FREE]
    if not able:
        raise UnsupportedParameterError(
            "The model only quotes; it cannot do what is asked.",
            param=_NEEDS_FREE_DECODING[unmet[-1]],
        )
    if needs & _NEEDS_OUR_ENGINE:
        able = [card for card in able if card.backend != REMOTE]
    if not able:
        raise UnsupportedParameterError(
            "Only a local model can be held to quoting or to the prompt.", param="response_format"
        )
    return able


def _strains(card: ModelCard, quotes: bool) -> bool:
    """Whether the request is one that this model would mostly abstain from."""
    return card.decoding is Decoding.EXTRACTIVE and not quotes
