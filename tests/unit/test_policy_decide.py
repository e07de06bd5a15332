"""What a set of policies decides: silence, combining, dates, and the shape of the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.domain import Finding, ModelConstraints, Operator, Principal, Purpose, Role
from gateway.errors import PolicyUnavailableError, RequestError
from gateway.policy.decide import PolicySet, admit, decide
from gateway.policy.load import SHIPPED, load_policy, parse_policy, shipped
from gateway.policy.table import NO_POLICY, NOT_GRANTED

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CLINICIAN = Principal(
    "p1", Role.CLINICIAN, frozenset({Purpose.TREATMENT, Purpose.MARKETING}), Purpose.TREATMENT
)

BASE = """\
name: {name}
version: 1.0.0
kind: base
regulation: R 1
jurisdiction: XX
effective: {effective}
{expires}owner: o
vocabulary: cloister/1
silence: {{clause: S 1, why: silent}}
rules:
  - id: permit
    clause: P 1
    why: w
    when: {{role: [clinician], purpose: [treatment]}}
    then: {{permit: true}}
"""
OVERLAY = """\
name: {name}
version: 1.0.0
kind: overlay
regulation: R 2
jurisdiction: XX
effective: 2025-01-01
owner: o
vocabulary: cloister/1
rules:
"""


def rule(identifier: str, then: str, when: str = "entity: [PERSON]") -> str:
    condition = f"    when: {{{when}}}\n" if when else ""
    return f"  - id: {identifier}\n    clause: C 1\n    why: w\n{condition}    then: {{{then}}}\n"


def base(*rules: str, name="base", effective="2025-01-01", expires=""):
    text = BASE.format(name=name, effective=effective, expires=expires) + "".join(rules)
    return parse_policy(text.encode(), file=f"{name}.yaml")


def overlay(*rules: str, name="overlay"):
    return parse_policy((OVERLAY.format(name=name) + "".join(rules)).encode(), file=f"{name}.yaml")


def ask(*policies, entities=("PERSON",), principal=CLINICIAN, purpose=Purpose.TREATMENT, now=NOW):
    findings = [Finding(each, 0, 1, 0.9) for each in entities]
    return decide(
        PolicySet(policies), principal=principal, purpose=purpose, findings=findings, now=now
    )


MASK = rule("mask", "operator: pseudonym")
RESTORE = rule("restore", "restore: true", "role: [clinician], entity: [PERSON]")


def test_an_empty_set_denies():
    """No policy at all is a denial, for the request and for every value."""
    decision = ask()
    assert decision.denied == (NO_POLICY,)
    assert [ruling.operator for ruling in decision.rulings] == [Operator.BLOCK]


def test_overlays_alone_open_no_door():
    """An overlay that permits still needs a base policy beneath it."""
    opener = overlay(
        rule("permit", "permit: true", "role: [clinician], purpose: [treatment]"), MASK, RESTORE
    )
    assert ask(opener).denied == (NO_POLICY,)


def test_a_role_that_no_rule_permits_is_denied_by_silence():
    """The denial cites the clause that the policy gives for its silence."""
    lawyer = Principal("p2", Role.LAWYER, frozenset({Purpose.TREATMENT}), Purpose.TREATMENT)
    decision = ask(base(MASK), principal=lawyer)
    assert [(c.rule, c.clause, c.file) for c in decision.denied] == [
        ("silence", "S 1", "base.yaml")
    ]


def test_a_purpose_that_the_key_lacks_is_denied():
    """The policy's permit does not replace the key's grant."""
    nobody = Principal("p3", Role.CLINICIAN, frozenset(), Purpose.TREATMENT)
    assert ask(base(MASK), principal=nobody).denied == (NOT_GRANTED,)


def test_an_entity_type_that_no_rule_names_denies_the_request():
    """A detector may learn a new type before a policy does; until then nothing passes."""
    decision = ask(base(MASK), entities=("PERSON", "GENOME"))
    assert [ruling.operator for ruling in decision.rulings] == [Operator.PSEUDONYM, Operator.BLOCK]
    assert [c.rule for c in decision.denied] == ["silence"]


def test_a_type_that_is_only_restored_has_no_operator():
    """Naming a type for restoring says nothing of what the model may learn: denied."""
    decision = ask(base(RESTORE))
    assert decision.rulings[0].operator is Operator.BLOCK
    assert decision.denied


def test_block_denies_with_the_rule_that_blocks():
    """``operator: block`` is a denial with a citation of its own."""
    decision = ask(base(rule("never", "operator: block")))
    assert [c.rule for c in decision.denied] == ["never"]


@pytest.mark.parametrize(
    ("operators", "strongest"),
    [
        (["keep", "generalize"], Operator.GENERALIZE),
        (["redact", "pseudonym"], Operator.REDACT),
        (["surrogate", "pseudonym", "keep"], Operator.PSEUDONYM),
        (["generalize", "block", "redact"], Operator.BLOCK),
    ],
)
def test_the_strongest_operator_wins_within_and_across_policies(operators, strongest):
    """It does not matter whether rules stand in one file or in several."""
    rules = [rule(f"r{n}", f"operator: {name}") for n, name in enumerate(operators)]
    together = ask(base(*rules))
    apart = ask(*(base(each, name=f"b{n}") for n, each in enumerate(rules)))
    assert together.rulings[0].operator is strongest
    assert apart.rulings[0].operator is strongest


def test_only_the_deciding_rules_are_cited():
    """A receipt names the rules that made the operator what it is, not those that asked less."""
    decision = ask(base(rule("weak", "operator: keep"), rule("strong", "operator: redact")))
    assert [c.rule for c in decision.rulings[0].citations] == ["strong"]


@pytest.mark.parametrize(
    ("policies", "restored"),
    [
        ([base(MASK, RESTORE)], True),
        ([base(MASK)], False),
        ([base(MASK, RESTORE), base(MASK, name="other")], False),
        ([base(MASK, RESTORE), base(MASK, RESTORE, name="other")], True),
        ([base(MASK, RESTORE), overlay(rule("x", "operator: keep"))], True),
        ([base(MASK, RESTORE), overlay(rule("veto", "restore: false"))], False),
        ([base(MASK, RESTORE, rule("veto", "restore: false"))], False),
        ([base(rule("r", "operator: redact"), RESTORE)], False),
    ],
)
def test_restoring_needs_every_base_policy_and_no_objection(policies, restored):
    """Values come back only where all agree, and never where nothing was kept of them."""
    assert ask(*policies).rulings[0].restore is restored


def test_deny_wins_over_permit():
    """One rule that denies is enough, in the same policy or in another."""
    no = rule("veto", "deny: true", "purpose: [treatment]")
    assert [c.rule for c in ask(base(MASK, no)).denied] == ["veto"]
    assert [c.policy for c in ask(base(MASK), overlay(no)).denied] == ["overlay"]


def test_stages_take_the_strongest_action():
    """Requirements add up; of two actions for one stage the stronger one stands, with its rule."""
    note = rule("note", "require: [{stage: injection, action: annotate}]", "")
    stop = rule(
        "stop",
        "require: [{stage: injection, action: refuse}, {stage: citations, action: withhold}]",
        "",
    )
    decision = ask(base(MASK, note), overlay(stop))
    assert [(s.stage, s.action, [c.rule for c in s.citations]) for s in decision.stages] == [
        ("citations", "withhold", ["stop"]),
        ("injection", "refuse", ["stop"]),
    ]


def test_tags_add_up_and_zones_shrink():
    """A model must satisfy all policies at once; zones that exclude each other leave none."""
    decision = ask(
        base(MASK, rule("a", "models: {tags: [medical], zones: [local, annex]}", "")),
        overlay(rule("b", "models: {tags: [audited], zones: [local]}", "")),
    )
    assert decision.constraints == ModelConstraints(
        frozenset({"medical", "audited"}), frozenset({"local"})
    )
    apart = ask(
        base(MASK, rule("a", "models: {zones: [annex]}", "")),
        overlay(rule("b", "models: {zones: [local]}", "")),
    )
    assert apart.constraints.zones == frozenset()
    assert ask(base(MASK)).constraints.zones is None


def test_tools_are_restored_only_where_every_base_policy_names_them():
    """Naming a tool in one policy does not open it for the others; an overlay may only narrow."""
    both = rule("t", "restore_tools: [book, mail]", "role: [clinician]")
    one = rule("t", "restore_tools: [book]", "role: [clinician]")
    assert ask(base(MASK, both)).restore_tools == {"book", "mail"}
    assert ask(base(MASK)).restore_tools == frozenset()
    assert ask(base(MASK, both), base(MASK, name="b2")).restore_tools == frozenset()
    assert ask(base(MASK, both), overlay(one)).restore_tools == {"book"}
    assert ask(base(MASK, both), overlay(MASK)).restore_tools == {"book", "mail"}


def test_obligations_add_up():
    """Every policy's duties are the request's duties, each once, sorted."""
    decision = ask(
        base(MASK, rule("a", "obligations: [file-it, audit]", "")),
        overlay(rule("b", "obligations: [audit, tell]", "")),
    )
    assert decision.obligations == ("audit", "file-it", "tell")


def test_admit_is_decide_without_findings():
    """The early question and the late one cannot disagree on the request."""
    policies = PolicySet([load_policy(shipped(name)) for name in SHIPPED])
    for purpose in Purpose:
        early = admit(policies, principal=CLINICIAN, purpose=purpose, now=NOW)
        late = decide(policies, principal=CLINICIAN, purpose=purpose, findings=(), now=NOW)
        assert early == late


def test_a_denied_request_blocks_every_value():
    """Whatever reads only the rulings of a denied request still shows nothing to the model."""
    decision = ask(base(MASK), purpose=Purpose.MARKETING)
    assert decision.denied
    assert {ruling.operator for ruling in decision.rulings} == {Operator.BLOCK}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC), "not in effect"),
        (datetime(2027, 1, 1, tzinfo=UTC), "expired"),
        (datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "expired"),
        (datetime(2030, 1, 1, tzinfo=UTC), "expired"),
    ],
)
def test_outside_its_dates_a_policy_stops_everything(now, words):
    """An expired policy is not skipped: with one policy out of date nothing is decided at all."""
    dated = base(MASK, expires="expires: 2027-01-01\n")
    for question in (
        lambda: ask(dated, now=now),
        lambda: ask(dated, base(MASK, name="other"), now=now),
        lambda: admit(PolicySet([dated]), principal=CLINICIAN, purpose=Purpose.TREATMENT, now=now),
    ):
        with pytest.raises(PolicyUnavailableError, match=words):
            question()


@pytest.mark.parametrize(
    "now", [datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, 23, 59, tzinfo=UTC)]
)
def test_within_its_dates_a_policy_decides(now):
    """In force from the first instant of ``effective`` to the last before ``expires``."""
    assert not ask(base(MASK, expires="expires: 2027-01-01\n"), now=now).denied


def test_a_request_can_add_a_policy_and_remove_none():
    """A policy in force changes nothing, an available one joins, an unknown one is an error."""
    strict = overlay(rule("strict", "operator: redact"), name="strict")
    policies = PolicySet([base(MASK, RESTORE)], available=[strict])
    assert policies.plus(()) is policies
    assert policies.plus(["base"]) is policies
    grown = policies.plus(["strict"])
    assert [ref.name for ref in grown.refs] == ["base", "strict"]
    findings = [Finding("PERSON", 0, 1, 1.0)]
    decision = decide(
        grown, principal=CLINICIAN, purpose=Purpose.TREATMENT, findings=findings, now=NOW
    )
    assert decision.rulings[0].operator is Operator.REDACT
    with pytest.raises(RequestError) as caught:
        policies.plus(["strict", "Jane Roe"])
    assert caught.value.param == "policy"
    assert "Jane" not in caught.value.message


def test_a_request_cannot_bring_the_base_policy_along():
    """Overlays alone deny everything; what a request adds does not open them."""
    overlays = PolicySet([overlay(rule("strict", "operator: redact"))], available=[base(MASK)])
    grown = overlays.plus(["base"])
    for policies in (overlays, grown):
        decision = admit(policies, principal=CLINICIAN, purpose=Purpose.TREATMENT, now=NOW)
        assert decision.denied == (NO_POLICY,)


def test_refs_and_digest_do_not_depend_on_order():
    """The digest of a set names its policies, not the order in which a file listed them."""
    one, two = base(MASK), base(MASK, name="two")
    assert PolicySet([one, two]).digest == PolicySet([two, one, two]).digest
    assert PolicySet([one, two]).refs == PolicySet([two, one]).refs
    assert PolicySet([one]).digest != PolicySet([two]).digest
