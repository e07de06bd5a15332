"""From nodes to what a rule says of records: how long they are kept, when there are alerts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.domain import Retention
from gateway.policy.model import ALERTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.policy.model import Then, When
    from gateway.yamlfile.node import Node

RETAIN_KEYS = ("at_least", "at_most", "erasable")
PERIOD = re.compile(r"[1-9][0-9]{0,3} (?:month|year)s?")
THRESHOLD = re.compile(r"[1-9][0-9]{0,5}")
MOST_MONTHS = 1200  # as much as a record may say (audit-format.md §2)
_YEAR = 12


def set_only(keys: Mapping[str, Node], name: str) -> bool:
    """``permit`` and ``deny`` are said or left out; ``permit: false`` would read like a denial."""
    if name not in keys:
        return False
    if not keys[name].boolean():
        keys[name].fail(f"'{name}' can only be true; leave the key out otherwise")
    return True


def retention(node: Node) -> Retention:
    """Read a period with a floor, a ceiling or both."""
    keys = node.mapping(RETAIN_KEYS)
    if "at_least" not in keys and "at_most" not in keys:
        node.fail("a retention without a bound; give 'at_least' or 'at_most'")
    least = _months(keys["at_least"]) if "at_least" in keys else 0
    most = _months(keys["at_most"]) if "at_most" in keys else None
    erasable = set_only(keys, "erasable")
    if erasable and not least:
        keys["erasable"].fail("'erasable' is about what is kept at least; give 'at_least' too")
    kept = Retention(least, most, 0 if erasable else least)
    if kept.empty:
        keys["at_most"].fail("'at_most' is less than 'at_least'; correct one of them")
    return kept


def _months(node: Node) -> int:
    number, unit = node.match("period, as '6 months' or '6 years'", PERIOD).split()
    months = int(number) * (_YEAR if unit.startswith("year") else 1)
    if months > MOST_MONTHS:
        node.fail("a period is 100 years at most")
    return months


def alerts(node: Node) -> tuple[tuple[str, int], ...]:
    """Read thresholds, each of at least 1, sorted by name."""
    keys = node.mapping(ALERTS)
    if not keys:
        node.fail(f"an alert without a threshold; give one of: {', '.join(ALERTS)}")
    return tuple(
        sorted((name, int(each.match("threshold", THRESHOLD))) for name, each in keys.items())
    )


def check_alerts(node: Node, when: When, then: Then) -> None:
    """What is counted is a principal's day: it has a role, and no purpose of its own."""
    if then.alerts and (when.purposes is not None or when.categories is not None):
        node.fail("alerts count a person's whole day; only 'role' may stand under 'when'")
    if when.roles is not None and any(name == "open_intents" for name, _ in then.alerts):
        node.fail("open intents are nobody's; remove 'role' or make two rules")
