"""The shipped policies: their truth tables, that no rule of them is idle, and what both decide."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.domain import Finding, Operator, Principal, Purpose, Role
from gateway.errors import PolicyFileError
from gateway.guards.registry import ALL as GUARDS
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.policy import read
from gateway.policy.cases import evaluate, load_cases
from gateway.policy.decide import PolicySet, admit, decide
from gateway.policy.lint import check_vocabulary
from gateway.policy.load import SHIPPED, load_policy, shipped
from gateway.policy.model import STAGES, Action, Then
from gateway.policy.schema import policy_schema

NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICIES = {name: load_policy(shipped(name)) for name in SHIPPED}
CASES = {name: load_cases(shipped(f"{name}.cases"), policy=name) for name in SHIPPED}
BOTH = PolicySet(POLICIES.values())
RULES = [(name, rule.id) for name in SHIPPED for rule in POLICIES[name].rules]


def faults(policy, name):
    return [result for result in evaluate(policy, CASES[name]) if result.faults]


@pytest.mark.parametrize("name", SHIPPED)
def test_truth_tables_hold(name):
    """Every combination of every case comes out as written, and there are many."""
    results = list(evaluate(POLICIES[name], CASES[name]))
    assert len(results) > 100
    assert [(r.case.id, str(r.sample), r.faults) for r in results if r.faults] == []


@pytest.mark.parametrize(("name", "identifier"), RULES)
def test_every_rule_is_needed_by_a_case(name, identifier):
    """A rule that is taken out of its policy makes at least one case fail."""
    policy = POLICIES[name]
    kept = tuple(rule for rule in policy.rules if rule.id != identifier)
    assert faults(replace(policy, rules=kept), name)


def weaker(then: Then) -> Then:
    """The same effect, one step less protective; the same where no step is left."""
    if then.operator is not None:
        return replace(then, operator=Operator(max(0, then.operator - 1)))
    if then.restore is False:
        return replace(then, restore=True)
    shorter = then.retain and replace(then.retain, at_least=then.retain.at_least - 1)
    return replace(
        then,
        deny=False,
        stages=(),
        zones=None,
        tags=frozenset(),
        obligations=frozenset(),
        retain=shorter,
    )


@pytest.mark.parametrize(("name", "identifier"), RULES)
def test_every_weakened_rule_is_noticed(name, identifier):
    """A rule whose effect is weakened by one step makes at least one case fail."""
    policy = POLICIES[name]
    rule = next(rule for rule in policy.rules if rule.id == identifier)
    softened = replace(rule, then=weaker(rule.then))
    if softened == rule:
        assert rule.then.permit or rule.then.restore or rule.then.operator is Operator.KEEP
        return
    rules = tuple(softened if each is rule else each for each in policy.rules)
    assert faults(replace(policy, rules=rules), name)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_vocabulary_of_detection_is_covered(name):
    """Policies name every type that detection can find, and none that it cannot."""
    check_vocabulary(POLICIES[name], ENTITY_TYPES)
    with pytest.raises(PolicyFileError, match="NEW_TYPE"):
        check_vocabulary(POLICIES[name], {*ENTITY_TYPES, "NEW_TYPE"})
    with pytest.raises(
        PolicyFileError, match="names an entity type that no detector knows: PERSON"
    ):
        check_vocabulary(POLICIES[name], set(ENTITY_TYPES) - {"PERSON"})


def test_stages_of_the_language_are_the_guards_there_are():
    """A policy can require what exists; refusing is for prompts, withholding for answers."""
    assert set(STAGES) == set(GUARDS)
    for stage, actions in STAGES.items():
        strongest = {"in": Action.REFUSE, "out": Action.WITHHOLD}[GUARDS[stage].side]
        assert actions == (Action.ANNOTATE, strongest)


def decided(role, purpose, *entities):
    principal = Principal("p", role, frozenset({purpose}), purpose)
    findings = [Finding(each, 0, 1, 1.0) for each in entities]
    return decide(BOTH, principal=principal, purpose=purpose, findings=findings, now=NOW)


BOTH_IN_FORCE = [
    # role, purpose, entity, operator, restored
    (Role.CLINICIAN, Purpose.TREATMENT, "PERSON", Operator.PSEUDONYM, True),
    (Role.CLINICIAN, Purpose.TREATMENT, "DATE_TIME", Operator.PSEUDONYM, True),
    (Role.CLINICIAN, Purpose.TREATMENT, "AGE", Operator.GENERALIZE, True),
    (Role.CLINICIAN, Purpose.TREATMENT, "SECRET", Operator.REDACT, False),
    (Role.CLINICIAN, Purpose.OPERATIONS, "US_SSN", Operator.PSEUDONYM, False),
    (Role.CLINICIAN, Purpose.OPERATIONS, "PERSON", Operator.PSEUDONYM, True),
    (Role.CLINICIAN, Purpose.PUBLIC_INTEREST, "PERSON", Operator.PSEUDONYM, False),
    (Role.LAWYER, Purpose.LEGAL_ADVICE, "PERSON", Operator.PSEUDONYM, True),
    (Role.LAWYER, Purpose.LITIGATION, "CASE_NUMBER", Operator.PSEUDONYM, True),
    (Role.RESEARCHER, Purpose.RESEARCH, "PERSON", Operator.PSEUDONYM, False),
    (Role.RESEARCHER, Purpose.RESEARCH, "DATE_TIME", Operator.PSEUDONYM, False),
    (Role.RESEARCHER, Purpose.RESEARCH, "MEDICAL_RECORD", Operator.REDACT, False),
]


@pytest.mark.parametrize(("role", "purpose", "entity", "operator", "restored"), BOTH_IN_FORCE)
def test_both_in_force(role, purpose, entity, operator, restored):
    """The set that is in force by default decides as the stricter of its two policies."""
    decision = decided(role, purpose, entity)
    assert decision.denied == ()
    ruling = decision.rulings[0]
    assert (ruling.operator, ruling.restore) == (operator, restored)
    assert {citation.policy for citation in ruling.citations} <= set(SHIPPED)
    assert all(citation.clause and citation.line > 1 for citation in ruling.citations)


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
def test_administration_never_reaches_a_model(role, purpose):
    """Admins and auditors are denied for every purpose, by a rule and not only by silence."""
    rules = {citation.rule for citation in decided(role, purpose).denied}
    assert "deny-administration" in rules


@pytest.mark.parametrize("role", list(Role))
def test_marketing_is_denied_to_everybody(role):
    """45 CFR 164.508(a)(3) and GDPR Art. 21(3): no role may ask for marketing."""
    clauses = {citation.clause for citation in decided(role, Purpose.MARKETING).denied}
    assert {"45 CFR 164.508(a)(3)(i)", "GDPR Art. 5(1)(b), 9(2)(a), 21(3)"} <= clauses


def test_models_stay_on_the_premises_and_guards_only_annotate():
    """The default set asks for local models, and for stages that hold no stream back."""
    principal = Principal("p", Role.LAWYER, frozenset({Purpose.LITIGATION}), Purpose.LITIGATION)
    decision = admit(BOTH, principal=principal, purpose=Purpose.LITIGATION, now=NOW)
    assert decision.constraints.zones == {"local"}
    assert {s.stage: s.action for s in decision.stages} == dict.fromkeys(
        ("citations", "compliance", "injection", "purpose"), "annotate"
    )
    assert "masked-text-remains-phi" in decision.obligations


def test_every_safe_harbor_identifier_has_a_rule_that_cites_it():
    """45 CFR 164.514(b)(2)(i)(A) to (R): eighteen letters, each cited by a rule on values."""
    cited = " ".join(
        rule.clause for rule in POLICIES["hipaa"].rules if rule.then.operator is not None
    )
    assert [letter for letter in "ABCDEFGHIJKLMNOPQR" if f"({letter})" not in cited] == []


def test_the_schema_on_disk_is_the_generated_one(root):
    """Editors complete what the loader reads: the committed schema is in step."""
    on_disk = json.loads((root / "policies" / "policy.schema.json").read_text())
    assert on_disk == policy_schema(ENTITY_TYPES)


def test_the_schema_knows_the_keys_that_the_loader_reads():
    """Keys and required keys agree on every level."""
    schema = policy_schema()
    rule = schema["properties"]["rules"]["items"]
    levels = [
        (schema, read.POLICY_KEYS, read.POLICY_REQUIRED),
        (schema["properties"]["silence"], read.SILENCE_KEYS, read.SILENCE_KEYS),
        (rule, read.RULE_KEYS, read.RULE_REQUIRED),
        (rule["properties"]["when"], read.WHEN_KEYS, ()),
        (rule["properties"]["then"], read.THEN_KEYS, ()),
        (rule["properties"]["then"]["properties"]["models"], read.MODELS_KEYS, ()),
    ]
    for level, keys, required in levels:
        assert set(level["properties"]) == set(keys)
        assert set(level.get("required", ())) == set(required)
        assert level["additionalProperties"] is False
