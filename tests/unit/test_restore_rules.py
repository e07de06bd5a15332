"""What restore fills, what it leaves, and what it says about it."""

from __future__ import annotations

import pytest

from gateway.errors import RestoreError
from gateway.pii.mask import LITERAL, Value
from gateway.pii.restore import (
    JsonRestorer,
    Report,
    Restorer,
    check_json,
    restore_arguments,
    restore_json,
    restore_text,
)

TAG = "k7f3"
MAPPING = {
    "<PERSON_1>": Value('Ada "Q" Quill', "PERSON", restore=True),
    "<PERSON_1_2>": Value("Quill", "PERSON", restore=True),
    "<MEDICAL_RECORD_1>": Value("-12.50", "MEDICAL_RECORD", restore=True, number=True),
    "<US_SSN_1>": Value("078-05-1120", "US_SSN", restore=False),
    "<US_SSN_2>": Value("78051120", "US_SSN", restore=False, number=True),
    "<URL_1>": Value("https://ward.example/x", "URL", restore=True),
    "<LITERAL_1>": Value("<PERSON_1>", LITERAL, restore=True),
}


@pytest.mark.parametrize(
    "written",
    [
        "<PERSON_1_2>", "<person_1_2>", "< PERSON_1_2 >", "&lt;PERSON_1_2&gt;",
        "&#60;PERSON_1_2&#x3e;", "\\u003cPERSON_1_2\\u003E", "<PERSON\\_1\\_2>", "<PERSON_1_2\\>",
        "\uff1cPERSON_1_2\uff1e",
    ],
)  # fmt: skip
def test_mangled_placeholders_are_recovered(written):
    """Another case, spaces and escapes make no difference while type and digits are exact."""
    assert restore_text(f"a {written}.", MAPPING, TAG) == ("a Quill.", Report(restored=1))


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("<PERSON_2>", Report(unknown=1)),
        ("<PERSON_1_9>", Report(unknown=1)),
        ("<PERSON_01> <PERSN 1> PERSON_1 [PERSON_1] <PERSON_1:k7f3>", Report()),
        ("<PERSN_1>", Report(unknown=1)),
        ("<PERSON_1", Report()),
    ],
)
def test_what_is_not_exactly_a_placeholder_of_the_mapping_stays(text, report):
    """An unknown placeholder stays visible and is reported; what is none is just text."""
    assert restore_text(text, MAPPING, TAG) == (text, report)


def test_values_a_role_may_not_see_carry_the_tag_of_the_answer():
    """A hidden placeholder is written so that no other conversation can fill it (promise 4)."""
    restored = restore_text("<US_SSN_1> &lt;us_ssn_1&gt; <PERSON_1_2>", MAPPING, TAG)
    assert restored == ("<US_SSN_1:k7f3> <US_SSN_1:k7f3> Quill", Report(restored=1, hidden=2))
    assert restore_text(restored[0], MAPPING, "zzzz") == (restored[0], Report())


