"""Schemas: what a grammar lets through, what is refused, and what the refusal says."""

from __future__ import annotations

import json

import pytest

from gateway.domain import Prompt, ResponseFormat
from gateway.engine.constrain.compiling import verdict
from gateway.engine.constrain.dialects import HERMES
from gateway.engine.constrain.grammar import write
from gateway.engine.constrain.patterns import is_common
from gateway.errors import RequestError
from tests.constraining import accepts

PLACEHOLDERS = frozenset(["<DATE_TIME_1>", "<ID_1>"])
STRICT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def grammar(schema: object, *, strict: bool = False) -> str:
    form = ResponseFormat("json_schema", name="a", schema=schema, strict=strict)
    draft = write(Prompt((), response_format=form), PLACEHOLDERS, HERMES)
    for _, checks in draft.checks:
        assert verdict(list(checks)) == "ok"
    return draft.grammar.text


@pytest.mark.parametrize(
    ("schema", "admitted"),
    [
        ({"type": "integer"}, True),
        ({"type": "number", "minimum": 3}, True),
        ({"type": ["null", "number"]}, True),
        ({"type": "string"}, True),
        ({"type": "string", "format": "date"}, True),
        ({"type": "string", "pattern": "^[0-9]{4}$"}, True),
        ({"type": "string", "minLength": 40}, True),
        ({"type": "string", "maxLength": 3}, True),
        ({"type": "string", "pattern": "x", "allOf": [{"maxLength": 3}]}, True),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, True),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, True),
        ({"type": "integer", "enum": [1, "<ID_1>"]}, None),
        ({"const": "<ID_1>"}, None),
        ({"type": "boolean"}, False),
        ({"type": "null"}, False),
        ({"enum": ["a", "b"]}, False),
        ({"type": "object"}, False),
        ({"type": ["object", "array"]}, False),
        ({"$ref": "#/$defs/o", "minLength": 3, "$defs": {"o": {"type": "object"}}}, False),
    ],
)
def test_a_placeholder_may_stand_where_a_masked_value_could(schema: object, admitted: bool | None):
    """At numbers and narrowed strings any placeholder; in an enumeration its own; else none."""
    text = grammar(schema)
    assert accepts(text, '"<ID_1>"') is (admitted is not False)
    assert accepts(text, '"<DATE_TIME_1>"') is (admitted is True)
    assert not accepts(text, '"<ID_2>"') or schema == {"type": "string"}


def test_what_was_allowed_stays_allowed():
    """The schema's own values are the same with placeholders as without."""
    text = grammar(
        {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 3}, "d": {"format": "date"}},
            "required": ["n"],
        }
    )
    assert accepts(text, '{"n": 3, "d": "2024-05-01"}')
    assert accepts(text, '{"n":3}')
    assert accepts(text, '{"n": "<ID_1>", "d": "<DATE_TIME_1>", "more": [1]}')
    assert not accepts(text, '{"n": 2')
    assert not accepts(text, '{"n": 3, "d": "May"', whole=False)
    assert not accepts(text, '{"n":  3}'), "white space could go on for ever"
    assert not accepts(text, '{\n"n": 3}')


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {}}, "contains"),
        ({"propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "string", "format": "regex"}, "format"),
        ({"type": "string", "pattern": "(?=a)"}, "pattern"),
        ({"type": "string", "minLength": 10**9}, "minLength"),
        ({"type": "array", "minItems": 10**6}, "minItems"),
        ({"type": "number", "maximum": 1e300}, "maximum"),
        ({"enum": [2**53 + 1]}, "enum"),
        ({"const": {"a": [-(2**53) - 1]}}, "const"),
        ({"type": "integer", "maximum": 2**63 - 1}, "maximum"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"$ref": "https://example.org/s"}, "$ref"),
        ({"$ref": "#name"}, "$ref"),
        ({"$schema": "https://example.org/s"}, "$schema"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"properties": {"a": {"$id": "x"}}}, "$id"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_its_keyword(schema: object, keyword: str):
    """Nothing is ignored in silence; the message names a word of JSON Schema's own."""
    with pytest.raises(RequestError, match=rf": {keyword.replace('$', '[$]')} as it is") as refused:
        grammar(schema)
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    "schema",
    [
        {"secretKeyword": 1},
        {"nullable": True},
        {"type": "secret"},
        {"type": []},
        {"enum": []},
        {"properties": ["secret"]},
        {"required": "secret"},
        {"anyOf": []},
        {"pattern": 3},
        {"pattern": []},
        {"enum": {}},
        {"minimum": "secret"},
        {"minimum": True},
        {"multipleOf": 0},
        {"minLength": -1},
        {"items": 3},
        {"$ref": "#/$defs/secret"},
        {"properties": {"secret": {"type": 3}}},
        "secret",
        {"enum": [float("nan")]},
    ],
)
def test_a_malformed_schema_is_refused_without_a_word_of_it(schema: object):
    """No text of a user stands in the message."""
    with pytest.raises(RequestError) as refused:
        grammar(schema)
    assert "secret" not in refused.value.message
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"const": 1, "enum": [2]},
        False,
    ],
)
def test_what_no_finite_value_meets_is_refused(schema: object):
    """A grammar of it would never end, or never begin."""
    with pytest.raises(RequestError, match="No value satisfies"):
        grammar(schema)


