"""The scales of protection, what one policy says on each, and how policies join.

Every question (may this role ask for this purpose, what becomes of this entity type, ...) has
answers on a scale from least to most protective. A policy answers with a point of each scale; the
join of two answers is the stricter one. A join is commutative, associative and idempotent.

Where a base policy is silent its point is the strictest of the scale; where an overlay is
silent, the weakest (``model.Kind``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from gateway.domain import Band, Category, Citation, Decoding, Operator, Purpose, Retention, Role
from gateway.policy.model import UNBOUNDED, Action, Kind, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RESTORED, WITHHELD = 0, 1
"""The scale of restoring: a role sees the value again, or does not."""

_NONE: frozenset[Citation] = frozenset()


# --- scales --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Graded:
    """A point of a scale (higher protects more) and the rules that put it there."""

    level: int
    by: frozenset[Citation] = _NONE


def strictest(a: Graded, b: Graded) -> Graded:
    """The higher point; rules that agree on it are cited together."""
    if a.level == b.level:
        return Graded(a.level, a.by | b.by)
    return a if a.level > b.level else b


def _both(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    """Intersect; ``None`` is the set of all names."""
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _narrower(a: Decoding, b: Decoding) -> Decoding:
    return max(a, b, key=lambda each: each.level)


@dataclass(frozen=True, slots=True)
class Cell:
    """What becomes of one entity type, in one band of its score."""

    operator: Graded
    restore: Graded

    def join(self, other: Cell) -> Cell:
        return Cell(
            strictest(self.operator, other.operator), strictest(self.restore, other.restore)
        )


WEAKEST = Cell(Graded(Operator.KEEP), Graded(RESTORED))
"""Joining with it changes nothing."""

Value = tuple[str, Band]
"""What a policy can tell of a finding: its type and the band of its score."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A cell that is joined to that of ``value`` where the request has one of ``types`` too.

    It is joined, never put in the place of what holds alone: more findings only protect more.
    """

    value: Value
    types: frozenset[str]
    cell: Cell


@dataclass(frozen=True, slots=True)
class Row:
    """What one role may do for one purpose: the points of one policy, or of several joined.

    ``zones`` and ``tools`` are ``None`` for "no restriction".
    """

    denied: frozenset[Citation]
    cells: Mapping[Value, Cell]
    beside: frozenset[Beside]
    unnamed: Cell
    stages: Mapping[str, Graded]
    tags: frozenset[str]
    zones: frozenset[str] | None
    tools: frozenset[str] | None
    obligations: frozenset[str]
    by: frozenset[Citation]
    decoding: Decoding = Decoding.FREE
    retention: Retention = UNBOUNDED

    def join(self, other: Row) -> Row:
        types = self.cells.keys() | other.cells.keys()
        names = self.stages.keys() | other.stages.keys()
        weakest = Graded(Action.ANNOTATE)
        return Row(
            denied=self.denied | other.denied,
            cells={
                each: self.cells.get(each, self.unnamed).join(other.cells.get(each, other.unnamed))
                for each in types
            },
            beside=self.beside | other.beside,
            unnamed=self.unnamed.join(other.unnamed),
            stages={
                each: strictest(self.stages.get(each, weakest), other.stages.get(each, weakest))
                for each in names
            },
            tags=self.tags | other.tags,
            zones=_both(self.zones, other.zones),
            tools=_both(self.tools, other.tools),
            obligations=self.obligations | other.obligations,
            by=self.by | other.by,
            decoding=_narrower(self.decoding, other.decoding),
            retention=self.retention.join(other.retention),
        )


# --- one policy ----------------------------------------------------------------------------------


def row_of(
    policy: Policy, role: Role, purpose: Purpose, categories: frozenset[Category] = frozenset()
) -> Row:
    """The answers of one policy. Among its own rules, too, the strictest wins."""
    rules = [rule for rule in policy.rules if rule.when.covers(role, purpose, categories)]
    base = policy.kind is Kind.BASE
    silent = frozenset({policy.cite_silence()})
    denied = frozenset(policy.cite(rule) for rule in rules if rule.then.deny)
    if base and not any(rule.then.permit for rule in rules):
        denied |= silent
    unnamed = Cell(Graded(Operator.BLOCK, silent), Graded(WITHHELD, silent)) if base else WEAKEST
    # A denied request has no use for its cells: leaving them out keeps the table small.
    cells = {} if denied else _cells(policy, rules, unnamed)
    tools = [rule.then.restore_tools for rule in rules if rule.then.restore_tools is not None]
    zones = [rule.then.zones for rule in rules if rule.then.zones is not None]
    return Row(
        denied=denied,
        cells=cells,
        beside=frozenset() if denied else frozenset(_beside(policy, rules)),
        unnamed=unnamed,
        stages=_stages(policy, rules),
        tags=frozenset().union(*(rule.then.tags for rule in rules)),
        zones=reduce(_both, zones, None),
        tools=frozenset().union(*tools) if tools or base else None,
        obligations=frozenset().union(*(rule.then.obligations for rule in rules)),
        by=frozenset(policy.cite(rule) for rule in rules if rule.when.entities is None),
        decoding=reduce(_narrower, (rule.then.decoding for rule in rules), Decoding.FREE),
        retention=reduce(
            Retention.join, (each for rule in rules if (each := rule.then.retain)), UNBOUNDED
        ),
    )


def _cells(policy: Policy, rules: Sequence[Rule], unnamed: Cell) -> dict[Value, Cell]:
    """What holds for a finding alone: rules with ``beside`` name nothing here."""
    operators: dict[Value, list[Graded]] = {}
    restores: dict[Value, list[Graded]] = {}
    for rule in rules:
        if rule.when.beside is not None:
            continue
        by = frozenset({policy.cite(rule)})
        for each in _values(rule):
            if rule.then.operator is not None:
                operators.setdefault(each, []).append(Graded(rule.then.operator, by))
            if rule.then.restore is not None:
                level = RESTORED if rule.then.restore else WITHHELD
                restores.setdefault(each, []).append(Graded(level, by))
    return {
        each: Cell(
            reduce(strictest, operators.get(each, [unnamed.operator])),
            reduce(strictest, restores.get(each, [unnamed.restore])),
        )
        for each in operators.keys() | restores.keys()
    }


def _beside(policy: Policy, rules: Sequence[Rule]) -> Iterator[Beside]:
    for rule in rules:
        if rule.when.beside is None:
            continue
        by, then = frozenset({policy.cite(rule)}), rule.then
        cell = Cell(
            WEAKEST.operator if then.operator is None else Graded(then.operator, by),
            Graded(WITHHELD, by) if then.restore is False else WEAKEST.restore,
        )
        for each in _values(rule):
            yield Beside(each, rule.when.beside - {each[0]}, cell)


def _values(rule: Rule) -> Iterator[Value]:
    for entity in rule.when.entities or ():
        for band in rule.when.bands or Band:
            yield entity, band


def _stages(policy: Policy, rules: Sequence[Rule]) -> dict[str, Graded]:
    stages: dict[str, Graded] = {}
    for rule in rules:
        for stage, action in rule.then.stages:
            point = Graded(action, frozenset({policy.cite(rule)}))
            stages[stage] = strictest(stages.get(stage, point), point)
    return stages
