"""The table of a set of policies: what ``decide`` copies its answer from."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from gateway.domain import (
    Band,
    Citation,
    Decision,
    ModelConstraints,
    Operator,
    Purpose,
    Role,
    Ruling,
    StageRequirement,
)
from gateway.policy.model import Action, Kind, Policy
from gateway.policy.rows import RESTORED, WITHHELD, Cell, Graded, Row, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.domain import Category, Finding, Retention

_LANGUAGE = "docs/spec/policy-language.md"
BLOCK = Operator.BLOCK
"""Looking a member up in an enumeration costs more than the rest of a comparison."""

MOST_TABLES = 1024
"""Tables kept in memory; a set of policies has a few, and what is found must not grow it."""

NO_POLICY = Citation("built-in", "no-base-policy", "policy-language §5: empty denies", _LANGUAGE, 1)
NOT_GRANTED = Citation(
    "built-in", "purpose-not-granted", "policy-language §5: the key grants it too", _LANGUAGE, 1
)

Rulings = tuple[Ruling, Ruling, Ruling]
"""One for each band of a score: ``rulings[Band.LOW]`` and so on."""


class Compiled:
    """A row in the words of the domain: what ``decide`` copies its answer from.

    ``alone`` says what becomes of a finding by itself; ``beside`` also asks what else was found.
    ``banded``: the band of a score makes a difference.
    """

    __slots__ = ("_row", "_tables", "_watched", "alone", "banded", "request", "unnamed")

    def __init__(self, row: Row, request: Decision) -> None:
        self.request = request
        self.unnamed = _alike(
            Ruling(BLOCK, restore=False, citations=request.denied)
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
            if len(self._tables) >= MOST_TABLES:
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


def compile_row(
    policies: Sequence[Policy],
    role: Role,
    purpose: Purpose,
    categories: frozenset[Category],
    bounds: Retention,
) -> Compiled:
    row = _NOTHING
    if any(policy.kind is Kind.BASE for policy in policies):
        row = reduce(Row.join, (row_of(each, role, purpose, categories) for each in policies))
    request = Decision(
        rulings=(),
        denied=in_order(row.denied),
        constraints=ModelConstraints(row.tags, row.zones, row.decoding),
        stages=tuple(
            StageRequirement(stage, Action(point.level).name.lower(), in_order(point.by))
            for stage, point in sorted(row.stages.items())
        ),
        restore_tools=row.tools or frozenset(),
        obligations=tuple(sorted(row.obligations)),
        citations=in_order(row.by),
        retention=row.retention.join(bounds),
    )
    return Compiled(row, request)


def _ruling(cell: Cell) -> Ruling:
    operator, first = Operator(cell.operator.level), in_order(cell.operator.by)
    if operator >= Operator.REDACT:
        # What was redacted has left no mapping: there is nothing to restore, whoever asks.
        return Ruling(operator, restore=False, citations=first)
    then = in_order(cell.restore.by - cell.operator.by)
    return Ruling(operator, cell.restore.level == RESTORED, (*first, *then))


def in_order(citations: Iterable[Citation]) -> tuple[Citation, ...]:
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
