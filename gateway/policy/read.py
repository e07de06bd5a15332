"""From nodes to a ``Policy``: which keys there are, what they hold, what must go together."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.domain import Decoding, Operator
from gateway.policy.keeping import alerts, check_alerts, retention, set_only
from gateway.policy.model import (
    BANDS,
    CATEGORIES,
    DECODINGS,
    LANGUAGE,
    OPERATORS,
    PURPOSES,
    ROLES,
    SILENCE,
    STAGES,
    Action,
    Kind,
    Policy,
    Rule,
    Silence,
    Then,
    When,
)

if TYPE_CHECKING:
    from gateway.yamlfile.node import Node

POLICY_KEYS = (
    "name",
    "version",
    "kind",
    "regulation",
    "jurisdiction",
    "effective",
    "expires",
    "owner",
    "vocabulary",
    "groups",
    "silence",
    "rules",
)
POLICY_REQUIRED = tuple(key for key in POLICY_KEYS if key not in {"expires", "groups", "silence"})
SILENCE_KEYS = ("clause", "why")
RULE_KEYS = ("id", "clause", "why", "when", "then")
RULE_REQUIRED = ("id", "clause", "why", "then")
WHEN_KEYS = ("role", "purpose", "entity", "confidence", "beside", "category")
THEN_KEYS = (
    "permit",
    "deny",
    "operator",
    "restore",
    "restore_tools",
    "require",
    "models",
    "obligations",
    "decoding",
    "retain",
    "alert",
)
REQUIRE_KEYS = ("stage", "action")
MODELS_KEYS = ("tags", "zones")

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}")
ENTITY = re.compile(r"[A-Z][A-Z0-9_]{1,62}")
TOOL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LINE = re.compile(r"[^\n]{1,400}")
CLAUSE = re.compile(r"(?=.*[0-9])[^\n]{3,200}")

_KINDS = MappingProxyType({kind.value: kind for kind in Kind})
_ACTIONS = MappingProxyType({action.name.lower(): action for action in Action})
_LANGUAGES = MappingProxyType({LANGUAGE: LANGUAGE})

Groups = dict[str, frozenset[str]]


def read_policy(root: Node, *, digest: str) -> Policy:
    """Build a policy. ``digest`` is the SHA-256 (hex) of the bytes it was parsed from.

    Raises:
        PolicyFileError: at the first key or value that the language does not have.
    """
    keys = root.mapping(POLICY_KEYS, POLICY_REQUIRED)
    keys["vocabulary"].choice("vocabulary", _LANGUAGES)
    kind = keys["kind"].choice("kind", _KINDS)
    if kind is Kind.BASE and "silence" not in keys:
        root.fail("a base policy denies what it does not name; add 'silence' with clause and why")
    if kind is Kind.OVERLAY and "silence" in keys:
        keys["silence"].fail(
            "an overlay's silence adds nothing; remove 'silence' or use kind: base"
        )
    effective = keys["effective"].day()
    expires = keys["expires"].day() if "expires" in keys else None
    if expires is not None and expires <= effective:
        keys["expires"].fail("the policy expires before it takes effect; correct one of the dates")
    groups = _groups(keys["groups"]) if "groups" in keys else {}
    return Policy(
        name=keys["name"].match("name", NAME),
        version=keys["version"].match("version", VERSION),
        kind=kind,
        regulation=keys["regulation"].match("single line", LINE),
        jurisdiction=keys["jurisdiction"].match("single line", LINE),
        owner=keys["owner"].match("single line", LINE),
        effective=effective,
        expires=expires,
        groups=MappingProxyType(groups),
        rules=_rules(keys["rules"], groups),
        silence=_silence(keys["silence"]) if "silence" in keys else None,
        file=root.file,
        digest=digest,
    )


def _groups(node: Node) -> Groups:
    return {
        name: members.matches("entity type", ENTITY)
        for name, members in node.named("group name", NAME).items()
    }


def _silence(node: Node) -> Silence:
    keys = node.mapping(SILENCE_KEYS, SILENCE_KEYS)
    return Silence(keys["clause"].match("clause", CLAUSE), _prose(keys["why"]), node.line)


def _prose(node: Node) -> str:
    """Free text: runs of white space count as one space, so that lines may be folded."""
    return " ".join(node.text().split())


def _rules(node: Node, groups: Groups) -> tuple[Rule, ...]:
    seen: set[str] = {SILENCE}
    rules = []
    for item in node.items():
        keys = item.mapping(RULE_KEYS, RULE_REQUIRED)
        identifier = keys["id"].match("rule id", NAME)
        keys["id"].fresh(seen, "rule id")
        when = _when(keys["when"], groups) if "when" in keys else When()
        then = _then(keys["then"])
        _check_together(keys["then"], when, then)
        rules.append(
            Rule(
                id=identifier,
                clause=keys["clause"].match("clause", CLAUSE),
                why=_prose(keys["why"]),
                when=when,
                then=then,
                line=item.line,
            )
        )
    return tuple(rules)


def _when(node: Node, groups: Groups) -> When:
    keys = node.mapping(WHEN_KEYS)
    if not keys:
        node.fail("an empty condition; leave 'when' out for a rule that always applies")
    return When(
        roles=keys["role"].choices("role", ROLES) if "role" in keys else None,
        purposes=keys["purpose"].choices("purpose", PURPOSES) if "purpose" in keys else None,
        entities=_entities(keys["entity"], groups) if "entity" in keys else None,
        bands=keys["confidence"].choices("band", BANDS) if "confidence" in keys else None,
        beside=_entities(keys["beside"], groups) if "beside" in keys else None,
        categories=keys["category"].choices("category", CATEGORIES) if "category" in keys else None,
    )


def _entities(node: Node, groups: Groups) -> frozenset[str]:
    """Entity types, each named literally or by a group of this policy."""
    named: set[str] = set()
    seen: set[str] = set()
    for item in node.items():
        text = item.text()
        item.fresh(seen, "entity")
        if text in groups:
            named |= groups[text]
        elif ENTITY.fullmatch(text):
            named.add(text)
        else:
            item.fail_unknown("group or entity type", groups)
    return frozenset(named)


def _then(node: Node) -> Then:
    keys = node.mapping(THEN_KEYS)
    if not keys:
        node.fail("a rule without an effect; say what follows, or remove the rule")
    models = keys["models"].mapping(MODELS_KEYS) if "models" in keys else {}
    if "models" in keys and not models:
        keys["models"].fail("a constraint that names nothing; give tags or zones")
    return Then(
        permit=set_only(keys, "permit"),
        deny=set_only(keys, "deny"),
        operator=keys["operator"].choice("operator", OPERATORS) if "operator" in keys else None,
        restore=keys["restore"].boolean() if "restore" in keys else None,
        restore_tools=keys["restore_tools"].matches("tool name", TOOL)
        if "restore_tools" in keys
        else None,
        stages=_stages(keys["require"]) if "require" in keys else (),
        tags=models["tags"].matches("tag", NAME) if "tags" in models else frozenset(),
        zones=models["zones"].matches("zone", NAME) if "zones" in models else None,
        obligations=keys["obligations"].matches("obligation", NAME)
        if "obligations" in keys
        else frozenset(),
        decoding=keys["decoding"].choice("decoding", DECODINGS)
        if "decoding" in keys
        else Decoding.FREE,
        retain=retention(keys["retain"]) if "retain" in keys else None,
        alerts=alerts(keys["alert"]) if "alert" in keys else (),
    )


def _stages(node: Node) -> tuple[tuple[str, Action], ...]:
    stages: dict[str, Action] = {}
    seen: set[str] = set()
    for item in node.items():
        keys = item.mapping(REQUIRE_KEYS, REQUIRE_KEYS)
        name = keys["stage"].text()
        allowed = keys["stage"].choice("stage", STAGES)
        keys["stage"].fresh(seen, "stage")
        action = keys["action"].choice("action", _ACTIONS)
        if action is Action.REGENERATE:
            keys["action"].fail("'regenerate' is not supported yet; use annotate or withhold")
        if action not in allowed:
            names = " or ".join(each.name.lower() for each in allowed)
            keys["action"].fail(f"this stage cannot do that; use {names}")
        stages[name] = action
    return tuple(sorted(stages.items()))


def _check_together(node: Node, when: When, then: Then) -> None:
    """What opens a door names who and what for; what acts on values names their types."""
    if then.permit and then.deny:
        node.fail("permit and deny in one rule; make two rules of it")
    if then.permit and (when.roles is None or when.purposes is None):
        node.fail("a permit for everybody; name 'role' and 'purpose' under 'when'")
    if then.restore and when.roles is None:
        node.fail("restoring for everybody; name 'role' under 'when'")
    if then.restore_tools is not None and when.roles is None:
        node.fail("restoring in tools for everybody; name 'role' under 'when'")
    _check_conditions(node, when, then)
    check_alerts(node, when, then)
    on_values = then.operator is not None or then.restore is not None
    if on_values and when.entities is None:
        node.fail("an operator or restore without types; name 'entity' under 'when'")
    on_request = (
        then.permit
        or then.deny
        or then.restore_tools is not None
        or bool(then.stages or then.tags or then.obligations)
        or then.zones is not None
        or then.decoding is not Decoding.FREE
        or then.retain is not None
        or bool(then.alerts)
    )
    if on_request and when.entities is not None:
        node.fail(
            "this effect is on the whole request; remove 'entity' from 'when' or make two rules"
        )


def _check_conditions(node: Node, when: When, then: Then) -> None:
    """What depends on the text of a request may only protect more (policy-language §4)."""
    if (when.bands is not None or when.beside is not None) and when.entities is None:
        node.fail("'confidence' and 'beside' are about values; name 'entity' under 'when'")
    if when.categories is not None and (then.permit or then.restore_tools is not None):
        node.fail("a category that opens something; found data can only protect more")
    if when.categories is not None and when.entities is not None:
        node.fail("'category' is about the request; remove 'entity' or make two rules")
    if then.restore and (when.bands is not None or when.beside is not None):
        node.fail("restoring by 'confidence' or 'beside'; what is found can only protect more")
    if when.beside is not None and any(not when.beside - {each} for each in when.entities or ()):
        node.fail("a type beside itself alone; name another type under 'beside'")
    if when.beside is not None and then.operator is Operator.KEEP:
        node.fail("'keep' adds nothing to what holds alone; name a stronger operator")
