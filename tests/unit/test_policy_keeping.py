"""Retention and alerts in a policy: what can be said, which of several holds, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.app import policies_in_force, site_bounds
from gateway.domain import Category, Principal, Purpose, Retention, Role
from gateway.errors import PolicyFileError, PolicyUnavailableError
from gateway.policy.decide import PolicySet, admit, decide
from gateway.policy.lint import check_retention
from gateway.policy.load import load_policy, parse_policy, shipped
from gateway.policy.thresholds import thresholds
from gateway.settings import LedgerSettings, PolicySettings, Settings
from gateway.watching import limits

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HIPAA = load_policy(shipped("hipaa"))
HEAD = """name: {name}
version: 1.0.0
kind: overlay
regulation: R 1
jurisdiction: XX
effective: 2025-01-01
owner: o
vocabulary: cloister/1
rules:
"""


def text(name, *rules):
    """An overlay of rules, each a ``then``, or a ``when`` and a ``then``."""
    lines = [HEAD.format(name=name)]
    for number, rule in enumerate(rules):
        when, then = rule if isinstance(rule, tuple) else (None, rule)
        lines.append(f"  - id: r{number}\n    clause: C 1\n    why: w\n")
        lines.append(f"    when: {{{when}}}\n" if when else "")
        lines.append(f"    then: {{{then}}}\n")
    return "".join(lines)


def overlay(name, *rules):
    return parse_policy(text(name, *rules).encode(), file=f"{name}.yaml")


def kept(*policies, role=Role.CLINICIAN, purpose=Purpose.TREATMENT, categories=frozenset()):
    principal = Principal("p", role, frozenset({purpose}), purpose)
    return decide(
        PolicySet(policies),
        principal=principal,
        purpose=purpose,
        findings=[],
        now=NOW,
        categories=categories,
    ).retention


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), Retention(72, None, 0)),
        (("retain: {at_most: 10 years}",), Retention(72, 120, 0)),
        (("retain: {at_least: 7 years}",), Retention(84, None, 84)),
        (("retain: {at_least: 7 years, erasable: true}",), Retention(84, None, 0)),
        (("retain: {at_least: 1 month}",), Retention(72, None, 1)),
        (
            ("retain: {at_least: 7 years, at_most: 9 years}", "retain: {at_most: 100 months}"),
            Retention(84, 100, 84),
        ),
        ((("role: [lawyer]", "retain: {at_least: 99 years}"),), Retention(72, None, 0)),
        ((("category: [union]", "retain: {at_most: 72 months}"),), Retention(72, None, 0)),
    ],
)
def test_the_greatest_floor_and_the_smallest_ceiling_hold(rules, expected):
    """Of all rules that speak for the request, beside HIPAA's six years, in any order."""
    others = [overlay(f"o{number}", rule) for number, rule in enumerate(rules)]
    assert kept(HIPAA, *others) == expected
    assert kept(*reversed(others), HIPAA) == expected
    if rules:
        assert kept(HIPAA, overlay("one", *rules)) == expected


def test_a_category_shortens_what_speaks_of_it():
    """What a request speaks of can narrow how long it is kept."""
    union = overlay("o", ("category: [union]", "retain: {at_most: 72 months}"))
    assert kept(HIPAA, union, categories=frozenset({Category.UNION})).at_most == 72


@pytest.mark.parametrize(
    ("bounds", "preferred", "months"),
    [
        (Retention(), 72, 72),
        (Retention(84), 72, 84),
        (Retention(0, 1), 72, 1),
        (Retention(6, 24), 12, 12),
        (Retention(6, 24), 3, 6),
    ],
)
def test_the_site_chooses_within_the_bounds(bounds, preferred, months):
    """The period nearest to what the settings prefer."""
    assert bounds.months(preferred) == months


