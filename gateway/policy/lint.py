"""Checks of a policy against the vocabulary of the detector that it rules over."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gateway.errors import PolicyFileError
from gateway.policy.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.policy.model import Policy


def check_vocabulary(policy: Policy, entity_types: Iterable[str]) -> None:
    """Check that the policy and the detector speak of the same entity types.

    A type that no detector knows is a slip of the pen; a type that a base policy leaves out
    would deny every request in which it is found.

    Raises:
        PolicyFileError: at the rule or group that names it, or at the head of the file.
    """
    known = frozenset(entity_types)
    for rule in policy.rules:
        for name in sorted((rule.when.entities or frozenset()) - known):
            near = difflib.get_close_matches(name, sorted(known), n=1)
            fix = f"did you mean {near[0]}?" if near else "see the published vocabulary"
            raise PolicyFileError(
                f"rule '{rule.id}' names an entity type that no detector knows: {name}; {fix}",
                where=f"{policy.file}:{rule.line}:1",
            )
    missing = sorted(known - policy.entity_types)
    if policy.kind is Kind.BASE and missing:
        raise PolicyFileError(
            "a base policy names an operator for every entity type; add a rule for "
            + ", ".join(missing),
            where=f"{policy.file}:1:1",
        )
