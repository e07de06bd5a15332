"""The documents on policies name what exists, all of it, and their examples load."""

from __future__ import annotations

import re

import pytest

from gateway.policy.cases import evaluate, load_cases
from gateway.policy.load import SHIPPED, load_policy, parse_policy, shipped
from gateway.policy.model import SILENCE


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compliance_table_names_every_rule_and_real_cases(root, name):
    """Clause to rule to case: no rule of the policy is missing, no id of the table is invented."""
    text = (root / "docs" / "compliance" / f"{name}.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in row] for row in rows]
    named = {rule for row in rows for rule in re.findall(r"`([a-z-]+)`", row[2])}
    cases = {case for row in rows for case in re.findall(r"`([a-z0-9-]+)`", row[3])}
    policy = load_policy(shipped(name))
    results = list(evaluate(policy, load_cases(shipped(f"{name}.cases"), policy=name)))
    assert named == {SILENCE} | {rule.id for rule in policy.rules}
    assert cases <= {result.case.id for result in results}
    cited_by = {result.case.id: result.cited for result in results}
    for row in rows:
        for rule in re.findall(r"`([a-z-]+)`", row[2]):
            tested = re.findall(r"`([a-z0-9-]+)`", row[3])
            assert tested
            assert all(rule in cited_by[case] for case in tested), (rule, tested)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compliance_table_says_where_each_row_stands(root, name):
    """Every row is enforced, evidenced, denied or outside; nothing is claimed by being blank."""
    text = (root / "docs" / "compliance" / f"{name}.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    standings = [row[4].strip() for row in rows if not set(row[4].strip()) <= {"-"}]
    told = [each for each in standings if each != "standing"]
    assert len(told) > 20
    assert all(re.match(r"enforced|evidenced|outside|denied", each) for each in told)


def test_the_example_of_the_specification_loads(root):
    """What the document shows first is a policy."""
    text = (root / "docs" / "spec" / "policy-language.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    policy = parse_policy(examples[0].encode(), file="example.yaml")
    assert policy.name == "clinic"


def test_the_truth_table_of_the_specification_holds(root, tmp_path):
    """The example of a truth table is one of the example policy, and comes out as it says."""
    text = (root / "docs" / "spec" / "policy-language.md").read_text()
    policy, cases = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "clinic.cases.yaml").write_text(cases)
    table = load_cases(tmp_path / "clinic.cases.yaml", policy="clinic")
    results = list(evaluate(parse_policy(policy.encode(), file="example.yaml"), table))
    assert len(results) == 2
    assert [result.faults for result in results] == [(), ()]
