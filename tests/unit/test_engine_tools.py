"""Tool calls: told from templates, constrained by grammar, and read back as they were written."""

from __future__ import annotations

import json
import random
import re

import pytest

from gateway.domain import Prompt, ResponseFormat, Tool, ToolCall
from gateway.engine.constrain.compiling import verdict
from gateway.engine.constrain.dialects import (
    DESCRIBED,
    HERMES,
    LLAMA,
    MISTRAL,
    CallReader,
    Dialect,
    dialect_of,
)
from gateway.engine.constrain.grammar import MAX_DEPTH, write
from gateway.errors import RequestError, UnsupportedParameterError
from tests import constraining
from tests.constraining import accepts

LOOK = Tool(
    "look",
    "Looks.",
    {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)
STOP = Tool("stop")
DIALECTS = [HERMES, MISTRAL, LLAMA, DESCRIBED]


def prompt(choice: str | None = None, *, parallel: bool | None = None, **more: object) -> Prompt:
    return Prompt((), tools=(LOOK, STOP), tool_choice=choice, parallel_tool_calls=parallel, **more)


def grammar(asked: Prompt, dialect: Dialect) -> str:
    draft = write(asked, frozenset(["<ID_1>"]), dialect)
    for _, checks in draft.checks:
        assert verdict(list(checks)) == "ok"
    assert draft.grammar.dialect is dialect
    return draft.grammar.text


def spelled(dialect: Dialect, *calls: tuple[str, str]) -> str:
    objects = [f'{{"name": "{name}", "{dialect.arguments}": {text}}}' for name, text in calls]
    if dialect is MISTRAL:
        return f"[TOOL_CALLS][{', '.join(objects)}]"
    if dialect is LLAMA:
        return "; ".join(objects)
    return "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in objects)


def read(dialect: Dialect, text: str, sizes: random.Random | None = None) -> tuple[str, list]:
    reader = CallReader(dialect)
    content, position = "", 0
    while position < len(text):
        step = sizes.randint(1, 9) if sizes else len(text)
        content += reader.feed(text[position : position + step])
        position += step
    rest, calls = reader.finish()
    return content + rest, [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_a_call_holds_to_its_parameters(dialect: Dialect):
    """Arguments follow the schema of the tool that is called; placeholders may stand in them."""
    text = grammar(prompt("required"), dialect)
    assert accepts(text, spelled(dialect, ("look", '{"n": 1}')))
    assert accepts(text, spelled(dialect, ("look", '{"n": "<ID_1>"}')))
    assert accepts(text, spelled(dialect, ("stop", "{}")))
    assert not accepts(text, spelled(dialect, ("look", '{"n": "x"}')))
    assert not accepts(text, spelled(dialect, ("look", "{}")))
    assert not accepts(text, spelled(dialect, ("stop", '{"n": 1}')))
    assert not accepts(text, spelled(dialect, ("other", "{}")))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_choices_are_kept(dialect: Dialect):
    """Required: nothing but calls. A function: nothing but it. Auto: calls or text. One: one."""
    call, other = ("look", '{"n": 1}'), ("stop", "{}")
    one, two = spelled(dialect, call), spelled(dialect, call, other)
    assert not accepts(grammar(prompt("required"), dialect), "No")
    assert not accepts(grammar(prompt("function:stop"), dialect), one)
    assert accepts(grammar(prompt("function:stop"), dialect), spelled(dialect, other))
    for choice in ("required", "auto", None):
        assert accepts(grammar(prompt(choice), dialect), one)
        assert accepts(grammar(prompt(choice), dialect), two)
        assert not accepts(grammar(prompt(choice, parallel=False), dialect), two)
    auto = grammar(prompt("auto"), dialect)
    assert accepts(auto, "")
    assert accepts(auto, 'No, {not} a "call" <tool> [TOOL')
    assert accepts(auto, f"I look. {one}")
    assert read(dialect, f"I look. {one}")[1] == ([call] if dialect.opening else [])
    assert not accepts(auto, f"{one} Done.")


@pytest.mark.parametrize("dialect", [HERMES, MISTRAL], ids=lambda one: one.name)
def test_markers_that_are_control_tokens_are_taken_as_such(dialect: Dialect):
    """Where the model has a token for the marker, that token opens a call, and its text is told."""
    words = constraining.vocabulary(control=True)
    call = spelled(dialect, ("look", '{"n": 1}'))
    for choice in ("required", "auto"):
        constraint = words.constraint(grammar(prompt(choice), dialect))
        answer = b""
        for part in re.split(r"(<tool_call>|</tool_call>|\[TOOL_CALLS\])", call):
            token = words.control(part)
            for one in part.encode() if token is None else [token]:
                assert constraint.accept(one)
                answer += constraint.shown.get(one, words.pieces[one])
        assert constraint.may_end
        assert read(dialect, answer.decode()) == ("", [("look", '{"n": 1}')])
    free = words.constraint(grammar(prompt("auto"), dialect))
    assert not all(free.accept(byte) for byte in dialect.opening.encode())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_whatever_is_written_is_read_back(dialect: Dialect, choice: str):
    """Every answer under the grammar is its content and its calls, however it was cut."""
    text = grammar(prompt(choice), dialect)
    rng = random.Random(f"{dialect.name} {choice}")  # noqa: S311
    seen = 0
    for _ in range(20):
        answer = constraining.write(text, rng, most=300)
        if answer is None:
            continue
        content, calls = read(dialect, answer)
        assert read(dialect, answer, rng) == (content, calls)
        for name, arguments in calls:
            assert name in ("look", "stop")
            assert set(json.loads(arguments)) >= ({"n"} if name == "look" else set())
            assert arguments in answer
        assert choice == "auto" or (calls and not content)
        assert calls or content == answer
        seen += 1
    assert seen


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_a_call_that_broke_off_is_no_call_and_no_text(dialect: Dialect):
    """What max_tokens cut is dropped; the calls before it are kept whole."""
    text = spelled(dialect, ("look", '{"n": 1, "s": "}\\"</tool_call>"}'), ("stop", "{}"))
    whole = [("look", '{"n": 1, "s": "}\\"</tool_call>"}'), ("stop", "{}")]
    for cut in range(1, len(text)):
        content, calls = read(dialect, text[:cut])
        assert calls == whole[: len(calls)]
        assert dialect.opening.startswith(content)
        assert not content or not calls
    assert read(dialect, text) == ("", whole)
    assert CallReader(dialect).finish() == ("", ())


def test_calls_are_values_of_the_domain():
    """They arrive with ids of their own, in order."""
    reader = CallReader(HERMES)
    assert reader.feed("Look: <tool") == "Look: "
    assert not reader.feed('_call>\n{"name": "a", "arguments": {}}\n</tool_call>')
    assert reader.finish() == ("", (ToolCall("call_1", "a", "{}"),))


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        ('{% if tools %}<tool_call>{"name": N, "arguments": A}</tool_call>{% endif %}', HERMES),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", MISTRAL),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]f[ARGS]", DESCRIBED),
        ('{% if tools %}ipython {"name": n, "parameters": p}{% endif %}', LLAMA),
        ("{% for tool in tools %}<function={{ tool.name }}>{% endfor %}", DESCRIBED),
        ("{{ messages[0].content }}", DESCRIBED),
        ("", DESCRIBED),
    ],
)
def test_dialects_are_told_from_templates(template: str, dialect: Dialect):
    """A template that knows no tools, or an unknown form of calls, gets the described one."""
    assert dialect_of(template) is dialect


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_tools_and_a_format_hold_together(dialect: Dialect):
    """An answer that calls nothing is still JSON, or grounded."""
    grounded = grammar(prompt(response_format=ResponseFormat("grounded")), dialect)
    call = spelled(dialect, ("stop", "{}"))
    assert accepts(grounded, "Nothing.")
    assert accepts(grounded, call)
    assert not accepts(grounded, "8")
    asked = prompt(response_format=ResponseFormat("json_object"))
    if dialect is LLAMA:
        with pytest.raises(UnsupportedParameterError):
            grammar(asked, dialect)
        return
    text = grammar(asked, dialect)
    assert accepts(text, '{"a": 1}')
    assert accepts(text, call)
    assert not accepts(text, "Nothing.")


@pytest.mark.parametrize("dialect", [HERMES, MISTRAL, DESCRIBED], ids=lambda one: one.name)
def test_json_beside_tools_nests_no_deeper_than_json_alone(dialect: Dialect):
    """Tools that may be called do not lift the limit on an answer's depth."""
    text = grammar(prompt(response_format=ResponseFormat("json_object")), dialect)
    inside = MAX_DEPTH - 1
    assert accepts(text, '{"a": ' + "[" * inside + "]" * inside + "}")
    assert not accepts(text, '{"a": ' + "[" * MAX_DEPTH, whole=False)
    assert accepts(text, spelled(dialect, ("stop", "{}")))


def test_tools_that_may_not_be_called_or_are_not_there():
    """None: the answer is free. A name that is no tool is refused."""
    assert write(prompt("none"), frozenset(), HERMES) is None
    assert write(Prompt(()), frozenset(), HERMES) is None
    with pytest.raises(RequestError):
        write(prompt("function:other"), frozenset(), HERMES)
    with pytest.raises(RequestError) as refused:
        write(Prompt((), tools=(Tool("a", None, {"not": {}}),)), frozenset(), HERMES)
    assert refused.value.param == "tools"
