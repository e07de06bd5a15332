"""Whatever a model samples under the grammar of a schema is JSON that the schema accepts."""

from __future__ import annotations

import json
import random

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import Prompt, ResponseFormat
from gateway.engine.constrain.compiling import verdict
from gateway.engine.constrain.dialects import HERMES
from gateway.engine.constrain.grammar import Draft, write
from gateway.errors import RequestError
from tests import constraining

PLACEHOLDERS = frozenset(["<ID_1>", "<DATE_TIME_1>"])


def asked(schema: object, *, strict: bool | None = None) -> Prompt:
    form = ResponseFormat("json_schema", name="a", schema=schema, strict=strict)  # type: ignore[arg-type]
    return Prompt((), response_format=form)


def small() -> st.SearchStrategy[dict[str, object]]:
    """Schemas of every keyword that is enforced, two or three levels deep."""
    bounds = st.fixed_dictionaries(
        {},
        optional={
            "minimum": st.integers(-20, 20),
            "exclusiveMaximum": st.integers(-20, 20),
            "multipleOf": st.integers(1, 7),
        },
    )
    leaves = st.one_of(
        bounds.map(lambda b: {"type": "integer", **b}),
        st.fixed_dictionaries({"type": st.just("number")}, optional={"maximum": st.integers(0, 9)}),
        st.just({"type": "boolean"}),
        st.just({"type": ["null", "integer"]}),
        st.fixed_dictionaries(
            {"type": st.just("string")},
            optional={"minLength": st.integers(0, 4), "maxLength": st.integers(0, 6)},
        ),
        st.sampled_from(["^[a-c]+$", "x|y", "^\\d{2}-[A-Z]$", "a.c", "^(ab|c)*$"]).map(
            lambda p: {"type": "string", "pattern": p}
        ),
        st.sampled_from(["date", "date-time", "time", "email", "ipv4", "uuid"]).map(
            lambda f: {"type": "string", "format": f}
        ),
        st.lists(
            st.one_of(st.integers(), st.text(max_size=4), st.none(), st.booleans()),
            min_size=1,
            max_size=3,
        ).map(lambda values: {"enum": values}),
        st.text(max_size=4).map(lambda value: {"const": value}),
        st.sampled_from([{}, {"minimum": 3}, {"minLength": 2}, {"$ref": "#/$defs/tree"}]),
    )

    def deeper(inner: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
        properties = st.dictionaries(st.text(max_size=3), inner, max_size=3)
        objects = properties.flatmap(
            lambda found: st.fixed_dictionaries(
                {"type": st.just("object"), "properties": st.just(found)},
                optional={
                    "required": st.lists(st.sampled_from(sorted(found) or ["z"]), unique=True),
                    "additionalProperties": st.one_of(st.booleans(), inner),
                    "minProperties": st.integers(0, 2),
                },
            )
        )
        arrays = st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={
                "minItems": st.integers(0, 2),
                "maxItems": st.integers(0, 3),
                "prefixItems": st.lists(inner, min_size=1, max_size=2),
            },
        )
        several = st.lists(inner, min_size=1, max_size=3)
        choices = st.one_of(
            several.map(lambda many: {"anyOf": many}),
            several.map(lambda many: {"oneOf": many}),
            several.map(lambda many: {"allOf": many}),
            st.tuples(inner, several).map(lambda pair: {**pair[0], "anyOf": pair[1]}),
        )
        return st.one_of(objects, arrays, choices)

    tree = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/tree"}, "n": {"type": "integer"}},
    }
    return st.recursive(leaves, deeper, max_leaves=6).map(lambda s: {**s, "$defs": {"tree": tree}})


def written(schema: object, placeholders: frozenset[str]) -> Draft | None:
    """The grammar of ``schema``; None where it is refused, with the one parameter to blame."""
    draft = refusal = None
    try:
        draft = write(asked(schema), placeholders, HERMES)
    except RequestError as error:
        refusal = error
    assert (draft is None) == (refusal is not None)
    assert refusal is None or refusal.param == "response_format"
    return draft


def drawn(schema: dict[str, object], placeholders: frozenset[str], seed: int) -> list[object]:
    """Answers under the grammar of ``schema``; none where the schema is refused."""
    draft = written(schema, placeholders)
    if draft is None or any(verdict(list(checks)) != "ok" for _, checks in draft.checks):
        return []
    rng = random.Random(seed)  # noqa: S311
    answers = (constraining.write(draft.grammar.text, rng) for _ in range(3))
    return [json.loads(answer) for answer in answers if answer is not None]


@given(schema=small(), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_every_answer_is_valid_under_its_schema(schema: dict[str, object], seed: int):
    """An independent validator accepts whatever random sampling under the mask writes."""
    for value in drawn(schema, frozenset(), seed):
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


@given(schema=small(), seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_placeholders_are_all_that_is_admitted_besides(schema: dict[str, object], seed: int):
    """Of an answer that the schema alone would refuse every error stands at a placeholder."""
    for value in drawn(schema, PLACEHOLDERS, seed):
        validator = jsonschema.Draft202012Validator(schema)
        for error in validator.iter_errors(value):
            assert any(one in json.dumps(error.instance) for one in PLACEHOLDERS)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["type", "properties", "items", "anyOf", "$ref", "enum", "pattern", "required",
                     "minLength", "oneOf", "const", "$defs", "format", "maximum", "minItems"]
                ),
                st.text(max_size=5),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@given(schema=st.dictionaries(st.text(max_size=5), anything) | anything)
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_grammar_or_our_error(schema: object):
    """Nothing but RequestError leaves, and its message holds nothing of the schema."""
    draft = written(schema, PLACEHOLDERS)
    if draft is not None:
        assert all(verdict(list(checks)) for _, checks in draft.checks)
