"""Medical: numbers with units in an answer must stand in the prompt.

Faithfulness only: whether the answer says a quantity that no one wrote. It knows no doses, drugs or
allergies and judges no treatment. No shipped policy switches it on (DESIGN §7: such checks can be
device software); a site does, knowing this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from gateway.domain import Verdict
from gateway.guards.port import Exchange
from gateway.guards.text import Evidence, strings, verdict

UNSUPPORTED = "unsupported-quantity"

_UNITS = (
    "mcg/kg|mg/kg|g/kg|ml/kg|units/kg|mcg/min|mg/min|ml/h|ml/hr|mg/h|mg/dl|g/dl|g/l|mg/l|mcg/l|ng/ml"
    "|pg/ml|mmol/l|umol/l|nmol/l|meq/l|miu/l|iu/l|u/l|iu|meq|mmol|mcg|ug|mg|ng|kg|lbs?|ml|dl|cl"
    "|units?|mmhg|bpm|%|cm|mm|tablets?|tabs?|capsules?|puffs?|drops?|hours?|hrs?|days?|weeks?|months?"
    "|minutes?|mins?|times|g|l|h"
)
_QUANTITY = re.compile(
    rf"(?<![\w.,/])(?P<number>[0-9]{{1,9}}(?:[.,][0-9]{{1,6}})?)[ -]?(?P<unit>{_UNITS})(?![\w/])",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}")
_ALIAS = {
    "ug": "mcg",
    "lbs": "lb",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "ml/hr": "ml/h",
    "mins": "minute",
    "min": "minute",
    "tab": "tablet",
    "tabs": "tablet",
}


@dataclass(frozen=True, slots=True)
class Medical:
    """Checks that every quantity of the answer stands in the prompt, number and unit."""

    name: str = "medical"
    version: str = "1"
    side: str = "out"

    def check(self, exchange: Exchange) -> Verdict:
        known = {
            (number, unit)
            for text in strings(exchange.prompt)
            for number, unit, _, _ in _quantities(text)
        }
        found: Iterator[Evidence] = (
            {"kind": UNSUPPORTED, "start": start, "end": end}
            for number, unit, start, end in _quantities(exchange.answer or "")
            if (number, unit) not in known
        )
        return verdict(self.name, UNSUPPORTED, found)


def _quantities(text: str) -> Iterator[tuple[Decimal, str, int, int]]:
    # The micro sign and the Greek mu are the same unit; both are one character, offsets hold.
    plain = text.replace("\u00b5", "u").replace("\u03bc", "u")
    for match in _QUANTITY.finditer(plain):
        yield _number(match["number"]), _unit(match["unit"]), match.start(), match.end()


def _number(written: str) -> Decimal:
    """``1,000`` is a thousand and ``2,5`` is two and a half."""
    grouped = _THOUSANDS.fullmatch(written) is not None
    return Decimal(written.replace(",", "" if grouped else ".")).normalize()


def _unit(written: str) -> str:
    unit = written.lower()
    unit = _ALIAS.get(unit, unit)
    return unit.removesuffix("s") if "/" not in unit else unit
