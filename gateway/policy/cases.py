"""Truth tables: what a policy must decide, written down beside it as data.

``NAME.cases.yaml`` belongs to ``NAME.yaml``. A case names roles, purposes and, where it is about
values, entity types, bands of their scores and types found beside them; or data categories of the
request. It holds for every combination; where it names no band and the policy does, for every band.
Evaluating none is a failure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.domain import (
    HIGH_FROM,
    MEDIUM_FROM,
    Band,
    Category,
    Decision,
    Decoding,
    Finding,
    Operator,
    Principal,
    Purpose,
    Retention,
    Role,
)
from gateway.policy.decide import PolicySet, decide
from gateway.policy.keeping import alerts, retention
from gateway.policy.load import parse, read_bytes
from gateway.policy.model import (
    BANDS,
    CATEGORIES,
    OPERATORS,
    PURPOSES,
    ROLES,
    SILENCE,
    STAGES,
)
from gateway.policy.read import ENTITY, NAME
from gateway.policy.shown import shown
from gateway.policy.thresholds import thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from gateway.domain import Citation
    from gateway.policy.model import Policy
    from gateway.yamlfile.node import Node

FILE_KEYS = ("policy", "cases")
CASE_KEYS = ("id", "role", "purpose", "entity", "confidence", "beside", "category", "expect")
CASE_REQUIRED = ("id", "role", "purpose", "expect")
EXPECT_KEYS = (
    "deny",
    "operator",
    "restore",
    "rule",
    "stages",
    "zones",
    "obligations",
    "decoding",
    "retain",
    "alert",
)

_RULE = re.compile(rf"{NAME.pattern}|{SILENCE}")
_ACTION = MappingProxyType(
    {action.name.lower(): action for each in STAGES.values() for action in each}
)
_DECODING = MappingProxyType({each.value: each for each in Decoding})


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come out; ``None`` where the case does not say. ``rule`` must be cited."""

    deny: bool | None = None
    operator: Operator | None = None
    restore: bool | None = None
    rule: str | None = None
    stages: Mapping[str, str] | None = None
    zones: frozenset[str] | None = None
    obligations: frozenset[str] | None = None
    decoding: Decoding | None = None
    retain: Retention | None = None
    alerts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. ``entities`` is empty for a case about the request as a whole."""

    id: str
    roles: tuple[Role, ...]
    purposes: tuple[Purpose, ...]
    entities: tuple[str, ...]
    bands: tuple[Band, ...]
    beside: tuple[str, ...]
    categories: tuple[Category, ...]
    expect: Expectation
    where: str

    def samples(self, bands: tuple[Band, ...]) -> Iterator[Sample]:
        """Every combination; ``bands`` for a case about values that names none."""
        besides: list[tuple[str, ...]] = [(each,) for each in self.beside]
        found = [frozenset({each}) for each in self.categories]
        return (
            Sample(*each)
            for each in product(
                self.roles,
                self.purposes,
                self.entities or (None,),
                (self.bands or bands) if self.entities else (Band.HIGH,),
                besides or [()],
                found or [frozenset()],
            )
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """A request to decide on: a finding of this type and band, or none, and what else it has."""

    role: Role
    purpose: Purpose
    entity: str | None = None
    band: Band = Band.HIGH
    beside: tuple[str, ...] = ()
    categories: frozenset[Category] = frozenset()

    def __str__(self) -> str:
        value = self.entity or "request"
        if self.band is not Band.HIGH:
            value += f" of {self.band.name.lower()} confidence"
        besides = [f"beside {each}" for each in self.beside]
        return ", ".join([self.role, self.purpose, value, *besides, *sorted(self.categories)])


@dataclass(frozen=True, slots=True)
class Result:
    """One combination of a case: what differed from the expectation, empty when nothing did."""

    case: Case
    sample: Sample
    faults: tuple[str, ...]
    cited: frozenset[str]


def load_cases(source: Path | Traversable, *, policy: str) -> tuple[Case, ...]:
    """Read the truth table of the named policy.

    Raises:
        PolicyFileError: the file cannot be read, is no truth table, or is one of another policy.
    """
    data, file = read_bytes(source)
    keys = parse(data, file=file).mapping(FILE_KEYS, FILE_KEYS)
    if keys["policy"].match("name", NAME) != policy:
        keys["policy"].fail(f"these cases are for another policy than '{policy}'")
    seen: set[str] = set()
    return tuple(_case(node, seen) for node in keys["cases"].items())


def _case(node: Node, seen: set[str]) -> Case:
    keys = node.mapping(CASE_KEYS, CASE_REQUIRED)
    identifier = keys["id"].match("case id", NAME)
    keys["id"].fresh(seen, "case id")
    expect = _expectation(keys["expect"])
    on_value = expect.operator is not None or expect.restore is not None
    if on_value and "entity" not in keys:
        keys["expect"].fail("operator and restore are about values; name 'entity' in the case")
    for key in ("confidence", "beside"):
        if key in keys and "entity" not in keys:
            keys[key].fail(f"'{key}' is about values; name 'entity' in the case")
    return Case(
        id=identifier,
        roles=tuple(sorted(keys["role"].choices("role", ROLES))),
        purposes=tuple(sorted(keys["purpose"].choices("purpose", PURPOSES))),
        entities=tuple(sorted(keys["entity"].matches("entity type", ENTITY)))
        if "entity" in keys
        else (),
        bands=tuple(sorted(keys["confidence"].choices("band", BANDS)))
        if "confidence" in keys
        else (),
        beside=tuple(sorted(keys["beside"].matches("entity type", ENTITY)))
        if "beside" in keys
        else (),
        categories=tuple(sorted(keys["category"].choices("category", CATEGORIES)))
        if "category" in keys
        else (),
        expect=expect,
        where=f"{node.file}:{node.line}:{node.column}",
    )


def _expectation(node: Node) -> Expectation:
    keys = node.mapping(EXPECT_KEYS)
    if not keys:
        node.fail("a case that expects nothing cannot fail; say what must come out")
    return Expectation(
        deny=keys["deny"].boolean() if "deny" in keys else None,
        operator=keys["operator"].choice("operator", OPERATORS) if "operator" in keys else None,
        restore=keys["restore"].boolean() if "restore" in keys else None,
        rule=keys["rule"].match("rule id", _RULE) if "rule" in keys else None,
        stages=_stages(keys["stages"]) if "stages" in keys else None,
        zones=keys["zones"].matches("zone", NAME) if "zones" in keys else None,
        obligations=keys["obligations"].matches("obligation", NAME)
        if "obligations" in keys
        else None,
        decoding=keys["decoding"].choice("decoding", _DECODING) if "decoding" in keys else None,
        retain=retention(keys["retain"]) if "retain" in keys else None,
        alerts=dict(alerts(keys["alert"])) if "alert" in keys else None,
    )


def _stages(node: Node) -> Mapping[str, str]:
    named = node.mapping(tuple(STAGES))
    return {stage: each.choice("action", _ACTION).name.lower() for stage, each in named.items()}


# --- evaluating ---------------------------------------------------------------------------------


def evaluate(policy: Policy, cases: tuple[Case, ...]) -> Iterator[Result]:
    """Evaluate every combination of every case against the policy alone."""
    policies = PolicySet([policy])
    banded = any(rule.when.bands is not None for rule in policy.rules)
    bands = tuple(Band) if banded else (Band.HIGH,)
    for case in cases:
        for each in case.samples(bands):
            decision = decide_on(policies, each)
            cited = frozenset(citation.rule for citation in deciding_citations(decision))
            limits = {n: t.most for n, t in thresholds([policy], each.role).items()}
            faults = tuple(_faults(case.expect, decision, cited, limits))
            yield Result(case, each, faults, cited)


_SCORES = MappingProxyType({Band.LOW: 0.0, Band.MEDIUM: MEDIUM_FROM, Band.HIGH: HIGH_FROM})


def decide_on(policies: PolicySet, sample: Sample) -> Decision:
    """Decide for a key that grants the purpose, while all policies are in force.

    The first ruling is of the sample's own finding, where it has one.
    """
    types = () if sample.entity is None else (sample.entity,)
    score = _SCORES[sample.band]
    return decide(
        policies,
        principal=Principal("sample", sample.role, frozenset({sample.purpose}), sample.purpose),
        purpose=sample.purpose,
        findings=[Finding(each, 0, 1, score) for each in (*types, *sample.beside)],
        now=max(
            (policy.starts for policy in policies.policies),
            default=datetime.min.replace(tzinfo=UTC),
        ),
        categories=sample.categories,
    )


def deciding_citations(decision: Decision) -> tuple[Citation, ...]:
    """The citations of what was decided: the denial's alone where there is one."""
    return decision.denied or (
        *(citation for ruling in decision.rulings for citation in ruling.citations),
        *(citation for stage in decision.stages for citation in stage.citations),
        *decision.citations,
    )


def _faults(
    expect: Expectation, decision: Decision, cited: frozenset[str], limits: Mapping[str, int]
) -> Iterator[str]:
    ruling = decision.rulings[0] if decision.rulings else None
    stages = {stage.stage: stage.action for stage in decision.stages}
    if expect.rule is not None and expect.rule not in cited:
        yield f"rule '{expect.rule}' is not cited"
    pairs: list[tuple[str, object, object]] = [
        ("deny", expect.deny, bool(decision.denied)),
        ("stages", expect.stages, stages),
        ("zones", expect.zones, decision.constraints.zones),
        ("obligations", expect.obligations, frozenset(decision.obligations)),
        ("decoding", expect.decoding, decision.constraints.decoding),
        ("retain", expect.retain, decision.retention),
        ("alert", expect.alerts, limits),
    ]
    if ruling is not None:
        pairs.append(("operator", expect.operator, ruling.operator))
        pairs.append(("restore", expect.restore, ruling.restore))
    for name, wanted, got in pairs:
        if wanted is not None and wanted != got:
            yield f"{name} is {shown(got)}, not {shown(wanted)}"
