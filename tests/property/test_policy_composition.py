"""Adding a policy can only protect more, and the order of policies never matters (promise 3)."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import Decision, Finding, Operator, Principal, Purpose, Role
from gateway.policy.decide import PolicySet, decide
from gateway.policy.model import STAGES, Action, Kind, Policy, Rule, Silence, Then, When

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
on_request = st.builds(
    Then,
    permit=st.booleans(),
    deny=st.sampled_from([False, False, False, True]),
    restore_tools=st.none() | names,
    stages=st.lists(stages, max_size=2, unique_by=lambda each: each[0]).map(tuple),
    tags=st.frozensets(st.sampled_from(WORDS)),
    zones=st.none() | names,
    obligations=st.frozensets(st.sampled_from(WORDS)),
)
on_values = st.builds(
    Then, operator=st.none() | st.sampled_from(Operator), restore=st.none() | st.booleans()
)
request_rules = st.tuples(st.builds(When, st.none() | roles, st.none() | purposes), on_request)
value_rules = st.tuples(
    st.builds(
        When,
        st.none() | roles,
        st.none() | purposes,
        st.frozensets(st.sampled_from(TYPES), min_size=1),
    ),
    on_values,
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
usable = st.tuples(bases, st.lists(policies, max_size=2)).map(lambda both: [both[0], *both[1]])


def answers(chosen: list[Policy], types: tuple[str, ...] = TYPES) -> list[Decision]:
    """What a set decides over the whole domain: every role and purpose, without values and with."""
    compiled = PolicySet(chosen)
    return [
        decide(
            compiled,
            principal=Principal("p", role, frozenset(Purpose), purpose),
            purpose=purpose,
            findings=findings,
            now=NOW,
        )
        for role in ROLES
        for purpose in PURPOSES
        for findings in ([], [Finding(each, 0, 1, 1.0) for each in types])
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
    actions = {stage.stage: Action[stage.action.upper()] for stage in more.stages}
    for stage in less.stages:
        assert actions[stage.stage] >= Action[stage.action.upper()]
    assert more.restore_tools <= less.restore_tools
    assert set(less.obligations) <= set(more.obligations)


@given(usable, policies)
@settings(max_examples=20)
def test_adding_a_policy_only_protects_more(chosen, added):
    """Monotone: over the whole domain, a set with one more policy is nowhere less protective."""
    for more, less in zip(answers([*chosen, added]), answers(chosen), strict=True):
        assert_protects(more, less)


@given(usable, st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_order_and_repetition_do_not_matter(chosen, random):
    """Commutative and idempotent, citations included."""
    shuffled = [*chosen, random.choice(chosen)]
    random.shuffle(shuffled)
    assert answers(shuffled) == answers(chosen)


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
        itertools.product(ROLES, PURPOSES), answers(chosen, ())[::2], strict=True
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
