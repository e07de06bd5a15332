"""Checks of a policy: its detector's vocabulary, certainty that protects more, dates, periods."""

from __future__ import annotations

import difflib
from functools import reduce
from itertools import pairwise, product
from typing import TYPE_CHECKING

from gateway.domain import Band, Operator, Purpose, Retention, Role
from gateway.errors import PolicyFileError
from gateway.policy.model import UNBOUNDED, Kind
from gateway.policy.rows import row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.policy.model import Policy, Rule
    from gateway.policy.rows import Cell, Row


def check_vocabulary(policy: Policy, entity_types: Iterable[str]) -> None:
    """Check that the policy and the detector speak of the same entity types.

    A type that no detector knows is a slip of the pen; a type that a base policy leaves out
    would deny every request in which it is found.

    Raises:
        PolicyFileError: at the rule or group that names it, or at the head of the file.
    """
    known = frozenset(entity_types)
    for rule in policy.rules:
        named = (rule.when.entities or frozenset()) | (rule.when.beside or frozenset())
        for name in sorted(named - known):
            near = difflib.get_close_matches(name, sorted(known), n=1)
            fix = f"did you mean {near[0]}?" if near else "see the published vocabulary"
            raise PolicyFileError(
                f"rule '{rule.id}' names an entity type that no detector knows: {name}; {fix}",
                where=f"{policy.file}:{rule.line}:1",
            )
    missing = sorted(known - policy.entity_types)
    if policy.kind is Kind.BASE and missing:
        raise PolicyFileError(
            "a base policy names an operator for every entity type, in each band and without "
            "'beside'; add a rule for " + ", ".join(missing),
            where=f"{policy.file}:1:1",
        )


def check_bands(policy: Policy) -> None:
    """Check that a surer finding is treated at least as strictly as a less sure one.

    What a higher score opens would be opened by finding more. Asked for every role and purpose,
    for a value alone and beside each type that makes a difference: what holds beside several is
    the join of these, and a join of growing functions grows.

    Raises:
        PolicyFileError: at the head of the file, naming the type and the bands.
    """
    if all(rule.when.bands is None for rule in policy.rules):
        return
    for role, purpose in product(Role, Purpose):
        row = row_of(policy, role, purpose)
        types = {entity for entity, _ in row.cells} | {each.value[0] for each in row.beside}
        present: set[str | None] = {None}.union(*(each.types for each in row.beside))
        for entity, other in product(sorted(types), sorted(present, key=str)):
            cells = [_cell(row, (entity, band), other) for band in Band]
            for band, (low, high) in zip(Band, pairwise(cells), strict=False):
                if (
                    low.operator.level > high.operator.level
                    or low.restore.level > high.restore.level
                ):
                    surer = Band(band + 1).name.lower()
                    raise PolicyFileError(
                        f"{entity} is less protected with {surer} confidence than with "
                        f"{band.name.lower()}; name an operator as strong for '{surer}'",
                        where=f"{policy.file}:1:1",
                    )


DATES = "DATE_TIME"
SAFE_HARBOR, EXPERT = "45 CFR 164.514(b)(2)", "45 CFR 164.514(b)(1)"


def check_shifted_dates(policy: Policy) -> None:
    """Check that a policy under HIPAA shifts dates on the word of an expert only.

    Shifted dates are surrogates. Safe Harbor takes all elements of dates but the year,
    (b)(2)(i)(C); a shift by days is open to Expert Determination, (b)(1), alone.

    Raises:
        PolicyFileError: at the rule that writes surrogates for dates under another clause.
    """
    of_hipaa = "HIPAA" in policy.regulation or any("45 CFR 164" in r.clause for r in policy.rules)
    for rule in policy.rules if of_hipaa else ():
        shifts = rule.then.operator is Operator.SURROGATE and DATES in (rule.when.entities or ())
        if shifts and EXPERT not in rule.clause:
            raise PolicyFileError(
                f"rule '{rule.id}' shifts dates, which is no method of Safe Harbor ({SAFE_HARBOR});"
                f" cite the Expert Determination that allows it ({EXPERT}), or generalize",
                where=f"{policy.file}:{rule.line}:1",
            )


def _cell(row: Row, value: tuple[str, Band], other: str | None) -> Cell:
    """What becomes of a value beside a finding of type ``other``, or alone."""
    cell = row.cells.get(value, row.unnamed)
    for each in row.beside:
        if each.value == value and other in each.types:
            cell = cell.join(each.cell)
    return cell


def check_retention(policies: Sequence[Policy], bounds: Retention = UNBOUNDED) -> None:
    """Check that policies, and the site's own bounds, leave a period to keep every request.

    For each role and purpose all data categories are taken together: with more of them, periods
    only get narrower.

    Raises:
        PolicyFileError: at the rule whose ceiling or floor excludes what others say.
    """
    said = [(each, rule) for each in policies for rule in each.rules if rule.then.retain]
    for role, purpose in product(Role, Purpose) if said else ():
        covering = [
            (policy, rule, rule.then.retain)
            for policy, rule in said
            if rule.then.retain
            and rule.when.covers(role, purpose, rule.when.categories or frozenset())
        ]
        kept = reduce(Retention.join, (each for _, _, each in covering), bounds)
        if kept.empty:
            raise _excluded(covering, kept, f"{role.value} and {purpose.value}")


def _excluded(
    said: Sequence[tuple[Policy, Rule, Retention]], kept: Retention, whom: str
) -> PolicyFileError:
    """The fault, at a rule that sets the ceiling or, where the site does, at one with the floor."""
    most = [(p, r) for p, r, each in said if each.at_most == kept.at_most]
    least = [(p, r) for p, r, each in said if each.at_least == kept.at_least]
    policy, rule = (most or least)[0]
    return PolicyFileError(
        f"no retention for {whom}: {kept.at_least} months at least "
        f"({_named(least) or 'ledger.floor_months'}), {kept.at_most} at most "
        f"({_named(most) or 'ledger.ceiling_months'}); change one of them",
        where=f"{policy.file}:{rule.line}:1",
    )


def _named(found: Sequence[tuple[Policy, Rule]]) -> str:
    return ", ".join(f"{policy.name}/{rule.id}" for policy, rule in found)
