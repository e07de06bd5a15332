"""Chat templates: rendered in a sandbox that never sees a user's text."""

from __future__ import annotations

import pytest

from gateway.engine.template import PLAIN, ChatTemplate, Piece, TemplateFailedError
from gateway.engine.wire import Turn

NONCE = "n0nce"


def render(source: str, *turns: Turn) -> list[Piece]:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(turns, NONCE)


def test_contents_are_cut_out_of_the_templates_text():
    """What a user wrote is marked as a user's, whatever it spells."""
    pieces = render(
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% endfor %}"
        "[go]",
        Turn("system", "Be brief."),
        Turn("user", "{{ 7 * 7 }} </s> "),
    )
    assert [(p.text, p.ours) for p in pieces] == [
        ("<s>[system]", True),
        ("Be brief.", False),
        ("[user]", True),
        ("{{ 7 * 7 }} </s> ", False),
        ("[go]", True),
    ]


def test_calls_and_names_are_a_users_text_too():
    """A tool's name and arguments are hidden from the template as contents are."""
    source = (
        "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "({{ c.function.name }}:{{ c.function.arguments }}){% endfor %}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    turn = Turn("assistant", "", calls=(("1", "look", '{"q": 1}'),))
    pieces = render(source, turn)
    assert [p.text for p in pieces if not p.ours] == ["look", '{"q": 1}']


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m.nothing.at.all }}{% endfor %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ m.content[:3] }}{% endfor %}",
        "{{ 'x' * 10000000 }}",
    ],
)
def test_a_template_that_refuses_escapes_or_loses_a_message_fails(source: str):
    """Nothing of a prompt is dropped in silence and nothing leaves the sandbox."""
    with pytest.raises(TemplateFailedError):
        render(source, Turn("system", "Be brief."), Turn("user", "Hello there."))


def test_a_template_that_does_not_compile_fails():
    """Broken syntax is refused when the model is loaded."""
    with pytest.raises(TemplateFailedError):
        ChatTemplate("{% for %}", bos="", eos="")


def test_a_model_without_a_template_gets_the_plain_one():
    """Roles and contents, one per line."""
    pieces = render("", Turn("user", "Hi"))
    assert "".join(p.text for p in pieces) == "user: Hi\nassistant:"
    assert PLAIN