def test_recursion_that_can_end_is_allowed():
    """A tree is a tree; its answers nest as deeply as JSON may, and no deeper."""
    text = grammar({"type": "array", "items": {"$ref": "#"}})
    assert accepts(text, "[[[]], []]")
    assert accepts(text, "[" * 64 + "]" * 64)
    assert not accepts(text, "[" * 65, whole=False)


@pytest.mark.parametrize(
    ("schema", "fine"),
    [
        (STRICT, True),
        ({**STRICT, "additionalProperties": True}, False),
        ({"type": "object", "properties": {}, "required": []}, False),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "properties": {"a": {"type": "object"}}}, False),
        ({**STRICT, "properties": {"a": STRICT}}, True),
    ],
)
def test_strict_means_what_openai_demands(schema: object, fine: bool):
    """Every object is closed and every property required, or the schema is refused."""
    assert grammar(schema)
    if fine:
        assert grammar(schema, strict=True)
    else:
        with pytest.raises(RequestError, match="strict needs"):
            grammar(schema, strict=True)


def test_older_dialects_are_read_as_they_were_meant():
    """Arrays of items, boolean bounds, and the neighbours of $ref."""
    draft_07 = {"$schema": "http://json-schema.org/draft-07/schema#"}
    items = grammar(
        {**draft_07, "type": "array", "items": [{"type": "boolean"}], "additionalItems": False}
    )
    assert accepts(items, "[true]")
    assert not accepts(items, "[true, ", whole=False)
    alone = grammar(
        {
            **draft_07,
            "definitions": {"b": {"type": "boolean"}},
            "$ref": "#/definitions/b",
            "not": {},
        }
        | {"not": False}
    )
    assert accepts(alone, "true")
    bound = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}
    assert not accepts(grammar({**bound, "minimum": 3, "exclusiveMinimum": True}), "3")
    assert accepts(grammar({**bound, "minimum": 3, "exclusiveMinimum": False}), "3")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {} for n in range(501)}},
        {"enum": list(range(2001))},
        {"anyOf": [{"type": "null"}] * 2001},
        {"description": "x" * 200_000},
        json.loads('{"items":' * 30 + "{}" + "}" * 30),
    ],
)
def test_what_is_too_large_is_refused(schema: object):
    """Bytes, depth, nodes, properties and values have bounds."""
    with pytest.raises(RequestError, match="too"):
        grammar(schema)


def test_more_placeholders_than_any_grammar_is_made_for_are_refused():
    """A prompt with tens of thousands of masked values is the request's error."""
    many = frozenset(f"<ID_{number}>" for number in range(16_385))
    asked = Prompt((), response_format=ResponseFormat("json_object"))
    with pytest.raises(RequestError, match="too many") as raised:
        write(asked, many, HERMES)
    assert raised.value.param == "response_format"


@pytest.mark.parametrize(
    ("pattern", "common"),
    [
        ("^[A-Z]{3}-\\d+$", True),
        ("(?:a|b)*(?<n>c)", True),
        ("\\u00e9\\x41\\p{L}\\/", True),
        ("[^\\]x-]", True),
        ("(?!a)", False),
        ("(?i)a", False),
        ("(?P<n>a)", False),
        ("\\bfoo", False),
        ("(a)\\1", False),
        ("[a&&b]", False),
        ("[[:alpha:]]", False),
        ("[]a]", False),
        ("[a", False),
        ("a\\", False),
        ("\\A", False),
    ],
)
def test_patterns_that_mean_something_else_in_the_grammar_are_told_apart(
    pattern: str, common: bool
):
    """The grammar's regular expressions are another dialect than JSON Schema's."""
    assert is_common(pattern) is common
