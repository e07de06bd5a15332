"""Promises 2 and 4 of DESIGN §4 for arbitrary conversations."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain import Finding, Message, Operator, Prompt, Ruling, ToolCall
from gateway.pii import forms, placeholders
from gateway.pii.locate import locate, queries
from gateway.pii.mask import LITERAL, mask
from gateway.pii.restore import restore_json, restore_text
from gateway.pii.segments import Kind, collect, rebuild
from tests.wordlist import TODAY, detect, mask_prompt, pseudonym, users

TAG = "k7f3"

# Values that contain each other, forms of one person, what looks like a placeholder, and pieces
# of it; digits in groups; letters with marks; scripts without case or spaces.
PIECES = [
    "Anna", "Schmidt", "Anna Schmidt", "Dr. Anna Schmidt", "ANNA SCHMIDT", "Schmidt, Anna",
    "Anna-Schmidt", "A. Schmidt", "Peter Schmidt", "Schmidts", "annaschmidt", "Schmidt Klinik",
    "12345678", "1234-5678", "123 456 78", "45", "555-123-4567", "(555) 123-4567", "2021",
    "12 March 2021", "<", ">", "<PERSON_1>", "<PERSON_", "1>", "_1", "&lt;PERSON_1&gt;",
    "&lt;person", "\\u003cPERSON_1\\u003e", "<LITERAL_1>", "PERSON_1", "\\", "\\_", "[REDACTED]",
    "\uff1cPERSON_1\uff1e", "Jose\u0301", "Jos\u00e9", "\U0001f600", "\u0301", "\u200d", "王小明",
    "小明", "שרה", "Stra\u00dfe", "STRASSE", "Schm\\u0069dt", "&uuml;", "%20", " ", "  ", "\n",
    "\n\n", ", ", ": ", "s", "x", "\x00", "\ud83d",
]  # fmt: skip
TYPES = ["PERSON", "MEDICAL_RECORD", "PHONE_NUMBER", "DATE_TIME", "LOCATION"]

pieces = st.sampled_from(PIECES) | st.characters()
texts = st.lists(pieces, max_size=8).map("".join)
word_lists = st.dictionaries(pieces, st.sampled_from(TYPES), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([12345678, 45, -1.5e300]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
json_texts = st.builds(
    lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only),
    st.dictionaries(texts, json_values, max_size=3) | st.lists(json_values, max_size=3),
    st.booleans(),
)
contents = texts | json_texts
messages = st.builds(
    lambda role, content, name, arguments: Message(
        role,
        content,
        name,
        (ToolCall("x", "", arguments),) if arguments is not None else (),
    ),
    st.sampled_from(["system", "user", "assistant"]),
    contents,
    st.none() | st.sampled_from(["Anna", "Anna Schmidt", "bob"]),
    st.none() | contents,
)
conversations = st.lists(messages, max_size=3).map(lambda m: Prompt(tuple(m)))


def any_rule(choice: dict[str, Operator]):
    """A ruling per entity type; the rest are pseudonyms."""

    def rule(finding: Finding) -> Ruling:
        operator = choice.get(finding.entity_type, Operator.PSEUDONYM)
        return Ruling(operator, restore=operator < Operator.REDACT)

    return rule


rules = st.dictionaries(
    st.sampled_from(TYPES),
    st.sampled_from([Operator.KEEP, Operator.GENERALIZE, Operator.SURROGATE, Operator.REDACT]),
    max_size=3,
).map(any_rule)


def known(mapping):
    return {placeholder: (v.text, v.entity_type, v.number) for placeholder, v in mapping.items()}


@given(conversations, conversations, word_lists, rules)
@settings(max_examples=150)
def test_a_mapping_is_part_of_the_mapping_of_the_conversation_that_goes_on(
    begun, added, words, rule
):
    """mapping(M) is contained in mapping(M+N), whatever is said later (promise 4)."""
    longer = Prompt(begun.messages + added.messages)
    before = known(mask_prompt(begun, words, rule).mapping)
    after = known(mask_prompt(longer, words, rule).mapping)
    assert before.items() <= after.items()


@given(texts, word_lists)
@settings(max_examples=150)
@example("<PERSON_12 March 2021>", {"12 March 2021": "DATE_TIME"})
@example("<<Anna>>", {"Anna": "PERSON"})
@example("\\\\Anna\\", {"Anna": "PERSON"})
def test_an_echo_of_the_masked_text_is_restored_exactly(text, words):
    """restore(mask(text)) == text where nothing is withheld, and nothing is unknown (4, 5)."""
    masked = mask_prompt(users(text), words)
    echoed = masked.texts if len(masked.texts) == 1 else None
    if echoed is None:  # it was JSON and has the test below
        return
    restored, report = restore_text(echoed[0], masked.mapping, TAG)
    assert report.unknown == report.hidden == 0
    if report.withheld == 0:
        assert restored == text


@given(json_texts, word_lists)
@settings(max_examples=150)
def test_an_echo_of_masked_json_is_restored_with_its_numbers(text, words):
    """JSON stays JSON both ways, and numbers come back as numbers (promises 2 and 5)."""
    prompt = users(text)
    masked = mask_prompt(prompt, words)
    content = rebuild(prompt, masked.texts).messages[0].content
    assert content is not None
    json.loads(content, parse_int=str)
    restored, report = restore_json(content, masked.mapping, TAG)
    assert report.unknown == report.hidden == 0
    if report.withheld == 0:
        assert json.loads(restored, parse_int=int) == json.loads(text, parse_int=int)
        assert json.dumps(json.loads(restored)) == json.dumps(json.loads(text))


@given(conversations, word_lists, rules)
@settings(max_examples=150)
def test_the_masked_text_holds_no_placeholder_that_mask_did_not_write(prompt, words, rule):
    """Text from users that restore would accept is escaped: exactly that set (promise 4)."""
    masked = mask_prompt(prompt, words, rule)
    for text, replacements in zip(masked.texts, masked.replacements, strict=True):
        written = [r.text for r in replacements if r.text.startswith("<")]
        assert [found.canonical for found in placeholders.find(text)] == written


@given(conversations, word_lists)
@settings(max_examples=150)
def test_no_letter_or_digit_of_a_finding_stays(prompt, words):
    """Every index of every finding lies in a replacement (promise 2)."""
    segments = collect(prompt)
    found = locate(segments, [detect(words, query) for query in queries(segments)])
    rulings = [[pseudonym(f) for f in findings] for findings in found]
    if any(f and s.kind is Kind.NAME for f, s in zip(found, segments, strict=True)):
        return
    masked = mask(segments, found, rulings, today=TODAY)
    for findings, replacements in zip(found, masked.replacements, strict=True):
        covered = {i for r in replacements for i in range(r.start, r.end)}
        for finding in findings:
            assert covered.issuperset(range(finding.start, finding.end))


@given(conversations, word_lists, rules)
@settings(max_examples=150)
def test_one_value_has_one_placeholder_in_all_of_a_prompt(prompt, words, rule):
    """Same value, same placeholder: no two placeholders have one text and kind (promise 4)."""
    masked = mask_prompt(prompt, words, rule)
    values = [(value.text, value.number) for value in masked.mapping.values()]
    assert len(values) == len(set(values))
    written = {}
    for segment, replacements in zip(collect(prompt), masked.replacements, strict=True):
        for r in replacements:
            key = (segment.text[r.start : r.end], segment.kind is Kind.JSON_NUMBER)
            assert written.setdefault(key, r.text) == r.text


@given(conversations, word_lists, rules)
@settings(max_examples=150)
def test_what_is_excepted_is_what_mask_wrote_or_a_ruling_kept(prompt, words, rule):
    """The tripwire's exceptions are spans of the masked text, and written text is among them."""
    masked = mask_prompt(prompt, words, rule)
    for i, (text, replacements) in enumerate(zip(masked.texts, masked.replacements, strict=True)):
        spans = {(span.start, span.end) for span in masked.excepted[i]}
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        shift = 0
        for r in replacements:
            start, end = r.start + shift, r.start + shift + len(r.text)
            assert text[start:end] == r.text
            assert (start, end) in spans
            back = masked.source_span(i, start, end)
            assert (back.start, back.end) == (r.start, r.end)
            shift += len(r.text) - (r.end - r.start)


