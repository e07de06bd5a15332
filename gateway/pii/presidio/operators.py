"""Replacements, written by presidio-anonymizer.

Mask has decided every span and its text before this is called; the engine splices. Each
replacement has a type of its own, so that the engine's own merging of equal types finds nothing
to merge, and ``merge_entities_with_spaces`` is off.
"""

from __future__ import annotations

from collections.abc import Sequence

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

from gateway.errors import DetectorError
from gateway.pii.mask import Replacement


class PresidioApply:
    """``mask.Apply`` through ``AnonymizerEngine``. Build one; it holds no text."""

    def __init__(self) -> None:
        self._engine = AnonymizerEngine()  # type: ignore[no-untyped-call]

    def __call__(self, text: str, replacements: Sequence[Replacement]) -> str:
        """Write the replacements (sorted, disjoint) into the text.

        Raises:
            DetectorError: the engine failed; nothing was masked.
        """
        if not replacements:
            return text
        names = [f"R{index}" for index in range(len(replacements))]
        try:
            result = self._engine.anonymize(
                text=text,
                analyzer_results=[
                    RecognizerResult(name, r.start, r.end, r.score)
                    for name, r in zip(names, replacements, strict=True)
                ],
                operators={
                    name: OperatorConfig("replace", {"new_value": r.text})
                    for name, r in zip(names, replacements, strict=True)
                },
                merge_entities_with_spaces=False,
            )
        except Exception:  # noqa: BLE001 (foreign errors stop here; their messages may hold text)
            raise DetectorError("Masking failed; the model was not called.") from None
        return str(result.text)
