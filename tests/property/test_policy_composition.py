"""Adding a policy can only protect more, and the order of policies never matters (promise 3)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.domain import (
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
from gateway.errors import PolicyFileError
from gateway.policy.decide import PolicySet, decide
from gateway.policy.lint import check_bands
from gateway.policy.model import ALERTS, STAGES, Action, Kind, Policy, Rule, Silence, Then, When
from gateway.policy.thresholds import thresholds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = ("PERSON", "DATE_TIME", "SECRET")
UNNAMED = "NEVER_NAMED"
WORDS = ("a", "b", "c")
ROLES = (Role.CLINICIAN, Role.LAWYER, Role.ADMIN)
PURPOSES = (Purpose.TREATMENT, Purpose.LITIGATION, Purpose.MARKETING)

names = st.frozensets(st.sampled_from(WORDS), min_size=1)
roles = st.frozensets(st.sampled_from(ROLES), min_size=1)
purposes = st.frozensets(st.sampled_from(PURPOSES), min_size=1)
stages = st.sampled_from(sorted(STAGES)).flatmap(
    lambda stage: st.tuples(st.just(stage), st.sampled_from(STAGES[stage]))
)
months = st.integers(0, 6)
# What leaves no period is refused (``lint.check_retention``); from 6 on there is one.
retentions = (
    st.none()
    | st.builds(Retention, st.just(6), st.none() | st.integers(6, 9), st.just(0))
    | st.builds(lambda least, most: Retention(least, most, least), months, st.integers(6, 9))
)
on_request = st.builds(
    Then,
    permit=st.booleans(),
    deny=st.sampled_from([False, False, False, True]),
    restore_tools=st.none() | names,
    stages=st.lists(stages, max_size=2, unique_by=lambda each: each[0]).map(tuple),
    tags=st.frozensets(st.sampled_from(WORDS)),
    zones=st.none() | names,
    obligations=st.frozensets(st.sampled_from(WORDS)),
    decoding=st.sampled_from(Decoding),
    retain=retentions,
)
on_values = st.builds(
    Then, operator=st.none() | st.sampled_from(Operator), restore=st.none() | st.booleans()
)
CATEGORIES = (Category.HEALTH, Category.UNION)
types = st.frozensets(st.sampled_from(TYPES), min_size=1)
bands = st.none() | st.frozensets(st.sampled_from(Band), min_size=1)
categories = st.frozensets(st.sampled_from(CATEGORIES))
# What the language refuses (``read._check_conditions``) is not drawn: a condition on what is found
# has effects that protect.
protecting = st.builds(
    Then,
    deny=st.booleans(),
    stages=st.lists(stages, max_size=1).map(tuple),
    tags=st.frozensets(st.sampled_from(WORDS)),
    zones=st.none() | names,
    obligations=st.frozensets(st.sampled_from(WORDS)),
    decoding=st.sampled_from(Decoding),
    retain=retentions,
)
request_rules = st.tuples(
    st.builds(When, st.none() | roles, st.none() | purposes), on_request
) | st.tuples(
    st.builds(
        When,
        st.none() | roles,
        st.none() | purposes,
        categories=st.frozensets(st.sampled_from(CATEGORIES), min_size=1),
    ),
    protecting,
)
restricting = st.builds(
    Then, operator=st.none() | st.sampled_from(Operator), restore=st.sampled_from([None, False])
)
value_rules = (
    st.tuples(st.builds(When, st.none() | roles, st.none() | purposes, types), on_values)
    | st.tuples(st.builds(When, st.none() | roles, st.none() | purposes, types, bands), restricting)
    | st.tuples(
        st.builds(When, st.none() | roles, st.none() | purposes, types, bands, types), restricting
    )
)
serial = itertools.count()


def build(kind: Kind, pairs: list[tuple[When, Then]]) -> Policy:
    number = next(serial)
    rules = tuple(
        Rule(f"r{line}", f"C {line}", "w", when, then, line)
        for line, (when, then) in enumerate(pairs, start=1)
    )
    return Policy(
        name=f"p{number}",
        version="1.0.0",
        kind=kind,
        regulation="R 1",
        jurisdiction="XX",
        owner="o",
        effective=date(2025, 1, 1),
        expires=None,
        groups={},
        rules=rules,
        silence=Silence("S 1", "w", 1) if kind is Kind.BASE else None,
        file=f"p{number}.yaml",
        digest=f"{number:064x}",
    )


pairs = st.tuples(
    st.lists(request_rules, max_size=4), st.lists(value_rules, min_size=1, max_size=6)
).map(lambda both: [*both[0], *both[1]])
bases = st.builds(build, st.just(Kind.BASE), pairs)
policies = st.builds(build, st.sampled_from(Kind), pairs)
findings = st.lists(
    st.builds(
        Finding,
        st.sampled_from((*TYPES, UNNAMED)),
        st.just(0),
        st.just(1),
        st.sampled_from([0.0, 0.49, 0.5, 0.84, 0.85, 1.0]),
    ),
    max_size=5,
)
usable = st.tuples(bases, st.lists(policies, max_size=2)).map(lambda both: [both[0], *both[1]])


def answers(
    chosen: list[Policy], types: tuple[str, ...] = TYPES, found: frozenset[Category] = frozenset()
) -> list[Decision]:
    """What a set decides over the whole domain: every role and purpose, without values and with.

    The values are each type by itself, hardly and surely found, and all types together.
    """
    everything = [Finding(each, 0, 1, 1.0) for each in types]
    alone = [[Finding(each, 0, 1, score)] for each in types for score in (0.1, 0.9)]
    return [answer for values in ([], everything, *alone) for answer in over(chosen, values, found)]


def over(chosen: list[Policy], values: list[Finding], found: frozenset[Category]) -> list[Decision]:
    """What a set decides on these values, for every role and purpose."""
    compiled = PolicySet(chosen)
    return [
        decide(
            compiled,
            principal=Principal("p", role, frozenset(Purpose), purpose),
            purpose=purpose,
            findings=values,
            now=NOW,
            categories=found,
        )
        for role in ROLES
        for purpose in PURPOSES
    ]


def assert_protects(more: Decision, less: Decision) -> None:
    """``more`` is nowhere less protective than ``less``, in any of the orders."""
    assert more.denied or not less.denied
    for strict, loose in zip(more.rulings, less.rulings, strict=True):
        assert strict.operator >= loose.operator
        assert loose.restore or not strict.restore
    assert less.constraints.tags <= more.constraints.tags
    if less.constraints.zones is not None:
        assert more.constraints.zones is not None
        assert more.constraints.zones <= less.constraints.zones
    assert more.constraints.decoding.level >= less.constraints.decoding.level
    actions = {stage.stage: Action[stage.action.upper()] for stage in more.stages}
    for stage in less.stages:
        assert actions[stage.stage] >= Action[stage.action.upper()]
    assert more.restore_tools <= less.restore_tools
    assert set(less.obligations) <= set(more.obligations)
    assert more.retention == more.retention.join(less.retention)


@given(usable, policies, categories)
@settings(max_examples=20)
def test_adding_a_policy_only_protects_more(chosen, added, found):
    """Monotone: over the whole domain, a set with one more policy is nowhere less protective."""
    more, less = (answers(each, found=found) for each in ([*chosen, added], chosen))
    for strict, loose in zip(more, less, strict=True):
        assert_protects(strict, loose)


@given(usable, findings, findings, categories, categories)
@settings(max_examples=30)
def test_finding_more_only_protects_more(chosen, values, others, found, also):
    """Whatever is found besides, no value and no request is treated less strictly."""
    less = over(chosen, values, found)
    more = over(chosen, [*values, *others], found | also)
    for strict, loose in zip(more, less, strict=True):
        assert_protects(replace(strict, rulings=strict.rulings[: len(values)]), loose)


@given(usable, st.sampled_from(TYPES), findings)
@settings(max_examples=30)
def test_a_surer_finding_is_protected_as_much(chosen, entity, others):
    """Where ``check_bands`` lets every policy pass, a higher score never loosens anything."""
    for policy in chosen:
        try:
            check_bands(policy)
        except PolicyFileError:
            assume(False)
    by_score = [
        over(chosen, [Finding(entity, 0, 1, score), *others], frozenset())
        for score in (0.0, 0.5, 0.85)
    ]
    for lower, higher in pairwise(by_score):
        for strict, loose in zip(higher, lower, strict=True):
            assert_protects(strict, loose)


@given(usable, findings, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_of_findings_does_not_matter(chosen, values, random):
    """Each finding keeps its ruling wherever in the request it stands."""
    order = list(range(len(values)))
    random.shuffle(order)
    for one, other in zip(
        over(chosen, values, frozenset()),
        over(chosen, [values[index] for index in order], frozenset()),
        strict=True,
    ):
        assert tuple(one.rulings[index] for index in order) == other.rulings
        assert replace(one, rulings=()) == replace(other, rulings=())


@given(usable, st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_order_and_repetition_do_not_matter(chosen, random):
    """Commutative and idempotent, citations included."""
    shuffled = [*chosen, random.choice(chosen)]
    random.shuffle(shuffled)
    for found in (frozenset(), frozenset(CATEGORIES)):
        assert answers(shuffled, found=found) == answers(chosen, found=found)


@given(bases, policies, policies)
@settings(max_examples=8)
def test_a_set_grows_the_same_way_in_any_grouping(one, two, three):
    """Associative: adding two policies at once or one after the other gives the same answers."""
    at_once = PolicySet([one], available=[two, three]).plus([two.name, three.name])
    stepwise = PolicySet([one], available=[two, three]).plus([three.name]).plus([two.name])
    assert at_once.refs == stepwise.refs
    assert at_once.digest == stepwise.digest
    assert answers(list(at_once.policies)) == answers([three, one, two])


@given(usable)
@settings(max_examples=8)
def test_a_type_that_no_rule_names_denies(chosen):
    """Whatever the policies say, a type that none of them names denies the request."""
    for decision in answers(chosen, (UNNAMED,)):
        for ruling in decision.rulings:
            assert (ruling.operator, ruling.restore) == (Operator.BLOCK, False)
            assert decision.denied


@given(usable)
@settings(max_examples=8)
def test_without_a_permit_of_every_base_policy_a_role_is_denied(chosen):
    """A request is admitted only where each base policy permits it and no policy denies it."""
    for (role, purpose), decision in zip(
        itertools.product(ROLES, PURPOSES), over(chosen, [], frozenset()), strict=True
    ):
        speaking = [
            [rule.then for rule in policy.rules if rule.when.covers(role, purpose)]
            for policy in chosen
        ]
        permitted = all(
            any(then.permit for then in thens)
            for policy, thens in zip(chosen, speaking, strict=True)
            if policy.kind is Kind.BASE
        )
        vetoed = any(then.deny for thens in speaking for then in thens)
        assert bool(decision.denied) == (vetoed or not permitted)


@given(st.lists(policies.filter(lambda policy: policy.kind is Kind.OVERLAY), max_size=3))
@settings(max_examples=8)
def test_without_a_base_policy_nothing_is_permitted(overlays):
    """No policies, or overlays alone: denied everywhere."""
    for decision in answers(overlays):
        assert decision.denied
        assert {ruling.operator for ruling in decision.rulings} <= {Operator.BLOCK}


@given(usable)
@settings(max_examples=8)
def test_every_decision_is_explained(chosen):
    """Whatever protects or denies cites at least one rule, or the silence of a policy."""
    for decision in answers(chosen):
        for ruling in decision.rulings:
            assert ruling.citations
        for stage in decision.stages:
            assert stage.citations


any_retention = st.builds(
    lambda least, most, erasable: Retention(least, most, 0 if erasable else least),
    st.integers(0, 1200),
    st.none() | st.integers(1, 1200),
    st.booleans(),
)


@given(any_retention, any_retention, any_retention, st.integers(1, 1200))
def test_retentions_intersect(one, two, three, preferred):
    """Commutative, associative, idempotent; what is empty stays so; both bounds hold for both."""
    both = one.join(two)
    assert both == two.join(one)
    assert both.join(three) == one.join(two.join(three))
    assert one.join(one) == one.join(Retention()) == one
    assert both.empty or not (one.empty or two.empty)
    if not both.empty:
        kept = both.months(preferred)
        for each in (one, two):
            assert kept >= max(each.at_least, each.floor)
            assert each.at_most is None or kept <= each.at_most


alerting = st.builds(
    lambda roles, said: (When(roles), Then(alerts=tuple(sorted(said.items())))),
    st.none() | roles,
    st.dictionaries(st.sampled_from(ALERTS), st.integers(1, 9), min_size=1),
)


@given(
    st.lists(alerting, min_size=1, max_size=6), st.integers(0, 6), st.sampled_from([*ROLES, None])
)
def test_the_smallest_threshold_holds_however_rules_are_grouped(pairs, cut, role):
    """In whatever order and in however many policies the rules stand; nothing makes one greater."""
    split = [build(Kind.OVERLAY, part) for part in (pairs[:cut], pairs[cut:])]
    found = thresholds(split, role)
    assert found == thresholds([*reversed(split), *split], role)
    for name in ALERTS:
        said = [
            most
            for when, then in pairs
            for told, most in then.alerts
            if told == name and (when.roles is None or role in when.roles)
        ]
        assert (found[name].most if name in found else None) == min(said, default=None)
        if name in found:
            assert len(found[name].by) == said.count(found[name].most)
