"""Policies in force and what they decide: pure, total, and tables once compiled.

The strictest of all policies in force wins (``rows``), so adding one can only protect more. No
policy, an entity type that no rule names, a role or purpose that no rule permits: denied.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from gateway.domain import (
    Band,
    Citation,
    Decision,
    ModelConstraints,
    Operator,
    PolicyRef,
    Purpose,
    Role,
    Ruling,
    StageRequirement,
    band_of,
)
from gateway.errors import PolicyUnavailableError, RequestError
from gateway.policy.model import UNBOUNDED, Action, Kind, Policy, digest_of
from gateway.policy.rows import RESTORED, WITHHELD, Cell, Graded, Row, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gateway.domain import Category, Finding, Principal, Retention

_LANGUAGE = "docs/spec/policy-language.md"
_BLOCK = Operator.BLOCK
"""Looking a member up in an enumeration costs more than the rest of a comparison."""

_MOST_TABLES = 1024
"""Tables kept in memory; a set of policies has a few, and what is found must not grow it."""

NO_POLICY = Citation("built-in", "no-base-policy", "policy-language §5: empty denies", _LANGUAGE, 1)
NOT_GRANTED = Citation(
    "built-in", "purpose-not-granted", "policy-language §5: the key grants it too", _LANGUAGE, 1
)

# --- the set in force ----------------------------------------------------------------------------


Rulings = tuple[Ruling, Ruling, Ruling]
"""One for each band of a score: ``rulings[Band.LOW]`` and so on."""


class _Compiled:
    """A row in the words of the domain: what ``decide`` copies its answer from.

    ``alone`` says what becomes of a finding by itself; ``beside`` also asks what else was found.
    ``banded``: the band of a score makes a difference.
    """

    __slots__ = ("_row", "_tables", "_watched", "alone", "banded", "request", "unnamed")

    def __init__(self, row: Row, request: Decision) -> None:
        self.request = request
        self.unnamed = _alike(
            Ruling(_BLOCK, restore=False, citations=request.denied)
            if request.denied
            else _ruling(row.unnamed)
        )
        self._row = row
        self._watched: frozenset[str] = frozenset()
        if not request.denied:
            self._watched = self._watched.union(*(each.types for each in row.beside))
        self._tables: dict[frozenset[str], Mapping[str, Rulings]] = {}
        self.alone: Mapping[str, Rulings] = {} if request.denied else self._table(frozenset())
        self.banded = any(len(set(each)) > 1 for each in self.alone.values()) or bool(row.beside)

    def beside(self, findings: Sequence[Finding]) -> Mapping[str, Rulings]:
        """The table for these findings: some of them make policy stricter with others."""
        if not self._watched:
            return self.alone
        present = self._watched & {finding.entity_type for finding in findings}
        if not present:
            return self.alone
        table = self._tables.get(present)
        if table is None:
            if len(self._tables) >= _MOST_TABLES:
                self._tables.clear()
            table = self._tables[present] = self._table(present)
        return table

    def _table(self, present: frozenset[str]) -> dict[str, Rulings]:
        cells = dict(self._row.cells)
        for each in self._row.beside:
            cell = cells.setdefault(each.value, self._row.unnamed)
            if not present.isdisjoint(each.types):
                cells[each.value] = cell.join(each.cell)
        return {
            entity: _by_band([_ruling(cells.get((entity, b), self._row.unnamed)) for b in Band])
            for entity in {entity for entity, _ in cells}
        }


def _by_band(rulings: Sequence[Ruling]) -> Rulings:
    low, medium, high = rulings
    return low, medium, high


def _alike(ruling: Ruling) -> Rulings:
    return ruling, ruling, ruling


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
        self._table: dict[tuple[Role, Purpose, frozenset[Category]], _Compiled] = {}
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
    ) -> _Compiled:
        """The row of the table for such a request, compiled when first asked for."""
        key = (role, purpose, categories & self._categories)
        row = self._table.get(key)
        if row is None:
            if len(self._table) >= _MOST_TABLES:
                self._table.clear()
            # Two threads may both compile it: the rows are equal, and either may stay.
            row = self._table[key] = _compile(self._policies, *key, self.bounds)
        return row

    def retention(self, role: Role, purpose: Purpose) -> Retention:
        """How long to keep what was not decided on: it may speak of every category."""
        return self.compiled(role, purpose, self._categories).request.retention


def _compile(
    policies: Sequence[Policy],
    role: Role,
    purpose: Purpose,
    categories: frozenset[Category],
    bounds: Retention,
) -> _Compiled:
    row = _NOTHING
    if any(policy.kind is Kind.BASE for policy in policies):
        row = reduce(Row.join, (row_of(each, role, purpose, categories) for each in policies))
    request = Decision(
        rulings=(),
        denied=_sorted(row.denied),
        constraints=ModelConstraints(row.tags, row.zones, row.decoding),
        stages=tuple(
            StageRequirement(stage, Action(point.level).name.lower(), _sorted(point.by))
            for stage, point in sorted(row.stages.items())
        ),
        restore_tools=row.tools or frozenset(),
        obligations=tuple(sorted(row.obligations)),
        citations=_sorted(row.by),
        retention=row.retention.join(bounds),
    )
    return _Compiled(row, request)


def _ruling(cell: Cell) -> Ruling:
    operator, first = Operator(cell.operator.level), _sorted(cell.operator.by)
    if operator >= Operator.REDACT:
        # What was redacted has left no mapping: there is nothing to restore, whoever asks.
        return Ruling(operator, restore=False, citations=first)
    then = _sorted(cell.restore.by - cell.operator.by)
    return Ruling(operator, cell.restore.level == RESTORED, (*first, *then))


def _sorted(citations: Iterable[Citation]) -> tuple[Citation, ...]:
    return tuple(sorted(citations, key=lambda each: (each.policy, each.line, each.rule, each.file)))


_NOTHING = Row(
    denied=frozenset({NO_POLICY}),
    cells={},
    beside=frozenset(),
    unnamed=Cell(Graded(Operator.BLOCK), Graded(WITHHELD)),
    stages={},
    tags=frozenset(),
    zones=None,
    tools=None,
    obligations=frozenset(),
    by=frozenset(),
)
"""What no policy, or overlays alone, say."""


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
        request.retention,
    )