@pytest.mark.parametrize(
    ("then", "fault", "place"),
    [
        ("retain: {}", "without a bound", "13:20"),
        ("retain: {at_least: 6}", "no period, as '6 months'", "13:31"),
        ("retain: {at_least: 0 months}", "no period", "13:31"),
        ("retain: {at_least: 1.5 years}", "no period", "13:31"),
        ("retain: {at_least: 101 years}", "100 years at most", "13:31"),
        ("retain: {at_least: 2 years, at_most: 1 year}", "less than 'at_least'", "13:49"),
        ("retain: {at_most: 1 year, erasable: true}", "about what is kept at least", "13:48"),
        ("retain: {at_least: 1 year, erasable: false}", "can only be true", "13:49"),
        ("retain: {atleast: 1 year}", "did you mean 'at_least'", "13:21"),
        ("alert: {}", "without a threshold", "13:19"),
        ("alert: {denials_per_day: 0}", "no threshold", "13:37"),
        ("alert: {denials: 3}", "did you mean 'denials_per_day'", "13:20"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(then, fault, place):
    """``file:line:col``, the fault, the fix."""
    with pytest.raises(PolicyFileError, match=fault) as caught:
        overlay("o", then)
    assert f"o.yaml:{place}" in caught.value.message


@pytest.mark.parametrize(
    ("when", "then", "fault"),
    [
        ("entity: [PERSON]", "retain: {at_most: 1 year}", "on the whole request"),
        ("entity: [PERSON]", "alert: {denials_per_day: 3}", "on the whole request"),
        ("purpose: [treatment]", "alert: {denials_per_day: 3}", "whole day"),
        ("category: [health]", "alert: {denials_per_day: 3}", "whole day"),
        ("role: [lawyer]", "alert: {open_intents: 3}", "nobody's"),
    ],
)
def test_what_does_not_go_together_is_refused(when, then, fault):
    """Periods are of requests; alerts count days of people; open intents are nobody's."""
    with pytest.raises(PolicyFileError, match=fault):
        overlay("o", (when, then))


def test_rules_of_one_policy_that_exclude_each_other_do_not_load():
    """Said at the rule with the ceiling; for different roles they do not meet."""
    with pytest.raises(PolicyFileError, match="84 months at least") as caught:
        overlay("o", "retain: {at_least: 7 years}", "retain: {at_most: 1 year}")
    assert caught.value.message.count("o.yaml:14:1") == 1
    apart = (
        ("role: [lawyer]", "retain: {at_least: 7 years}"),
        (
            "role: [clinician]",
            "retain: {at_most: 1 year}",
        ),
    )
    assert len(overlay("o", *apart).rules) == 2


def test_policies_that_exclude_each_other_are_no_set(tmp_path):
    """A gateway does not start with them: ``file:line:col`` of one, the rules of both."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "short.yaml").write_text(text("short", "retain: {at_most: 1 year}"))
    settings = Settings(policy=PolicySettings(in_force=("hipaa", "short")))
    with pytest.raises(PolicyFileError, match="hipaa/documentation-six-years") as caught:
        policies_in_force(settings, tmp_path)
    assert "short.yaml:10:1" in caught.value.message
    assert "short/r0" in caught.value.message
    asked = policies_in_force(Settings(policy=PolicySettings(in_force=("hipaa",))), tmp_path)
    principal = Principal("p", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
    with pytest.raises(PolicyUnavailableError):
        admit(asked.plus(["short"]), principal=principal, purpose=Purpose.TREATMENT, now=NOW)


def test_the_site_s_own_bounds_narrow_and_exclude():
    """``ledger.floor_months`` and ``ceiling_months`` are joined to what policies say."""
    site = site_bounds(Settings(ledger=LedgerSettings(floor_months=80, retain_months=90)))
    held = PolicySet([HIPAA], bounds=site).retention(Role.CLINICIAN, Purpose.TREATMENT)
    assert held == Retention(80, 1200, 80)
    with pytest.raises(PolicyFileError, match=r"ledger\.ceiling_months"):
        check_retention([HIPAA], Retention(0, 71))
    with pytest.raises(PolicyFileError, match=r"ledger\.floor_months"):
        check_retention([overlay("o", "retain: {at_most: 1 year}")], Retention(13, None, 13))


def test_the_smallest_threshold_holds_and_names_its_rule():
    """Settings count where no policy speaks; of policies the smallest, for the role it is of."""
    one = overlay("one", "alert: {denials_per_day: 9, open_intents: 5}")
    two = overlay(
        "two",
        "alert: {denials_per_day: 4}",
        ("role: [lawyer]", "alert: {denials_per_day: 2, subjects_per_day: 7}"),
    )
    found = limits(Settings(), PolicySet([HIPAA, one, two]))
    assert (found.others.denials, found.others.open_intents, found.others.subjects) == (4, 5, 100)
    lawyer = found.roles["lawyer"]
    assert (lawyer.denials, lawyer.subjects, lawyer.break_glass) == (2, 7, 1)
    said = {cause: [each.rule for each in by] for cause, by in lawyer.by.items()}
    assert said == {
        "watch/denials": ["two/r1"],
        "watch/distinct-subjects": ["two/r1"],
        "watch/open-intents": ["one/r0"],
    }
    assert lawyer.by[next(iter(lawyer.by))][0].where.startswith(("one.yaml:", "two.yaml:"))


def test_rules_that_agree_on_a_threshold_are_named_together():
    """Both set it; none of them alone."""
    both = [overlay(name, "alert: {denials_per_day: 3}") for name in ("b", "a")]
    found = limits(Settings(), PolicySet(both)).others
    assert [each.rule for each in found.by["watch/denials"]] == ["a/r0", "b/r0"]
    assert thresholds(both) == thresholds(reversed(both))


def test_a_policy_s_digest_and_records_do_not_change_where_it_says_nothing():
    """A decision without a retention has the one of before."""
    silent = replace(HIPAA, rules=tuple(r for r in HIPAA.rules if r.then.retain is None))
    assert kept(silent) == Retention()


def test_policyctl_explains_how_long_and_which_policies_exclude_each_other(tmp_path):
    """The months in words and as JSON; a set without a period is an invalid file, exit 2."""
    short = tmp_path / "short.yaml"
    short.write_text(text("short", "retain: {at_most: 1 year}"))
    asked = ["-m", "gateway.policyctl", "explain", "--role", "clinician", "--purpose", "treatment"]

    def explain(*more):
        command = [sys.executable, *asked, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    told = explain("--policy", "hipaa")
    assert "kept: {at_least: 72 months, erasable: true}" in told.stdout
    shown = json.loads(explain("--policy", "hipaa", "-o", "json").stdout)
    assert shown["request"]["retain"] == {"at_least": 72, "at_most": None, "not_erased": 0}
    excluded = explain("--policy", "hipaa", "--policy", str(short))
    assert (excluded.returncode, excluded.stdout) == (2, "")
    assert f"{short}:10:1: no retention for clinician and treatment" in excluded.stderr
