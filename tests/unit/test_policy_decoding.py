"""``decoding``: the strictest of all rules holds, and only what protects can be said."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gateway.domain import Category, Decoding, Principal, Purpose, Role
from gateway.errors import PolicyFileError
from gateway.policy.cases import evaluate, load_cases
from gateway.policy.decide import PolicySet, admit, decide
from tests.echo import OVERLAY, overlay, policy

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CLINICIAN = Principal("p", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)


def decoding(*policies, categories=frozenset()) -> Decoding:
    decision = decide(
        PolicySet([policy(), *policies]),
        principal=CLINICIAN,
        purpose=Purpose.TREATMENT,
        findings=[],
        now=NOW,
        categories=categories,
    )
    return decision.constraints.decoding


KINDS = {None: Decoding.FREE, "grounded": Decoding.GROUNDED, "extractive": Decoding.EXTRACTIVE}


@pytest.mark.parametrize(("one", "two"), list(itertools.product(KINDS, repeat=2)))
def test_the_strictest_of_all_rules_wins(one, two):
    """Of free < grounded < extractive the last, whatever the order of policies."""
    policies = [
        overlay(f"{kind}-{i}", f"decoding: {kind}") for i, kind in enumerate((one, two)) if kind
    ]
    order = list(KINDS)
    expected = KINDS[max(one, two, key=order.index)]
    assert decoding(*policies) is decoding(*reversed(policies)) is expected


def test_the_rule_that_asks_for_it_is_cited():
    """An auditor finds its file and line."""
    gate = admit(
        PolicySet([policy(), overlay("held", "decoding: grounded")]),
        principal=CLINICIAN,
        purpose=Purpose.TREATMENT,
        now=NOW,
    )
    assert "held" in {citation.rule for citation in gate.citations}


def test_a_category_can_ask_for_it():
    """What was found only protects more: a request about health is held to the prompt."""
    text = OVERLAY.format(name="held", then="decoding: grounded").replace(
        "why: w,", "why: w, when: {category: [health]},"
    )
    assert decoding(policy(text)) is Decoding.FREE
    held = decoding(policy(text), categories=frozenset({Category.HEALTH}))
    assert held is Decoding.GROUNDED


@pytest.mark.parametrize("value", ["free", "Grounded", "[grounded]", "true"])
def test_only_what_holds_answers_can_be_written(value):
    """``free`` would read like a permission; anything else is not a decoding."""
    with pytest.raises(PolicyFileError):
        overlay("held", f"decoding: {value}")


def test_it_is_about_the_request_and_not_about_a_value():
    """With ``entity`` it is two rules."""
    text = OVERLAY.format(name="held", then="decoding: grounded").replace(
        "why: w,", "why: w, when: {entity: [PERSON]},"
    )
    with pytest.raises(PolicyFileError, match="whole request"):
        policy(text)


def test_a_truth_table_can_expect_it(tmp_path):
    """A case that expects another decoding fails."""
    ward = policy().name
    path = tmp_path / "ward.cases.yaml"
    path.write_text(
        f"policy: {ward}\ncases:\n"
        "  - {id: a, role: [clinician], purpose: [treatment], expect: {decoding: free}}\n"
        "  - {id: b, role: [clinician], purpose: [treatment], expect: {decoding: grounded}}\n"
    )
    results = list(evaluate(policy(), load_cases(path, policy=ward)))
    assert [result.faults for result in results] == [(), ("decoding is free, not grounded",)]
