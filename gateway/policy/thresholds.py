"""Thresholds of alerts: the smallest that a policy in force sets; where none does, the site's.

Pure, and of the set as a whole: what is counted is a principal's day, not a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.domain import Citation, Role
    from gateway.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Threshold:
    """From how many on, and the rules that say so: those of more are not among them."""

    most: int
    by: frozenset[Citation]

    def join(self, other: Threshold) -> Threshold:
        """The smaller one; rules that agree on it are cited together."""
        if self.most == other.most:
            return Threshold(self.most, self.by | other.by)
        return self if self.most < other.most else other


def thresholds(policies: Iterable[Policy], role: Role | None = None) -> Mapping[str, Threshold]:
    """What policies say for a role, by the names of ``model.ALERTS``.

    Without a role: what they say whoever asks.
    """
    found: dict[str, Threshold] = {}
    for policy in policies:
        for rule in policy.rules:
            if rule.when.roles is not None and role not in rule.when.roles:
                continue
            for name, most in rule.then.alerts:
                said = Threshold(most, frozenset({policy.cite(rule)}))
                found[name] = found[name].join(said) if name in found else said
    return found
