"""Conditions on what was found decide as written; what would open something is refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gateway.domain import (
    Band,
    Category,
    Finding,
    Message,
    Operator,
    Principal,
    Prompt,
    Purpose,
    Role,
    band_of,
)
from gateway.errors import PolicyFileError
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.policy.decide import PolicySet, decide
from gateway.policy.lint import check_vocabulary
from gateway.policy.load import parse_policy
from gateway.protect import Protector
from tests.wordlist import detect

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CLINICIAN = Principal("p", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
HEAD = """\
name: p
version: 1.0.0
kind: base
regulation: R 1
jurisdiction: XX
effective: 2025-01-01
owner: o
vocabulary: cloister/1
silence: {clause: S 1, why: silent}
rules:
  - id: permit
    clause: P 1
    why: w
    when: {role: [clinician], purpose: [treatment]}
    then: {permit: true}
"""
MASK = ("entity: [PERSON, MEDICAL_RECORD]", "operator: pseudonym")
KEEP = ("entity: [REGION]", "operator: keep")
BESIDE = ("entity: [REGION], beside: [PERSON]", "operator: pseudonym")


def policy(*rules: tuple[str, str]):
    text = HEAD + "".join(
        f"  - {{id: r{i}, clause: C 1, why: w, when: {{{when}}}, then: {{{then}}}}}\n"
        for i, (when, then) in enumerate(rules)
    )
    return parse_policy(text.encode(), file="p.yaml")


def ruled(rules, *found: tuple[str, float], categories=()):
    decision = decide(
        PolicySet([policy(*rules)]),
        principal=CLINICIAN,
        purpose=Purpose.TREATMENT,
        findings=[Finding(entity, 0, 1, score) for entity, score in found],
        now=NOW,
        categories=frozenset(categories),
    )
    return decision, [ruling.operator for ruling in decision.rulings]


@pytest.mark.parametrize(
    ("score", "band"),
    [(0, "LOW"), (0.4999, "LOW"), (0.5, "MEDIUM"), (0.8499, "MEDIUM"), (0.85, "HIGH"), (1, "HIGH")],
)
def test_bands_of_scores(score, band):
    """Below .5, below .85, and from there on."""
    assert band_of(score) is Band[band]


def test_a_score_that_is_no_number_is_of_the_strictest_band():
    """Unknown is treated as sure."""
    assert band_of(float("nan")) is Band.HIGH


BANDED = (
    ("entity: [ORGANIZATION], confidence: [low]", "operator: keep"),
    ("entity: [ORGANIZATION], confidence: [medium, high]", "operator: redact"),
)


def test_confidence_decides_by_finding():
    """Each finding by its own score, whatever the others have."""
    _, operators = ruled(BANDED, ("ORGANIZATION", 0.3), ("ORGANIZATION", 0.5))
    assert operators == [Operator.KEEP, Operator.REDACT]


def test_a_band_that_no_rule_names_denies():
    """What a base policy does not name is blocked, and validate says so."""
    doubted = ("entity: [ORGANIZATION], confidence: [low, medium]", "operator: keep")
    decision, operators = ruled((doubted,), ("ORGANIZATION", 0.85))
    assert operators == [Operator.BLOCK]
    assert decision.denied
    with pytest.raises(PolicyFileError, match="ORGANIZATION"):
        check_vocabulary(policy(doubted), ["ORGANIZATION"])


def test_beside_counts_only_other_types_in_the_same_request():
    """Alone and beside anything else a region stays; beside a person it does not."""
    rules = (MASK, KEEP, BESIDE)
    for others, expected in (
        ((), Operator.KEEP),
        ((("MEDICAL_RECORD", 0.9),), Operator.KEEP),
        ((("REGION", 0.9),), Operator.KEEP),
        ((("PERSON", 0.1),), Operator.PSEUDONYM),
    ):
        assert ruled(rules, ("REGION", 0.9), *others)[1][0] is expected


def test_a_type_named_only_beside_another_is_not_named():
    """Alone it would be unnamed, so it is blocked in either case."""
    for others in ((), (("PERSON", 0.9),)):
        assert ruled((MASK, BESIDE), ("REGION", 0.9), *others)[1][0] is Operator.BLOCK
    with pytest.raises(PolicyFileError, match="REGION"):
        check_vocabulary(policy(MASK, BESIDE), ["PERSON", "MEDICAL_RECORD", "REGION"])


def test_categories_act_on_the_request():
    """Stages, obligations and denials may follow from what a request speaks of."""
    rules = (
        MASK,
        ("category: [health, union]", "obligations: [ground], models: {zones: [local]}"),
        ("category: [genetics]", "deny: true"),
    )
    plain, _ = ruled(rules, ("PERSON", 1))
    assert (plain.obligations, plain.constraints.zones, plain.denied) == ((), None, ())
    spoken, _ = ruled(rules, ("PERSON", 1), categories=[Category.UNION, Category.BELIEF])
    assert (spoken.obligations, spoken.constraints.zones) == (("ground",), {"local"})
    denied, operators = ruled(rules, ("PERSON", 1), categories=[Category.GENETICS])
    assert [each.rule for each in denied.denied] == ["r2"]
    assert operators == [Operator.BLOCK]


REFUSED = {
    "restore by confidence": ("role: [clinician], entity: [REGION], confidence: [high]",
                              "restore: true", "can only protect more"),
    "restore beside": ("role: [clinician], entity: [REGION], beside: [PERSON]", "restore: true",
                       "can only protect more"),
    "permit by category": ("role: [clinician], purpose: [payment], category: [health]",
                           "permit: true", "can only protect more"),
    "tools by category": ("role: [clinician], category: [health]", "restore_tools: [t]",
                          "can only protect more"),
    "keep beside": ("entity: [REGION], beside: [PERSON]", "operator: keep", "stronger operator"),
    "beside itself": ("entity: [REGION], beside: [REGION]", "operator: redact", "beside itself"),
    "confidence without entity": ("confidence: [low]", "deny: true", "name 'entity'"),
    "beside without entity": ("beside: [PERSON]", "deny: true", "name 'entity'"),
    "category with entity": ("entity: [REGION], category: [health]", "operator: redact",
                             "about the request"),
    "unknown band": ("entity: [REGION], confidence: [sure]", "operator: redact", "unknown band"),
    "unknown category": ("category: [wealth]", "deny: true", "unknown category"),
    "unknown group": ("entity: [REGION], beside: [people]", "operator: redact", "unknown group"),
}  # fmt: skip


@pytest.mark.parametrize(("when", "then", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_open_by_what_is_found_is_refused(when, then, words):
    """With the place of the rule and what to do instead."""
    with pytest.raises(PolicyFileError, match=words) as refused:
        policy((when, then))
    assert refused.value.message.startswith("p.yaml:16:")


LOOSER_WITH_CERTAINTY = {
    "weaker operator": (("entity: [URL], confidence: [low, medium]", "operator: redact"),
                        ("entity: [URL], confidence: [high]", "operator: keep")),
    "unnamed below": (("entity: [URL], confidence: [high]", "operator: pseudonym"),),
    "only beside": (("entity: [URL]", "operator: pseudonym"),
                    ("entity: [URL], confidence: [low], beside: [PERSON]", "operator: redact")),
    "withheld below": (("entity: [URL]", "operator: pseudonym"),
                       ("entity: [URL], role: [clinician]", "restore: true"),
                       ("entity: [URL], confidence: [low]", "restore: false")),
}  # fmt: skip


@pytest.mark.parametrize("rules", LOOSER_WITH_CERTAINTY.values(), ids=LOOSER_WITH_CERTAINTY.keys())
def test_a_surer_finding_may_not_be_treated_more_freely(rules):
    """Operators and withholding never weaken from a band to the next one."""
    with pytest.raises(PolicyFileError, match="less protected with"):
        policy(*rules)


def test_types_beside_are_checked_against_the_vocabulary():
    """A slip of the pen under ``beside`` would silently protect less."""
    slip = policy(MASK, KEEP, ("entity: [REGION], beside: [PRESON]", "operator: redact"))
    with pytest.raises(PolicyFileError, match="did you mean PERSON"):
        check_vocabulary(slip, ENTITY_TYPES)


class Words:
    digest = "ab" * 32
    entity_types = frozenset({"PERSON", "REGION", "MEDICAL_RECORD"})

    def detect(self, texts, language=None, changed=None):
        words = {
            "Ohio": "REGION",
            "Utah": "REGION",
            "Ada Quill": "PERSON",
            "448812": "MEDICAL_RECORD",
        }
        return [detect(words, text) for text in texts]


def mapped(*texts: str):
    """What a conversation of these turns maps, and its masked texts."""
    rules = PolicySet([policy(MASK, KEEP, BESIDE)])

    def by_policy(findings, categories):
        return decide(
            rules,
            principal=CLINICIAN,
            purpose=Purpose.TREATMENT,
            findings=findings,
            now=NOW,
            categories=categories,
        )

    guard = Protector(Words(), splice, lambda: NOW, Categorizer())
    prompt, done = guard.protect(Prompt(tuple(Message("user", t) for t in texts)), by_policy)
    return {k: v.text for k, v in done.mapping.items()}, [m.content for m in prompt.messages]


def test_a_later_turn_masks_what_an_earlier_one_kept():
    """A region that was readable becomes a placeholder once a person is named."""
    assert mapped("born in Ohio") == ({}, ["born in Ohio"])
    later = mapped("born in Ohio", "of Ada Quill, in Utah")
    assert later[1] == ["born in <REGION_1>", "of <PERSON_1>, in <REGION_2>"]


def test_no_number_changes_when_policy_becomes_stricter_on_the_way():
    """mapping(M) is contained in mapping(M+N) for all conversations of such turns (promise 4)."""
    turns = ("in Ohio", "to Utah", "Ada Quill of Ohio", "no 448812, Utah")
    for length in (2, 3, 4):
        for conversation in itertools.permutations(turns, length):
            before, _ = mapped(*conversation[:-1])
            after, _ = mapped(*conversation)
            assert before.items() <= after.items()
