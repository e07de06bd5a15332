"""Policies in force and what they decide: pure, total, and a table once compiled.

The strictest of all policies in force wins (``rows``), so adding one can only protect more. No
policy, an entity type that no rule names, a role or purpose that no rule permits: denied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from gateway.domain import (
    Citation,
    Decision,
    ModelConstraints,
    Operator,
    PolicyRef,
    Purpose,
    Role,
    Ruling,
    StageRequirement,
)
from gateway.errors import PolicyUnavailableError, RequestError
from gateway.policy.model import Action, Kind, Policy, digest_of
from gateway.policy.rows import RESTORED, Cell, Row, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gateway.domain import Finding, Principal

_LANGUAGE = "docs/spec/policy-language.md"
_BLOCK = Operator.BLOCK
"""Looking a member up in an enumeration costs more than the rest of a comparison."""

NO_POLICY = Citation("built-in", "no-base-policy", "policy-language §5: empty denies", _LANGUAGE, 1)
NOT_GRANTED = Citation(
    "built-in", "purpose-not-granted", "policy-language §5: the key grants it too", _LANGUAGE, 1
)

# --- the set in force ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A row in the words of the domain: what ``decide`` copies its answer from."""

    request: Decision
    rulings: Mapping[str, Ruling]
    unnamed: Ruling


class PolicySet:
    """Policies in force. Immutable to the eye; the order they are given in does not matter.

    ``available`` holds policies that a request may add by name (``plus``).
    """

    __slots__ = ("_available", "_days", "_policies", "_refs", "_table", "digest")

    def __init__(self, policies: Iterable[Policy], available: Iterable[Policy] = ()) -> None:
        unique = {policy.ref: policy for policy in policies}
        self._refs = tuple(sorted(unique, key=lambda ref: (ref.name, ref.version, ref.digest)))
        self._policies = tuple(unique[ref] for ref in self._refs)
        self._available = tuple(available)
        self._days = tuple((each.starts, each.ends, each.name) for each in self._policies)
        self._table: dict[tuple[Role, Purpose], _Compiled] = {}
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
        return PolicySet((*self._policies, *added), self._available)

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

    def compiled(self, role: Role, purpose: Purpose) -> _Compiled:
        """The row of the table for this role and purpose, compiled when first asked for."""
        row = self._table.get((role, purpose))
        if row is None:
            # Two threads may both compile it: the rows are equal, and either may stay.
            row = self._table[role, purpose] = _compile(self._policies, role, purpose)
        return row


def _compile(policies: Sequence[Policy], role: Role, purpose: Purpose) -> _Compiled:
    if not any(policy.kind is Kind.BASE for policy in policies):
        return _NOTHING
    return _finish(reduce(Row.join, (row_of(policy, role, purpose) for policy in policies)))


def _finish(row: Row) -> _Compiled:
    request = Decision(
        rulings=(),
        denied=_sorted(row.denied),
        constraints=ModelConstraints(row.tags, row.zones),
        stages=tuple(
            StageRequirement(stage, Action(point.level).name.lower(), _sorted(point.by))
            for stage, point in sorted(row.stages.items())
        ),
        restore_tools=row.tools or frozenset(),
        obligations=tuple(sorted(row.obligations)),
        citations=_sorted(row.by),
    )
    if row.denied:
        return _Compiled(
            request, {}, Ruling(Operator.BLOCK, restore=False, citations=request.denied)
        )
    rulings = {each: _ruling(cell) for each, cell in row.cells.items()}
    return _Compiled(request, rulings, _ruling(row.unnamed))


def _ruling(cell: Cell) -> Ruling:
    operator, first = Operator(cell.operator.level), _sorted(cell.operator.by)
    if operator >= Operator.REDACT:
        # What was redacted has left no mapping: there is nothing to restore, whoever asks.
        return Ruling(operator, restore=False, citations=first)
    then = _sorted(cell.restore.by - cell.operator.by)
    return Ruling(operator, cell.restore.level == RESTORED, (*first, *then))


def _sorted(citations: Iterable[Citation]) -> tuple[Citation, ...]:
    return tuple(sorted(citations, key=lambda each: (each.policy, each.line, each.rule, each.file)))


_NOTHING = _Compiled(
    Decision(rulings=(), denied=(NO_POLICY,)),
    {},
    Ruling(Operator.BLOCK, restore=False, citations=(NO_POLICY,)),
)


# --- the two questions of the pipeline -----------------------------------------------------------


def admit(
    policies: PolicySet, *, principal: Principal, purpose: Purpose, now: datetime
) -> Decision:
    """Decide on the request before its text is looked at: ``decide`` without findings.

    Raises:
        PolicyUnavailableError: a policy in force has expired or has not taken effect.
    """
    policies.check_in_force(now)
    request = policies.compiled(principal.role, purpose).request
    if purpose not in principal.purposes:
        return replace(request, denied=(*request.denied, NOT_GRANTED))
    return request


def decide(
    policies: PolicySet,
    *,
    principal: Principal,
    purpose: Purpose,
    findings: Sequence[Finding],
    now: datetime,
) -> Decision:
    """Decide on each finding and on the request; ``rulings[i]`` is for ``findings[i]``.

    A finding that is ruled ``BLOCK`` denies the request, with that ruling's citations.

    Raises:
        PolicyUnavailableError: a policy in force has expired or has not taken effect.
    """
    request = admit(policies, principal=principal, purpose=purpose, now=now)
    row = policies.compiled(principal.role, purpose)
    known, unnamed = row.rulings, row.unnamed
    rulings = tuple([known.get(finding.entity_type, unnamed) for finding in findings])
    denied = request.denied
    blocked = {ruling.citations for ruling in rulings if ruling.operator is _BLOCK}
    if blocked:
        denied = _sorted({*denied}.union(*blocked))
    # Field by field: ``dataclasses.replace`` would take longer than the decision.
    return Decision(
        rulings,
        denied,
        request.constraints,
        request.stages,
        request.restore_tools,
        request.obligations,
        request.citations,
    )
