"""Every string that reaches the model is visited; ids are renumbered; JSON keeps its form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.domain import Message, Prompt, ResponseFormat, Tool, ToolCall
from gateway.errors import RequestError, UnmaskableError
from gateway.pii.segments import MAX_SEGMENTS, Kind, collect, rebuild
from tests.wordlist import mask_prompt, users

PLANTED = "Zara Quillfeather"
WORDS = {
    PLANTED: "PERSON",
    "zara.quillfeather": "USERNAME",
    "4111111111111111": "CREDIT_CARD",
}


def schema_with(**keywords: object) -> Prompt:
    tool = Tool("lookup", None, {"type": "object", **keywords})
    return Prompt((), tools=(tool,))


def user(content: str) -> Prompt:
    return Prompt((Message("user", content),))


def call(**changes: str) -> Prompt:
    made = replace(ToolCall("id-1", "lookup", "{}"), **changes)
    return Prompt((Message("assistant", None, tool_calls=(made,)),))


MASKED = {
    "content": user(f"about {PLANTED}"),
    "system content": Prompt((Message("system", PLANTED),)),
    "message name": Prompt((Message("user", "hi", name=PLANTED),)),
    "tool result": Prompt((Message("tool", PLANTED, tool_call_id="x"),)),
    "JSON value": user(json.dumps({"a": [PLANTED]})),
    "JSON key": user(json.dumps({PLANTED: 1})),
    "escaped JSON value": user('{"a": "Zara\\u0020Quillfeather"}'),
    "broken JSON": user('{"a": "Zara\\u0020Quillfeather"'),
    "HTML entity": user("Zara&nbsp;Quillfeather &#90;ara Quillfeather"),
    "URL escape": user("see ?q=Zara%20Quillfeather"),
    "URL escape, twice": user("see ?q=Zara%2520Quillfeather"),
    "URL escape of a line break": user("see ?q=%0AZara%20Quillfeather"),
    "arguments": call(arguments=json.dumps({"q": PLANTED})),
    "arguments, not JSON": call(arguments=PLANTED),
    "stop": Prompt((), stop=(PLANTED,)),
    "tool description": Prompt((), tools=(Tool("lookup", PLANTED),)),
    "schema title": schema_with(title=PLANTED),
    "schema description": schema_with(properties={"a": {"description": PLANTED}}),
    "schema enum": schema_with(properties={"a": {"enum": [PLANTED, 1]}}),
    "schema const": schema_with(const={"x": PLANTED}),
    "schema default": schema_with(default=PLANTED),
    "schema examples": schema_with(examples=[[PLANTED]]),
    "schema property": schema_with(properties={PLANTED: {}}, required=[PLANTED]),
    "nested schema": schema_with(anyOf=[{"items": {"not": {"title": PLANTED}}}]),
    "unknown keyword": schema_with(**{"x-note": PLANTED}),
    "format description": Prompt((), response_format=ResponseFormat("json_schema", "n", PLANTED)),
    "format schema": Prompt(
        (), response_format=ResponseFormat("json_schema", "n", None, {"title": PLANTED})
    ),
}

REFUSED = {
    "tool name": (Prompt((), tools=(Tool(PLANTED),)), "tools[0].function.name"),
    "tool choice": (
        Prompt((), tool_choice=f"function:{PLANTED}"),
        "tool_choice.function.name",
    ),
    "call name": (call(name=PLANTED), "messages[0].tool_calls[0].function.name"),
    "format name": (
        Prompt((), response_format=ResponseFormat("json_schema", PLANTED)),
        "response_format.json_schema.name",
    ),
    "name of a tool that answers": (
        Prompt((Message("tool", "", name=PLANTED),)),
        "messages[0].name",
    ),
    "pattern": (schema_with(pattern=PLANTED), "tools[0].function.parameters"),
    "$ref": (schema_with(**{"$ref": f"#/$defs/{PLANTED}"}), "tools[0].function.parameters"),
    "$defs": (schema_with(**{"$defs": {PLANTED: {}}}), "tools[0].function.parameters"),
    "length": (
        schema_with(maxLength=4111111111111111),
        "tools[0].function.parameters",
    ),
    "format": (schema_with(format=PLANTED), "tools[0].function.parameters"),
    "unknown keyword's key": (schema_with(**{PLANTED: 1}), "tools[0].function.parameters"),
    "placeholder in a pattern": (schema_with(pattern="<PERSON_1>"), "tools[0].function.parameters"),
}


@pytest.mark.parametrize("prompt", MASKED.values(), ids=MASKED)
def test_a_planted_value_is_masked_in_every_place(prompt):
    """No place of a prompt shows a planted value to the model (promise 2)."""
    rebuilt = rebuild(prompt, mask_prompt(prompt, WORDS).texts)
    shown = [s.text for s in collect(rebuilt)]
    assert any("<PERSON_1>" in text for text in shown)
    assert not any("Quillfeather" in text for text in shown)


@pytest.mark.parametrize(
    "text",
    [
        "log:\\nZara Quillfeather\\tcame",
        "Zara\\r\\nQuillfeather",
        "Zara%0D%0AQuillfeather",
        json.dumps({"a": json.dumps({"b": json.dumps(f"x\n{PLANTED}\ty")})}),
    ],
)
def test_a_known_value_is_found_beside_escaped_line_breaks(text):
    """What stands after an escaped line break in a log or in JSON is a word of its own."""
    shown = mask_prompt(users(PLANTED, text), WORDS).texts[-1]
    assert "Quillfeather" not in shown


def test_small_limits_of_a_schema_are_left_alone():
    """A limit that counts things says nothing of anyone and is no segment."""
    prompt = schema_with(maxLength=64, minItems=2, uniqueItems=True)
    assert not any(s.text in ("64", "2") for s in collect(prompt))


@pytest.mark.parametrize(("prompt", "param"), REFUSED.values(), ids=REFUSED)
def test_a_planted_value_is_refused_where_no_placeholder_can_stand(prompt, param):
    """Names and structure cannot carry a placeholder: the request is refused by its parameter."""
    with pytest.raises(UnmaskableError) as caught:
        mask_prompt(prompt, WORDS)
    assert caught.value.param == param
    assert "Quillfeather" not in str(caught.value)


def test_a_value_known_from_elsewhere_is_refused_in_a_name():
    """A name that the detector passes is refused when another message reveals what it holds."""
    prompt = Prompt((Message("user", PLANTED),), tools=(Tool("call_ZARA_QUILLFEATHER"),))
    with pytest.raises(UnmaskableError):
        mask_prompt(prompt, WORDS)


def test_properties_and_required_stay_consistent():
    """A masked property keeps its name in every list that refers to it."""
    prompt = schema_with(
        properties={PLANTED: {"type": "string"}, "b": {}},
        required=["b", PLANTED],
        dependentRequired={PLANTED: ["b"]},
    )
    rebuilt = rebuild(prompt, mask_prompt(prompt, WORDS).texts)
    assert rebuilt.tools[0].parameters == {
        "type": "object",
        "properties": {"<PERSON_1>": {"type": "string"}, "b": {}},
        "required": ["b", "<PERSON_1>"],
        "dependentRequired": {"<PERSON_1>": ["b"]},
    }


def test_ids_of_tool_calls_are_renumbered_consistently():
    """The model sees call_1, call_2, ... and never an id as it was sent."""
    prompt = Prompt(
        (
            Message(
                "assistant", None, tool_calls=(ToolCall("zq-9", "f", ""), ToolCall("b", "g", ""))
            ),
            Message("tool", "x", tool_call_id="b"),
            Message("tool", "y", tool_call_id="zq-9"),
            Message("tool", "z", tool_call_id="never called"),
        )
    )
    rebuilt = rebuild(prompt, [s.text for s in collect(prompt)]).messages
    assert [c.id for c in rebuilt[0].tool_calls] == ["call_1", "call_2"]
    assert [m.tool_call_id for m in rebuilt[1:]] == ["call_2", "call_1", "call_3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"mrn": 12345678}', [("mrn", None), ("12345678", "mrn")]),
        ('{"a": {"b": ["x", 1]}}', [("a", None), ("b", None), ("x", "b"), ("1", "b")]),
        ('[1e5, -2, "x"]', [("1e5", None), ("-2", None), ("x", None)]),
        ('{"a": 1, "a": "x"}', [("a", None), ("1", "a"), ("a", None), ("x", "a")]),
        ('{"a": NaN, "b": -Infinity}', [("a", None), ("b", None)]),
        ('{"a": "\\ud83d\\u00e9"}', [("a", None), ("\ud83d\u00e9", "a")]),
        ('{"a": ' + "9" * 5000 + "}", [("a", None), ("9" * 5000, "a")]),
        ("[" * 100_000, [("[" * 100_000, None)]),
        ('{"a": 1', [('{"a": 1', None)]),
        ('"x"', [('"x"', None)]),
        ("12345678", [("12345678", None)]),
        ("", [("", None)]),
        ("\x00\ud800", [("\x00\ud800", None)]),
    ],
)  # fmt: skip
def test_json_is_walked_and_anything_else_is_one_text(text, expected):
    """A JSON object or array gives its keys, strings and numbers with the key they stand under."""
    assert [(s.text, s.label) for s in collect(user(text))] == expected


def test_json_keeps_its_spelling_around_what_is_masked():
    """Spacing, duplicate keys and the spelling of numbers stay as the client sent them."""
    prompt = user('{ "a" :1.50,\n"a":"Zara Quillfeather\\n", "n": 1e3 }')
    content = rebuild(prompt, mask_prompt(prompt, WORDS).texts).messages[0].content
    assert content == '{ "a" :1.50,\n"a":"<PERSON_1>\\n", "n": 1e3 }'


def test_structure_that_says_nothing_is_not_read():
    """Types, formats, meta-schemas and the limits of integer types never reach the detector."""
    prompt = schema_with(
        **{"$schema": "http://json-schema.org/draft-07/schema#"},
        properties={"n": {"type": ["integer", "null"], "format": "int64", "maximum": 2**53 - 1}},
    )
    assert [s.text for s in collect(prompt)] == ["lookup", "n"]


def test_a_schema_nested_too_deeply_is_refused():
    """Depth is bounded, so no schema exhausts the stack."""
    schema: dict[str, object] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(RequestError) as caught:
        collect(schema_with(**schema))
    assert caught.value.param == "tools[0].function.parameters"


def test_keys_that_become_one_are_refused():
    """No property of a schema is lost when masking makes two names equal."""
    prompt = schema_with(properties={"x": {}, "y": {}})
    texts = ["same" if s.kind is Kind.JSON_KEY else s.text for s in collect(prompt)]
    with pytest.raises(RequestError):
        rebuild(prompt, texts)


@pytest.mark.parametrize("change", [-1, 1])
def test_rebuild_wants_one_text_for_each_segment(change):
    """A list of texts that is too short or too long is an error, not a guess."""
    prompt = user("x")
    with pytest.raises(ValueError, match="texts than segments"):
        rebuild(prompt, ["x"] * (1 + change))


def test_more_strings_than_a_detector_can_be_asked_are_refused():
    """JSON of digits and commas in one string is no way to hold the detector for minutes."""
    with pytest.raises(RequestError) as caught:
        collect(user(json.dumps(list(range(MAX_SEGMENTS + 1)))))
    assert caught.value.param == "messages[0].content"
    assert len(collect(user(json.dumps(list(range(MAX_SEGMENTS)))))) == MAX_SEGMENTS
