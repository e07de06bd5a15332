"""Policies in force and what they decide: pure, total, and tables once compiled.

The strictest of all policies in force wins (``rows``), so adding one can only protect more. No
policy, an entity type that no rule names, a role or purpose that no rule permits: denied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.domain import (
    Decision,
    PolicyRef,
    Purpose,
    Role,
    band_of,
)
from gateway.errors import PolicyUnavailableError, RequestError
from gateway.policy.model import UNBOUNDED, Kind, Policy, digest_of
from gateway.policy.table import BLOCK, MOST_TABLES, NOT_GRANTED, Compiled, compile_row, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from gateway.domain import Category, Finding, Principal, Retention

# --- the set in force ----------------------------------------------------------------------------


class PolicySet:
    """Policies in force. Immutable to the eye; the order they are given in does not matter.

    ``available`` holds policies that a request may add by name (``plus``). ``bounds``: what the
    site's settings say of retention, which is joined to what policies say.
    """

    __slots__ = (
        *("_available", "_categories", "_days", "_policies", "_refs", "_table"),
        *("bounds", "digest"),
    )

    def __init__(
        self,
        policies: Iterable[Policy],
        available: Iterable[Policy] = (),
        bounds: Retention = UNBOUNDED,
    ) -> None:
        unique = {policy.ref: policy for policy in policies}
        self._refs = tuple(sorted(unique, key=lambda ref: (ref.name, ref.version, ref.digest)))
        self._policies = tuple(unique[ref] for ref in self._refs)
        self._available = tuple(available)
        self._days = tuple((each.starts, each.ends, each.name) for each in self._policies)
        self._table: dict[tuple[Role, Purpose, frozenset[Category]], Compiled] = {}
        self._categories = frozenset().union(
            *(rule.when.categories or () for each in self._policies for rule in each.rules)
        )
        self.bounds = bounds
        self.digest = digest_of(self._refs)

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self._policies

    @property
    def refs(self) -> tuple[PolicyRef, ...]:
        """Name, version and digest of each policy in force, sorted."""
        return self._refs

    def plus(self, names: Iterable[str]) -> PolicySet:
        """Add the named policies. A request can make a set grow, never shrink.

        Without a base policy the set denies everything, and a request cannot bring one along:
        overlays would then be joined by what permits.

        Raises:
            RequestError: a name that is neither in force nor available.
        """
        wanted = set(names) - {policy.name for policy in self._policies}
        if not wanted:
            return self
        added = [policy for policy in self._available if policy.name in wanted]
        if wanted - {policy.name for policy in added}:
            raise RequestError("This policy is not known here.", param="policy")
        if not any(policy.kind is Kind.BASE for policy in self._policies):
            return self
        return PolicySet((*self._policies, *added), self._available, self.bounds)

    def check_in_force(self, now: datetime) -> None:
        """Check the dates of every policy against ``now`` (timezone-aware).

        Raises:
            PolicyUnavailableError: one of them has expired or has not taken effect.
        """
        for starts, ends, name in self._days:
            if now < starts:
                raise PolicyUnavailableError(f"Policy '{name}' is not in effect yet.")
            if ends is not None and now >= ends:
                raise PolicyUnavailableError(f"Policy '{name}' has expired.")

    def compiled(
        self, role: Role, purpose: Purpose, categories: frozenset[Category] = frozenset()
    ) -> Compiled:
        """The row of the table for such a request, compiled when first asked for."""
        key = (role, purpose, categories & self._categories)
        row = self._table.get(key)
        if row is None:
            if len(self._table) >= MOST_TABLES:
                self._table.clear()
            # Two threads may both compile it: the rows are equal, and either may stay.
            row = self._table[key] = compile_row(self._policies, *key, self.bounds)
        return row

    def retention(self, role: Role, purpose: Purpose) -> Retention:
        """How long to keep what was not decided on: it may speak of every category."""
        return self.compiled(role, purpose, self._categories).request.retention


# --- the two questions of the pipeline -----------------------------------------------------------


def admit(
    policies: PolicySet,
    *,
    principal: Principal,
    purpose: Purpose,
    now: datetime,
    categories: frozenset[Category] = frozenset(),
) -> Decision:
    """Decide on the request before its text is looked at: ``decide`` without findings.

    Raises:
        PolicyUnavailableError: a policy in force has expired or has not taken effect, or what
            they say of retention leaves no period.
    """
    policies.check_in_force(now)
    request = policies.compiled(principal.role, purpose, categories).request
    if request.retention.empty:
        raise PolicyUnavailableError(
            "The policies in force ask for retentions that exclude others."
        )
    if purpose not in principal.purposes:
        return replace(request, denied=(*request.denied, NOT_GRANTED))
    return request


def decide(  # noqa: PLR0913 - what there is to know of a request, all by keyword
    policies: PolicySet,
    *,
    principal: Principal,
    purpose: Purpose,
    findings: Sequence[Finding],
    now: datetime,
    categories: frozenset[Category] = frozenset(),
) -> Decision:
    """Decide on each finding and on the request; ``rulings[i]`` is for ``findings[i]``.

    ``findings`` and ``categories`` are all of the request: with more of them, what comes out is
    nowhere less protective. A finding that is ruled ``BLOCK`` denies the request, with that
    ruling's citations.

    Raises: as ``admit``.
    """
    request = admit(policies, principal=principal, purpose=purpose, now=now, categories=categories)
    row = policies.compiled(principal.role, purpose, categories)
    known, unnamed = row.beside(findings), row.unnamed
    if row.banded:
        rulings = tuple([known.get(f.entity_type, unnamed)[band_of(f.score)] for f in findings])
    else:
        rulings = tuple([known.get(f.entity_type, unnamed)[0] for f in findings])
    denied = request.denied
    blocked = {ruling.citations for ruling in rulings if ruling.operator is BLOCK}
    if blocked:
        denied = in_order({*denied}.union(*blocked))
    # Field by field: ``dataclasses.replace`` would take longer than the decision.
    return Decision(
        rulings,
        denied,
        request.constraints,
        request.stages,
        request.restore_tools,
        request.obligations,
        request.citations,
        request.retention,
    )
