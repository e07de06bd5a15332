"""Whether restored JSON fits the caller's own schema: bounded in time, and nothing is fetched.

Restoring changes what a schema may speak of (a pattern, an enum, a length), so an answer that the
model could only write to fit is looked at once more. A string or key in which a placeholder of this
answer is left (this role may not see the value) is excused: it stands where the value would.

``pattern`` and ``patternProperties`` are matched by RE2, in linear time. What RE2 does not know
(look-around, back references) is not checked, nor is ``unevaluatedProperties`` in a schema with
``patternProperties``. ``format`` is an annotation. Vocabulary: what ``$schema`` names, else JSON
Schema 2020-12.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import re2
from jsonschema.exceptions import ValidationError
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from gateway.errors import RequestError, RestoreError
from gateway.pii.jsontext import tokens

MAX_STEPS = 50_000
"""Keywords looked at in one check: some seconds at worst. A schema can be made to take forever."""


class _TooLongError(Exception):
    """More steps than ``MAX_STEPS``."""


class _NoSchemaError(Exception):
    """A keyword has a value that it cannot have."""


@dataclass(slots=True)
class _Run:
    """What one check has left, and the patterns it has compiled: kept no longer than it."""

    left: int = MAX_STEPS
    patterns: dict[str, Any] = field(default_factory=dict, repr=False)


_run: ContextVar[_Run] = ContextVar("run")


def check_schema(schema: Mapping[str, object], path: str) -> None:
    """Check that answers can be held to this schema. ``path``: the parameter it came in.

    Raises:
        RequestError: it is no JSON Schema, or has a reference that leads out of it.
    """
    try:
        refs = list(_references(schema))
        dialect = specification_with(str(schema.get("$schema")), default=DRAFT202012)
        resolver = Registry().resolver_with_root(dialect.create_resource(schema))
        for ref in refs:
            resolver.lookup(ref)
    except Unresolvable:
        raise RequestError("A reference leads out of the schema.", param=path) from None
    except (_NoSchemaError, RecursionError):
        raise RequestError("The schema is no JSON Schema.", param=path) from None


def check(schema: Mapping[str, object], text: str, tag: str) -> None:
    """Check that ``text``, restored JSON, fits. ``tag`` marks the placeholders of this answer.

    Raises:
        RestoreError: it does not, or cannot be told within ``MAX_STEPS``.
    """
    try:
        value = json.loads(text)
        _run.set(_Run())
        errors = _kind(schema)(schema, registry=Registry()).iter_errors(value)
        mark = f":{tag}>"
        fits = all(_excused(error, mark) for error in errors)
    except Exception:  # noqa: BLE001 - whatever it is: an answer that cannot be checked is not given
        raise RestoreError from None
    if not fits:
        raise RestoreError


def check_arguments(schema: Mapping[str, object], arguments: str, tag: str) -> None:
    """``check`` for a tool call. What is no JSON object or array was not restored (``restore``)."""
    if tokens(arguments) is not None:
        check(schema, arguments, tag)


def _excused(error: ValidationError, mark: str) -> bool:
    """Whether it is about a value that this role may not see; of alternatives, about one's all."""
    instance = error.instance
    if isinstance(instance, str) and mark in instance:
        return True
    if isinstance(instance, dict) and any(mark in key for key in instance):
        return True
    branches: dict[object, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    return any(all(_excused(inner, mark) for inner in each) for each in branches.values())


# --- the shape of a schema -----------------------------------------------------------------------

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_ONE = frozenset(
    [
        *("additionalItems", "additionalProperties", "contains", "contentSchema", "items", "not"),
        *("if", "then", "else", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    ]
)
_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_VALUES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("$ref", "$dynamicRef", "$id", "$anchor", "$schema", "pattern"), str),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), int),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), int),
    **dict.fromkeys(("uniqueItems",), bool),
    **dict.fromkeys(("enum", "required"), list),
    **dict.fromkeys(("dependentRequired", "dependencies"), dict),
}


def _references(schema: object) -> Iterator[str]:
    """The references of a schema, all of whose keywords have the type they must have.

    The schema of schemas says more and takes a millisecond for each line.

    Raises:
        Unresolvable: a reference that does not begin in the schema.
        _NoSchemaError: a keyword with a value that it cannot have.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _NoSchemaError
    for keyword, value in schema.items():
        if not isinstance(value, _VALUES.get(keyword, object)):
            raise _NoSchemaError
        if keyword == "type":
            _check_types(value)
        elif keyword in ("$ref", "$dynamicRef") and isinstance(value, str):
            if not value.startswith("#"):
                raise Unresolvable(ref="")
            yield value
        elif keyword == "required" and isinstance(value, list):
            _check_names(value)
        for inner in _inner(keyword, value):
            yield from _references(inner)


def _inner(keyword: str, value: object) -> Iterable[object]:
    """The schemas that a keyword holds."""
    if keyword in _NAMED:
        if not isinstance(value, Mapping):
            raise _NoSchemaError
        return value.values()
    if keyword in _SEVERAL or (keyword == "items" and isinstance(value, list)):
        if not isinstance(value, list):
            raise _NoSchemaError
        return value
    if keyword == "dependencies" and isinstance(value, Mapping):
        return [each for each in value.values() if not isinstance(each, list)]
    return (value,) if keyword in _ONE else ()


def _check_names(value: Sequence[object]) -> None:
    if not all(isinstance(name, str) for name in value):
        raise _NoSchemaError


def _check_types(value: object) -> None:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise _NoSchemaError


# --- keywords ------------------------------------------------------------------------------------

_Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


def _kind(schema: Mapping[str, object]) -> Any:
    named = schema.get("$schema")
    base = validator_for({"$schema": named} if isinstance(named, str) else {}, Draft202012Validator)
    return _bounded(base, patterns=_has_patterns(schema))


def _has_patterns(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return "patternProperties" in schema or any(map(_has_patterns, schema.values()))
    return isinstance(schema, list) and any(map(_has_patterns, schema))


@cache
def _bounded(base: Any, *, patterns: bool) -> Any:
    """``base`` with its patterns matched in linear time, and every keyword counted."""
    keywords: dict[str, _Keyword] = {
        **base.VALIDATORS,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    if patterns:
        keywords["unevaluatedProperties"] = _anything
    counted = {name: _counted(keyword) for name, keyword in keywords.items()}
    build: Any = extend
    return build(base, counted)


def _counted(keyword: _Keyword) -> _Keyword:
    def count(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        run = _run.get()
        run.left -= 1
        if run.left < 0:
            raise _TooLongError
        return keyword(validator, value, instance, schema)

    return count


def _anything(*_args: object) -> Sequence[ValidationError]:
    return ()


def _compiled(pattern: str) -> Any | None:
    """The pattern, or None where RE2 has no such thing."""
    known = _run.get().patterns
    if pattern not in known:
        options = re2.Options()
        options.log_errors = False
        try:
            known[pattern] = re2.compile(pattern, options)
        except re2.error:
            known[pattern] = None
    return known[pattern]


def _matches(pattern: object, text: str) -> bool:
    found = _compiled(pattern) if isinstance(pattern, str) else None
    return found is not None and found.search(text) is not None


def _pattern(
    _validator: Any, pattern: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and _compiled(pattern) and not _matches(pattern, instance):
        yield ValidationError("")


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    if not all(map(_compiled, patterns)):
        return
    known = schema.get("properties", {})
    for key, value in instance.items():
        if key in known or any(_matches(pattern, key) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError("")
        else:
            yield from validator.descend(value, allowed, path=key)
