"""Shifted dates are a matter of Expert Determination: a policy says so or is refused."""

from __future__ import annotations

import pytest

from gateway.errors import PolicyFileError
from gateway.policy.load import parse_policy

HEAD = """\
name: p
version: 1.0.0
kind: overlay
regulation: {regulation}
jurisdiction: US
effective: 2025-01-01
owner: o
vocabulary: cloister/1
rules:
  - id: shift
    clause: {clause}
    why: w
    when: {{entity: [{entity}]}}
    then: {{operator: {operator}}}
"""
HIPAA = "HIPAA Privacy Rule"
SAFE_HARBOR, EXPERT = "45 CFR 164.514(b)(2)(i)(C)", "45 CFR 164.514(b)(1)"


def parsed(regulation: str, clause: str, entity: str, operator: str):
    text = HEAD.format(regulation=regulation, clause=clause, entity=entity, operator=operator)
    return parse_policy(text.encode(), file="p.yaml")


@pytest.mark.parametrize(
    ("regulation", "clause", "entity", "operator"),
    [
        (HIPAA, EXPERT, "DATE_TIME", "surrogate"),
        (HIPAA, SAFE_HARBOR, "DATE_TIME", "generalize"),
        (HIPAA, SAFE_HARBOR, "PERSON", "surrogate"),
        ("GDPR", "Art. 25(1)", "DATE_TIME", "surrogate"),
    ],
)
def test_a_policy_may_shift_dates_where_an_expert_says_so(regulation, clause, entity, operator):
    """Other operators, other types and other laws are not concerned."""
    assert parsed(regulation, clause, entity, operator).rules[0].clause == clause


@pytest.mark.parametrize("regulation", [HIPAA, "Our house rules"])
def test_dates_are_not_shifted_under_safe_harbor(regulation):
    """The rule is named with its line, and what to cite instead."""
    with pytest.raises(PolicyFileError, match="Expert Determination") as refused:
        parsed(regulation, SAFE_HARBOR, "DATE_TIME", "surrogate")
    assert refused.value.message.startswith("p.yaml:10:")