CLOSED = [
    "https://h.example/?q={}",
    "HTTPS://h.example/{}/x",
    "see //h.example/{}",
    "www.h.example/{}",
    "(www.h.example/{})",
    "mailto:{}",
    "javascript:f('{}')",
    "data:text/html,{}",
    "![x](/{})",
    "[x]({})",
    "[x](</a b/{}>)",
    "[x](a(b)c/{})",
    '[x](/a "{}")',
    "[x]: /{}",
    "text\n  [x y]: <{}>",
    "> [x]:\n  /{}",
    "<a href='/{}'>",
    '<img alt=">" src="/{}"',
    "<img\nsrc=/{}",
    "</b {}>",
    "<custom-tag:x {}>",
    "<URL_1>/?q={}",
    "<style>a{{background:url(//h/{})}}",
    "[x](/a\nb {})",
    # What a browser makes a URL of, though no "//" stands in it.
    "https:h.example/?q={}",
    "https:\\\\h.example\\{}",
    "\\\\h.example\\{}",
    "/\\h.example/{}",
    "https&colon;&sol;&sol;h.example/{}",
    "https:&#47;&#x2F;h.example/{}",
    # What a program makes a link of, though no scheme stands in it.
    "h.example/?q={}",
    "(h.example:8080/{})",
    "h.example?q={}",
    "h.xn--p1ai/{}",
    # A no-break space ends no URL and makes no line blank.
    "https://h.example/?q=\u00a0{}",
    "[x](a\n\u00a0\n{})",
    # Markdown's escapes, angle brackets and markers.
    "![x](a\\) {})",
    "![x](<a) {}>)",
    "![x]( <a\\>) {}>)",
    "[a\\]b]: /{}",
    "1) [x]: /{}",
    "<tel:{}>",
    # HTML: a name that no element has, and attributes over blank lines.
    "<a\u00e9 style='background:url(x{})'>",
    "<x_y\nz=h?{}",
    "<img src='h?\n\n{}'",
    "<img\n\nsrc='h?{}'",
    "<img\n\nsrc=h?{}",
    "<i =\"> <img src='h> {}'>",
    '<i a=\u00a0"> <img src="h> {}">',
]
OPEN = [
    "{}",
    "https://h.example/ {}",
    "![x](/y) {}",
    "[x](/y){}",
    "[{}](/y)",
    "<a href='/y'>{}</a>",
    "a < b {}",
    "p<0.05 in {}",
    "if (a<b) {}",
    "[x] {}",
    "[x]:/y\nand {}",
    "- [ ] ask: {}",
    "and/or {}",
    "note: {}",
    "mailto: {}",
    "awww. {}",
    "f(x)[0] ({})",
    "<PERSON_9 {}",
    "](a\n\n{}",
    "<a href=\n \n{}",
    "«{}»",
    "2.5mg/kg {}",
    "1.5/kg:{}",
    "b.i.d. {}",
    "a\\b {}",
    "x = <b and\n\n{}",
    "<b\n\nc {}",
    "AT&T; {}",
    "<PERSON_1:k7f3> {}",
]


@pytest.mark.parametrize("template", CLOSED)
def test_nothing_is_restored_where_a_renderer_would_send_it(template):
    """No value comes to stand in a URL, a link target, a definition or a tag (promise 5)."""
    text = template.format("<PERSON_1_2>").replace("<URL_1>", MAPPING["<URL_1>"].text)
    for source in {text, template.format("<PERSON_1_2>")}:
        restored, report = restore_text(source, MAPPING, TAG)
        assert "Quill" not in restored
        assert report.withheld == 1
        assert "<PERSON_1_2:k7f3>" in restored


@pytest.mark.parametrize("template", OPEN)
def test_everywhere_else_it_is_restored(template):
    """Withholding is for those places only: ordinary prose, code and mathematics are restored."""
    restored, report = restore_text(template.format("<PERSON_1_2>"), MAPPING, TAG)
    assert restored == template.format("Quill")
    assert report == Report(restored=1)


def test_the_users_own_text_comes_back_wherever_it_stands():
    """A LITERAL is nobody's data: it is restored in a URL and for every role."""
    text = "https://h.example/<LITERAL_1>"
    expected = "https://h.example/<PERSON_1>"
    assert restore_text(text, MAPPING, TAG, allowed=False) == (expected, Report(restored=1))


