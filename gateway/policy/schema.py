"""The JSON Schema of a policy file, for editors; generated, so that it cannot disagree.

Keys, names and patterns come from the modules that read the file. What a schema cannot say (dates
in order, no unknown group) is left to ``policyctl validate``, which has the last word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.policy import read
from gateway.policy.keeping import PERIOD
from gateway.policy.model import (
    ALERTS,
    BANDS,
    CATEGORIES,
    DECODINGS,
    LANGUAGE,
    OPERATORS,
    PURPOSES,
    ROLES,
    STAGES,
    Action,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Schema = dict[str, object]


def policy_schema(entity_types: Iterable[str] = ()) -> Schema:
    """Build the schema. With ``entity_types``, an editor can complete them."""
    types = sorted(entity_types)
    entity: Schema = {"enum": types} if types else _text(read.ENTITY)
    name = _text(read.NAME)
    line = _text(read.LINE)
    clause = _text(read.CLAUSE)
    day: Schema = {"type": "string", "format": "date"}
    properties: dict[str, Schema] = {
        "name": name,
        "version": _text(read.VERSION),
        "kind": _one_of(Kind),
        "regulation": line,
        "jurisdiction": line,
        "effective": day,
        "expires": day,
        "owner": line,
        "vocabulary": {"const": LANGUAGE},
        "groups": {
            "type": "object",
            "propertyNames": name,
            "additionalProperties": _list(entity),
        },
        "silence": _object({"clause": clause, "why": _prose()}, read.SILENCE_KEYS),
        "rules": {"type": "array", "minItems": 1, "items": _rule(entity)},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Cloister policy ({LANGUAGE})",
        **_object(properties, read.POLICY_REQUIRED),
        "if": {"properties": {"kind": {"const": Kind.BASE.value}}},
        "then": {"required": ["silence"]},
        "else": {"not": {"required": ["silence"]}},
    }


def _rule(entity: Schema) -> Schema:
    when: dict[str, Schema] = {
        "role": _list(_one_of(ROLES)),
        "purpose": _list(_one_of(PURPOSES)),
        "entity": _list({"anyOf": [entity, _text(read.NAME)]}),
        "confidence": _list(_one_of(BANDS)),
        "beside": _list({"anyOf": [entity, _text(read.NAME)]}),
        "category": _list(_one_of(CATEGORIES)),
    }
    then: dict[str, Schema] = {
        "permit": {"const": True},
        "deny": {"const": True},
        "operator": _one_of(OPERATORS),
        "restore": {"type": "boolean"},
        "restore_tools": _list(_text(read.TOOL)),
        "require": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [_require(stage, STAGES[stage]) for stage in sorted(STAGES)]},
        },
        "models": {
            **_object({"tags": _list(_text(read.NAME)), "zones": _list(_text(read.NAME))}),
            "minProperties": 1,
        },
        "obligations": _list(_text(read.NAME)),
        "decoding": _one_of(DECODINGS),
        "retain": {
            **_object(
                {
                    "at_least": _text(PERIOD),
                    "at_most": _text(PERIOD),
                    "erasable": {"const": True},
                }
            ),
            "anyOf": [{"required": ["at_least"]}, {"required": ["at_most"]}],
            "dependentRequired": {"erasable": ["at_least"]},
        },
        "alert": {
            **_object({name: {"type": "integer", "minimum": 1} for name in ALERTS}),
            "minProperties": 1,
        },
    }
    return _object(
        {
            "id": _text(read.NAME),
            "clause": _text(read.CLAUSE),
            "why": _prose(),
            "when": {**_object(when), "minProperties": 1},
            "then": {**_object(then), "minProperties": 1},
        },
        read.RULE_REQUIRED,
    )


def _require(stage: str, actions: tuple[Action, ...]) -> Schema:
    names = [action.name.lower() for action in actions]
    return _object({"stage": {"const": stage}, "action": {"enum": names}}, read.REQUIRE_KEYS)


def _object(properties: dict[str, Schema], required: Iterable[str] = ()) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    if names := list(required):
        schema["required"] = names
    return schema


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": items}


def _one_of(names: Iterable[str]) -> Schema:
    return {"enum": sorted(str(name) for name in names)}


def _text(pattern: re.Pattern[str]) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$"}


def _prose() -> Schema:
    return {"type": "string", "minLength": 1}
