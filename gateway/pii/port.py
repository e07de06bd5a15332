"""The port of detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain import Finding

MODEL = "ner"
"""The source of what a trained model found alone: its score is a probability, not a proof."""

DENIED = "site-deny:"
"""Begins the source of what a deny list of the site names: it is of that type, whatever else is
found there, and nothing takes it back."""


Changed = Sequence[tuple[int, int]]
"""Where a text was changed: sorted spans of it, end exclusive."""


class Detector(Protocol):
    """Finds personal data. Synchronous and processor-heavy: call it off the event loop."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that decides what is found: code version, data, tables."""
        ...

    @property
    def entity_types(self) -> frozenset[str]:
        """Every type that a finding of this detector can have."""
        ...

    def detect(
        self,
        texts: Sequence[str],
        language: str | None = None,
        changed: Sequence[Changed | None] | None = None,
    ) -> list[tuple[Finding, ...]]:
        """Findings per text: non-overlapping, sorted by start, deterministic.

        An unknown or missing language runs the recognizers of every language served. ``changed``
        says, per text, where it differs from one that was searched before (None: everywhere). What
        would be found as it was before, because no change is near, MAY be left out then.

        Raises:
            DetectorError: detection did not complete on any one of the texts. There are no
                partial results: a finding set that may be incomplete is no finding set.
        """
        ...
