"""Whether restored JSON fits a schema: what fits, what is excused, and that it always ends."""

from __future__ import annotations

import time

import pytest

from gateway.errors import RequestError, RestoreError
from gateway.pii import conform

TAG = "k7f3q2a1"
HIDDEN = f'"<PERSON_1:{TAG}>"'
ANOTHER = '"<PERSON_1:otherone>"'

FITS = [
    ({}, "1"),
    ({"type": "string", "pattern": "^a+$"}, '"aaa"'),
    ({"type": "string", "pattern": "(?=look)around"}, '"not checked"'),
    ({"patternProperties": {"^n_": {"type": "integer"}}}, '{"n_1": 1, "s": "x"}'),
    (
        {"patternProperties": {"^n_": {}}, "properties": {"a": {}}, "additionalProperties": False},
        '{"n_1": 1, "a": 2}',
    ),
    ({"patternProperties": {"(?!x)": {}}, "additionalProperties": False}, '{"y": 1}'),
    ({"type": "string", "format": "email"}, '"an annotation"'),
    ({"$defs": {"t": {"$ref": "#/$defs/u"}, "u": {"type": "null"}}, "$ref": "#/$defs/t"}, "null"),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]},
        '[1, "x"]',
    ),
    ({"type": "integer"}, HIDDEN),
    ({"enum": ["x"], "maxLength": 3}, f'"to {HIDDEN[1:]}'),
    (
        {"properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
        f'{{"a": {HIDDEN}}}',
    ),
    (
        {"anyOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["b"]}]},
        f'{{"a": {HIDDEN}}}',
    ),
    ({"required": ["Zara"]}, f"{{{HIDDEN}: 1}}"),
]
DOES_NOT = [
    ({"type": "string", "pattern": "^a+$"}, '"aab"'),
    ({"type": "integer"}, '"1"'),
    ({"type": "integer"}, ANOTHER),
    ({"patternProperties": {"^n_": {"type": "integer"}}}, '{"n_1": "x"}'),
    ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, '{"m_1": 1}'),
    ({"additionalProperties": {"type": "integer"}}, '{"m": "x"}'),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, '{"b": 1}'),
    ({"required": ["a"]}, "{}"),
    ({"properties": {"a": {}, "b": {"type": "integer"}}}, f'{{"a": {HIDDEN}, "b": "x"}}'),
    ({"anyOf": [{"type": "integer"}, {"required": ["b"]}]}, f'{{"a": {HIDDEN}}}'),
    ({}, "{"),
    ({}, "1" * 5000),
    ({"$ref": "#"}, "1"),
    ({"multipleOf": 1e-300}, "1e300"),
]


@pytest.mark.parametrize(("schema", "text"), FITS)
def test_what_fits_or_is_hidden_passes(schema, text):
    """A value that was hidden under this answer's tag is excused wherever it stands."""
    conform.check_schema(schema, "p")
    conform.check(schema, text, TAG)


@pytest.mark.parametrize(("schema", "text"), DOES_NOT)
def test_what_does_not_fit_is_not_given(schema, text):
    """Nothing but this answer's tag excuses, and what cannot be checked does not pass."""
    conform.check_schema(schema, "p")
    with pytest.raises(RestoreError) as refused:
        conform.check(schema, text, TAG)
    assert refused.value.__cause__ is None


def doubling(depth: int) -> dict[str, object]:
    """A schema of ``depth`` lines that asks 2 ** depth questions."""
    steps = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{depth}": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (doubling(40), '"x"'),
        ({"type": "string", "pattern": "^(a+)+$"}, '"' + "a" * 50_000 + 'b"'),
        ({"type": "string", "pattern": "(.*a){30}$"}, '"' + "a" * 20_000 + 'b"'),
        ({"patternProperties": {"^(a+)+$": False}, "required": ["x"]}, f'{{"{"a" * 20_000}b": 1}}'),
        ({"items": {"not": {}}}, "[" + "1," * 40_000 + "1]"),
    ],
)
def test_no_schema_takes_forever(schema, text):
    """Exponential references and patterns that backtrack end in seconds, and let nothing pass."""
    conform.check_schema(schema, "p")
    began = time.perf_counter()
    with pytest.raises(RestoreError):
        conform.check(schema, text, TAG)
    assert time.perf_counter() - began < 20


REFUSED = [
    {"$ref": "https://example.org/s.json"},
    {"$ref": "other.json#/a"},
    {"properties": {"a": {"$dynamicRef": "https://example.org/#x"}}},
    {"$ref": "#/$defs/none"},
    {"$ref": "#no-anchor"},
    {"type": "strnig"},
    {"minimum": "one"},
    {"required": "a"},
    {"properties": {"a": {"type": ["string", "text"]}}},
    {"properties": {"default": {"$ref": "https://example.org"}}},
    {"anyOf": {}},
    {"$defs": []},
    {"not": 1},
    {"maxLength": 1.5},
    {"required": ["a", 1]},
]


@pytest.mark.parametrize("schema", REFUSED)
def test_a_schema_that_cannot_be_kept_to_is_refused(schema):
    """No schema, or one that leads out of itself: with its parameter and no value."""
    with pytest.raises(RequestError) as refused:
        conform.check_schema(schema, "tools")
    assert refused.value.param == "tools"
    assert "example" not in refused.value.message


def test_data_of_a_schema_is_no_reference():
    """A default that looks like a reference is one only to whoever resolves data."""
    conform.check_schema({"default": {"$ref": "https://example.org"}, "enum": [{"$ref": "x"}]}, "p")


def test_a_large_schema_is_looked_at_quickly():
    """Ten thousand properties cost no second."""
    schema = {"properties": {f"p{i}": {"enum": ["a"], "type": "string"} for i in range(10_000)}}
    began = time.perf_counter()
    conform.check_schema(schema, "p")
    assert time.perf_counter() - began < 1


def test_arguments_that_are_no_json_are_left_to_whoever_called():
    """They were not restored either; see ``restore_arguments``."""
    conform.check_arguments({"type": "object"}, "not json", TAG)
    with pytest.raises(RestoreError):
        conform.check_arguments({"type": "array"}, "{}", TAG)