def test_a_stream_says_all_but_an_open_placeholder():
    """Text before a placeholder is said at once, and the placeholder at its last character."""
    restorer = Restorer(MAPPING, TAG)
    assert restorer.feed("seen by Dr. <PERS") == "seen by Dr. "
    assert restorer.feed("ON_1_2") == ""
    assert restorer.feed("> and 3 <") == "Quill and 3 "
    assert restorer.feed("4") == "<4"
    assert restorer.feed(" &l") == " "
    assert restorer.finish() == "&l"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "<PERSON_1>"}', '{"a": "Ada \\"Q\\" Quill"}'),
        ('{"a": "by <PERSON_1_2>"}', '{"a": "by Quill"}'),
        ('{"<PERSON_1>": 1}', '{"Ada \\"Q\\" Quill": 1}'),
        ('{"a": "\\u003cPERSON_1_2\\u003e"}', '{"a": "Quill"}'),
        ('{"a": "<MEDICAL_RECORD_1>"}', '{"a": -12.50}'),
        ('["<MEDICAL_RECORD_1>", "<MEDICAL_RECORD_1> "]', '[-12.50, "-12.50 "]'),
        ('{"<MEDICAL_RECORD_1>": "x"}', '{"-12.50": "x"}'),
        ('{"a": "<US_SSN_2>"}', '{"a": "<US_SSN_2:k7f3>"}'),
        ('{"a": "https:\\/\\/h\\/<PERSON_1_2>"}', '{"a": "https://h/<PERSON_1_2:k7f3>"}'),
        ('{"a": "https://h/", "b": "<PERSON_1_2>"}', '{"a": "https://h/", "b": "Quill"}'),
        ('{"a": "\\ud83d\\ude00 <PERSON_9>\\n"}', '{"a": "\\ud83d\\ude00 <PERSON_9>\\n"}'),
        ('{"a": <PERSON_1_2>}', '{"a": <PERSON_1_2>}'),
        ('{"a": "<PERSON_1_2', '{"a": "<PERSON_1_2'),
        ('{"a": "<MEDICAL_RECORD_1', '{"a": "<MEDICAL_RECORD_1'),
        ('{"a": "<MEDICAL_RECORD_1>', '{"a": "-12.50'),
        ('{"a": "\\', '{"a": "\\'),
    ],
)
def test_json_is_restored_inside_its_strings(text, expected):
    """JSON stays JSON, a number comes back as a number, and what is no JSON is left as it is."""
    assert restore_json(text, MAPPING, TAG)[0] == expected


def test_a_json_stream_holds_a_quote_only_for_a_number():
    """A string begins at once unless it can still become a number."""
    restorer = JsonRestorer(MAPPING, TAG)
    assert restorer.feed('{"a') == '{"a'
    assert restorer.feed('": "x') == '": "x'
    assert restorer.feed('", "b": "<MEDICAL_RECORD_1>') == '", "b": '
    assert restorer.feed('"}') == "-12.50}"
    assert restorer.finish() == ""


def test_tool_arguments_are_restored_only_for_tools_that_policy_names():
    """Without a policy that names the tool its arguments keep tagged placeholders (promise 5)."""
    arguments = '{"who": "<PERSON_1_2>", "n": "<MEDICAL_RECORD_1>"}'
    assert restore_arguments(arguments, MAPPING, TAG, allowed=True) == (
        '{"who": "Quill", "n": -12.50}',
        Report(restored=2),
    )
    assert restore_arguments(arguments, MAPPING, TAG, allowed=False) == (
        '{"who": "<PERSON_1_2:k7f3>", "n": "<MEDICAL_RECORD_1:k7f3>"}',
        Report(hidden=2),
    )


def test_arguments_that_are_no_json_are_not_restored():
    """What cannot be read cannot be restored safely; it is tagged and reported."""
    restored = restore_arguments('{"who": "<PERSON_1>', MAPPING, TAG, allowed=True)
    assert restored == ('{"who": "<PERSON_1:k7f3>', Report(hidden=1))


@pytest.mark.parametrize("text", ["", "{", '{"a": <PERSON_1>}', "[" * 100_000])
def test_an_answer_that_is_no_json_is_an_error_without_its_text(text):
    """The last check of a JSON answer fails closed and shows nothing of it."""
    with pytest.raises(RestoreError) as caught:
        check_json(text)
    assert str(caught.value) == RestoreError.default_message
    assert caught.value.__suppress_context__
