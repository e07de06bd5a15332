"""Telephone numbers by Presidio's ``PhoneRecognizer`` (libphonenumber), where it can be afforded.

libphonenumber tries each region on each number in the text: a hundred microseconds apiece. It
runs on runs of digits only that begin as a telephone number does, or that a word announces, and
that are no date, amount or row of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import re2

from gateway.pii.presidio.imports import import_presidio
from gateway.pii.recognizers.load import Candidate, context_pattern, in_context

REGIONS = ("US", "GB", "DE", "FR", "ES", "CH")
_RUN = r"(?:\+|\(|\b)\d[\d ().\-/]{5,18}\d\b"
_CONTEXT = (
    "phone", "telephone", "tel", "cell", "cellphone", "mobile", "call", "called", "fax", "pager",
    "contact", "reach", "whatsapp", "sms", "text", "telf", "telfs", "telefon", "handy", "mobil",
    "rufnummer",
    "teléfono", "telefono", "móvil", "tfno", "téléphone", "portable", "tél", "fon",
)  # fmt: skip
MOST_RUNS = 200
"""Runs per text that libphonenumber judges; beyond, the shape alone is enough to be found."""

_SCORE = 0.7
_FEWEST_DIGITS, _MOST_DIGITS = 8, 15  # E.164


@dataclass(frozen=True, slots=True)
class PhoneRule:
    """Presidio's recognizer behind a gate."""

    id: str
    entity_type: str
    cue: str
    runs: Any
    context: Any
    recognizer: Any

    def find(self, data: bytes) -> Iterator[Candidate]:
        """Yield the telephone numbers in UTF-8 ``data``."""
        judged = 0
        for match in self.runs.finditer(data):
            start, end = match.span()
            run = data[start:end]
            digits = sum(48 <= b <= 57 for b in run)  # noqa: PLR2004
            if not _FEWEST_DIGITS <= digits <= _MOST_DIGITS:
                continue
            if run[:1] not in b"0+(" and not in_context(self.context, data, start, end):
                continue
            judged += 1
            if judged > MOST_RUNS:
                yield Candidate(self.entity_type, start, end, _SCORE, self.id)
                continue
            text = run.decode()
            for found in self.recognizer.analyze(text, [self.entity_type]):
                yield Candidate(
                    self.entity_type, start + found.start, start + found.end, _SCORE, self.id
                )
                break


def build_phones() -> PhoneRule:
    """Build the one telephone rule; the first call loads the regions' metadata."""
    recognizer = import_presidio().PhoneRecognizer(supported_regions=REGIONS)
    return PhoneRule(
        id="presidio:PhoneRecognizer",
        entity_type="PHONE_NUMBER",
        cue=_RUN,
        runs=re2.compile(_RUN),
        context=context_pattern(list(_CONTEXT)),
        recognizer=recognizer,
    )
