"""A reader of spans that finds nothing: what the rules do without the model."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pii.ner.tagger import Span


class Silent:
    """Implements ``presidio.detector.SpanReader``."""

    digest = "00" * 32
    entity_types: frozenset[str] = frozenset()

    def spans(self, texts: Sequence[str], changed: object = None) -> list[list[Span]]:
        return [[] for _ in texts]