@given(conversations)
def test_what_was_not_masked_is_left_as_it_was(prompt):
    """Collecting and rebuilding are one traversal: texts put back unchanged change nothing."""
    segments = collect(prompt)
    rebuilt = rebuild(prompt, [segment.text for segment in segments])
    for before, after in zip(prompt.messages, rebuilt.messages, strict=True):
        assert (before.content, before.name) == (after.content, after.name)
        assert [c.arguments for c in before.tool_calls] == [c.arguments for c in after.tool_calls]


@given(st.text(st.sampled_from('{}[]",:\\u00e9 1.5eNa\n'), max_size=40) | contents)
@settings(max_examples=150)
def test_no_text_is_lost_whatever_it_looks_like(text):
    """Anything that begins like JSON is walked as JSON or is plain text, never dropped."""
    prompt = users(text)
    segments = collect(prompt)
    assert rebuild(prompt, [s.text for s in segments]).messages[0].content == text
    try:
        value = json.loads(text, parse_int=str, parse_float=str)
    except ValueError:
        value = text
    expected = [text] if not isinstance(value, dict | list) else None
    if expected is not None:
        assert [s.text for s in segments] == expected


@given(texts, word_lists)
def test_literals_are_text_of_the_user_and_nothing_else(text, words):
    """What LITERAL stands for contains no detected value, so it may be restored for anyone."""
    masked = mask_prompt(users(text), words)
    for value in masked.mapping.values():
        if value.entity_type == LITERAL:
            assert not detect(words, value.text) or value.text in words


@given(conversations, word_lists)
@settings(max_examples=200)
def test_a_value_that_the_tripwire_looks_for_is_masked_wherever_it_stands(prompt, words):
    """Mask and tripwire agree: no mapped value is visible, so none stops a clean request (§1)."""
    masked = mask_prompt(prompt, words)
    values = masked.normalised_values()
    for text, excepted in zip(masked.texts, masked.excepted, strict=True):
        written = {i for span in excepted for i in range(span.start, span.end)}
        for start, end in forms.visible(text, values):
            assert written.issuperset(range(start, end))
