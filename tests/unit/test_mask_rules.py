"""What mask writes: operators, forms, overlaps, known values, and what stays as it is."""

from __future__ import annotations

import re

import pytest

from gateway.domain import Finding, Message, Operator, Prompt, Ruling
from gateway.pii.generalize import GENERALIZERS
from gateway.pii.mask import mask
from gateway.pii.presidio.operators import PresidioApply
from gateway.pii.registry import Registry
from gateway.pii.segments import collect, plain
from tests.wordlist import TODAY, mask_prompt, mask_segments, pseudonym, users


def ruled(operator: Operator, *, restore: bool = True):
    return lambda _finding: Ruling(operator, restore)


def masked_text(text: str, words: dict[str, str], rule=pseudonym) -> str:
    return mask_segments([plain(text)], words, rule).texts[0]


@pytest.mark.parametrize(
    ("operator", "entity_type", "value", "expected"),
    [
        (Operator.KEEP, "PERSON", "Ada Quill", "Ada Quill"),
        (Operator.PSEUDONYM, "PERSON", "Ada Quill", "<PERSON_1>"),
        (Operator.SURROGATE, "PERSON", "Ada Quill", "<PERSON_1>"),
        (Operator.REDACT, "PERSON", "Ada Quill", "[REDACTED]"),
        (Operator.GENERALIZE, "PERSON", "Ada Quill", "[REDACTED]"),
        (Operator.GENERALIZE, "DATE_TIME", "12 March 2021", "2021"),
        (Operator.GENERALIZE, "DATE_TIME", "12 March", "[REDACTED]"),
        (Operator.GENERALIZE, "DATE_TIME", "12/03/21", "[REDACTED]"),
        (Operator.GENERALIZE, "DATE_TIME", "2020 to 2021", "[REDACTED]"),
        (Operator.GENERALIZE, "DATE_TIME", "born 1937", "1937"),
        (Operator.GENERALIZE, "DATE_TIME", "born 1936", "[REDACTED]"),
        (Operator.GENERALIZE, "AGE", "89 years", "89 years"),
        (Operator.GENERALIZE, "AGE", "90 years", "90+"),
        (Operator.GENERALIZE, "AGE", "ninety", "[REDACTED]"),
        (Operator.GENERALIZE, "ZIP_CODE", "02139", "021"),
        (Operator.GENERALIZE, "ZIP_CODE", "02139-4307", "021"),
        (Operator.GENERALIZE, "ZIP_CODE", "03601", "000"),  # restricted by every census
        (Operator.GENERALIZE, "ZIP_CODE", "20301", "000"),  # by that of 2020
        (Operator.GENERALIZE, "ZIP_CODE", "09012", "000"),  # of the military, on no list
        (Operator.GENERALIZE, "ZIP_CODE", "SW1A 1AA", "000"),
        (Operator.GENERALIZE, "LOCATION", "12 Elm St, Tulsa, OK 74103", "Oklahoma"),
        (Operator.GENERALIZE, "LOCATION", "Springfield, Illinois", "Illinois"),
        (
            Operator.GENERALIZE,
            "LOCATION",
            "Hauptstr. 5, Ulm, Baden-Württemberg",
            "Baden-Württemberg",
        ),
        (Operator.GENERALIZE, "LOCATION", "Washington", "[REDACTED]"),  # the town or the state
        (Operator.GENERALIZE, "LOCATION", "4 Rose Lane, Ashby", "[REDACTED]"),
        (Operator.GENERALIZE, "DEMOGRAPHIC", "54-year-old", "50-59"),
        (Operator.GENERALIZE, "DEMOGRAPHIC", "Catholic", "[REDACTED]"),
    ],
)
def test_each_operator_writes_what_the_model_may_learn(operator, entity_type, value, expected):
    """An operator never shows more than it says; what cannot be generalized is redacted."""
    text = masked_text(f"of {value}, said.", {value: entity_type}, ruled(operator))
    assert text == f"of {expected}, said."


def test_a_ruling_that_blocks_never_comes_to_mask():
    """A blocked request ends before masking; one that arrives here is a fault of the caller."""
    with pytest.raises(ValueError, match="blocks"):
        masked_text("Ada", {"Ada": "PERSON"}, ruled(Operator.BLOCK))


def test_a_finding_outside_its_text_is_refused():
    """Offsets that do not fit would mask the wrong characters."""
    finding = Finding("PERSON", 1, 9, 1.0)
    with pytest.raises(ValueError, match="outside"):
        mask([plain("Ada")], [[finding]], [[pseudonym(finding)]], today=TODAY)


@pytest.mark.parametrize(
    ("texts", "words", "expected"),
    [
        # forms of one person, in the order of their appearance
        (
            ["Ada Quill", "Ms. Quill", "Quill, Ada", "A. Quill"],
            {"Ada Quill": "PERSON", "Ms. Quill": "PERSON", "Quill, Ada": "PERSON",
             "A. Quill": "PERSON"},
            ["<PERSON_1>", "<PERSON_1_2>", "<PERSON_1_3>", "<PERSON_1_4>"],
        ),
        # two persons of one surname: the surname alone is nobody's
        (
            ["Ada Quill", "Ben Quill", "Quill"],
            {"Ada Quill": "PERSON", "Ben Quill": "PERSON", "Quill": "PERSON"},
            ["<PERSON_1>", "<PERSON_2>", "<PERSON_3>"],
        ),
        # a surname first, then one person who bears it, then another
        (
            ["Quill", "Ada Quill", "Ben Quill"],
            {"Ada Quill": "PERSON", "Ben Quill": "PERSON", "Quill": "PERSON"},
            ["<PERSON_1>", "<PERSON_1_2>", "<PERSON_2>"],
        ),
        # a number in other groups
        (
            ["078-05-1120", "078 05 1120", "078051120"],
            {"078-05-1120": "US_SSN"},
            ["<US_SSN_1>", "<US_SSN_1_2>", "<US_SSN_1_3>"],
        ),
        # the first detection fixes the type
        (["4711-0815", "4711-0815"], {"4711-0815": "PASSPORT"}, ["<PASSPORT_1>"] * 2),
    ],
)  # fmt: skip
def test_forms_of_one_value_share_its_number(texts, words, expected):
    """The model sees one person or number; each form has a placeholder of its own (promise 4)."""
    assert list(mask_prompt(users(*texts), words).texts) == expected


@pytest.mark.parametrize(
    "written",
    [
        "Ada Quill", "ADA QUILL", "ada quill", "Ada-Quill", "Ada  Quill", "Ada\nQuill", "adaquill",
        "Ada_Quill", "A\u0301da Quill", "Ada\u00ad Qu\u200dill", "\uff21da Quill", "Ada Quill's",
        "Ada Quills", "Ada\\u0020Quill", "Ada%20Quill", "(Ada Quill)",
    ],
)  # fmt: skip
def test_a_value_is_found_where_the_detector_missed_it(written):
    """What one text reveals is masked in every text, under one number, however it is spelled."""
    segments = collect(users(f"x {written} y", "by Ada Quill!"))
    found = [[], [Finding("PERSON", 3, 12, 0.9)]]
    rulings = [[pseudonym(f) for f in findings] for findings in found]
    text, revealing = mask(segments, found, rulings, today=TODAY).texts
    assert revealing == "by <PERSON_1>!"
    assert re.fullmatch(r"x \(?<PERSON_1(_2)?>('?s|\))? y", text)


@pytest.mark.parametrize(
    ("words", "clean"),
    [
        ({"Mark": "PERSON"}, "mark the place; marking, remarks, Marketing"),
        ({"Li": "PERSON"}, "lithium, Lisbon, li"),
        ({"45": "AGE"}, "45 mg and 145/45"),
        ({"7": "ID_NUMBER"}, "7 days"),
        ({"X": "PERSON"}, "X-ray, x"),
        ({"4711": "ID_NUMBER"}, "47110 and 0 4711815"),
        ({"Ada Quill": "LOCATION"}, "Ada, and then Quill; Canada Quillfeather"),
        ({"Will Young": "PERSON"}, "Will the young one come? Young adults will."),
        ({"Ada Quill": "PERSON"}, "vitamins A, Q and A-Q; adage, quilling"),
    ],
)
def test_ordinary_text_stays_where_a_short_value_is_known(words, clean):
    """Common words and small numbers are not masked for looking like a value found elsewhere."""
    value = next(iter(words))
    segments = collect(users(clean, f"known: {value}"))
    finding = Finding(words[value], 7, 7 + len(value), 0.9)
    found = [[], [finding]]
    masked = mask(segments, found, [[pseudonym(f) for f in fs] for fs in found], today=TODAY)
    assert masked.texts[0] == clean
    assert masked.texts[1].startswith("known: <")


@pytest.mark.parametrize(
    ("value", "entity_type", "text", "expected"),
    [
        ("Ms Anna Schmidt", "PERSON", "Schmidt left; Anna's son", "<1_2> left; <1_3>'s son"),
        ("Anna Schmidt", "PERSON", "tell A.S. or A. S.", "tell <1_2>. or <1_3>."),
        ("Ms Schmidt", "PERSON", "SCHMIDT is in", "<1_2> is in"),
        ("gonzalez, maria", "PERSON", "ask gonzalez", "ask <1_2>"),
        ("Will Young", "PERSON", "and Young and Will", "and <1_2> and <1_3>"),
        ("Lowell Freight Inc.", "ORGANIZATION", "at Lowell Freight", "at <1_2>"),
        ("Hartwell GmbH", "ORGANIZATION", "bei Hartwell", "bei <1_2>"),
        ("Van Der", "PERSON", "Waals", "Waals"),
        ("Ludwig van der Meer", "PERSON", "van der Waals, Meer", "van der Waals, <1_2>"),
    ],
)
def test_a_name_found_once_is_found_in_its_parts(value, entity_type, text, expected):
    """Parts, initials and names without their company form are forms of the one value."""
    finding = Finding(entity_type, 7, 7 + len(value), 0.9)
    segments = collect(users(f"known: {value}", text))
    masked = mask(segments, [[finding], []], [[pseudonym(finding)], []], today=TODAY)
    assert masked.texts[1].replace(f"<{entity_type}_", "<") == expected


def overlapping(text: str, *spans: tuple[int, int, str, Operator]):
    findings = [Finding(t, start, end, 0.9) for start, end, t, _ in spans]
    rulings = [Ruling(operator, operator < Operator.REDACT) for *_, operator in spans]
    return mask([plain(text)], [findings], [rulings], today=TODAY)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (
            [(0, 9, "PERSON", Operator.PSEUDONYM), (4, 9, "LOCATION", Operator.PSEUDONYM)],
            "<PERSON_1> Hospital",
        ),
        (
            [(0, 9, "PERSON", Operator.PSEUDONYM), (4, 18, "ORGANIZATION", Operator.PSEUDONYM)],
            "<ORGANIZATION_1>",
        ),
        (
            [(0, 9, "PERSON", Operator.PSEUDONYM), (4, 9, "SECRET", Operator.REDACT)],
            "[REDACTED] Hospital",
        ),
        (
            [(0, 9, "PERSON", Operator.PSEUDONYM), (4, 18, "ORGANIZATION", Operator.KEEP)],
            "<PERSON_1> Hospital",
        ),
        (
            [(0, 3, "PERSON", Operator.PSEUDONYM), (4, 9, "PERSON", Operator.PSEUDONYM)],
            "<PERSON_1> <PERSON_2> Hospital",
        ),
    ],
)
def test_overlaps_become_one_span_under_the_strictest_operator(spans, expected):
    """The longest gives the type, the strictest the operator, and nothing of any stays."""
    assert overlapping("Ada Quill Hospital", *spans).texts == (expected,)


def test_the_strictest_ruling_of_a_value_holds_for_all_its_places():
    """A value that one rule redacts is redacted where another would only replace it."""
    rule = {0.9: Ruling(Operator.PSEUDONYM, restore=True), 0.5: Ruling(Operator.REDACT, False)}
    found = [[Finding("PERSON", 0, 9, 0.9)], [Finding("PERSON", 0, 9, 0.5)]]
    rulings = [[rule[f.score] for f in fs] for fs in found]
    masked = mask(collect(users("Ada Quill", "Ada Quill")), found, rulings, today=TODAY)
    assert masked.texts == ("[REDACTED]", "[REDACTED]")
    assert not any(value.restore for value in masked.mapping.values())


def test_a_later_turn_masks_earlier_text_and_numbers_stay():
    """A value revealed in the second message is masked in the first, after what that reveals."""
    segments = collect(users("Ada Quill, Bo Vale", "I am Ada Quill"))
    found = [[Finding("PERSON", 11, 18, 0.9)], [Finding("PERSON", 5, 14, 0.9)]]
    rulings = [[pseudonym(f) for f in findings] for findings in found]
    masked = mask(segments, found, rulings, today=TODAY)
    assert masked.texts == ("<PERSON_2>, <PERSON_1>", "I am <PERSON_2>")


@pytest.mark.parametrize(
    "written",
    [
        "<PERSON_1>", "<US_SSN_12_3>", "&lt;PERSON_1&gt;", "&#60;PERSON_1&#62;", "&#x3C;PERSON_1>",
        "\\u003cPERSON_1\\u003e", "<PERSON\\_1>", "<PERSON_1\\>", "< person_1 >",
        "\uff1cPERSON_1\uff1e", "<LITERAL_1>", "<PERSON_1&gt;",
    ],
)  # fmt: skip
def test_text_that_looks_like_a_placeholder_is_escaped(written):
    """What restore would accept comes to the model as a LITERAL."""
    masked = mask_segments([plain(f"a {written} b")], {})
    assert masked.texts == ("a <LITERAL_1> b",)
    assert masked.mapping["<LITERAL_1>"].text == written
    assert masked.counts == {}


@pytest.mark.parametrize(
    "written",
    ["<PERSON>", "<PERSON_0>", "<PERSON_01>", "<PERSON 1>", "PERSON_1", "<PERSON_1:k7f3>",
     "<PER SON_1>", "[PERSON_1]", "<PERSON_1_2_3>", "<PER\u017fON_1>", "<_1>", "<\nPERSON_1>",
     "<PERSON_1234567>"],
)  # fmt: skip
def test_text_that_restore_would_not_accept_stays(written):
    """Exactly the accepted set is escaped, nothing beside it."""
    assert masked_text(written, {}) == written


def test_what_touches_a_generalized_value_cannot_make_a_placeholder():
    """Pieces that form a placeholder only after masking are masked together."""
    masked = mask_segments(
        [plain("<PERSON_12 March 2021>")],
        {"12 March 2021": "DATE_TIME"},
        ruled(Operator.GENERALIZE, restore=False),
    )
    assert masked.texts == ("<DATE_TIME_1>",)
    assert masked.mapping["<DATE_TIME_1>"].restore is False


def test_kept_and_written_spans_are_excepted_from_the_tripwire():
    """The tripwire reads neither what mask wrote nor what a ruling kept, and all the rest."""
    rule = {"PERSON": Operator.PSEUDONYM, "ORGANIZATION": Operator.KEEP}
    masked = mask_segments(
        [plain("Ada Quill of Vale Clinic.")],
        {"Ada Quill": "PERSON", "Vale Clinic": "ORGANIZATION"},
        lambda f: Ruling(rule[f.entity_type], restore=True),
    )
    assert masked.texts == ("<PERSON_1> of Vale Clinic.",)
    assert [(s.start, s.end) for s in masked.excepted[0]] == [(0, 10), (14, 25)]


def test_a_number_in_json_is_another_form_than_the_same_digits_in_text():
    """A number is restored as a number and text as text: they have two placeholders."""
    words = {"mrn: 12345678": "MEDICAL_RECORD", "12345678": "MEDICAL_RECORD"}
    masked = mask_prompt(users('{"mrn": 12345678}', "MRN 12345678"), words)
    assert masked.texts[1:] == ("<MEDICAL_RECORD_1>", "MRN <MEDICAL_RECORD_1_2>")
    assert masked.mapping["<MEDICAL_RECORD_1>"].number
    assert not masked.mapping["<MEDICAL_RECORD_1_2>"].number


def test_the_name_of_a_message_is_a_person_whatever_the_detector_says():
    """A name is personal by its place; what it reveals is found in the texts too."""
    prompt = Prompt((Message("user", "I am Vexatia", name="Vexatia"),))
    assert mask_prompt(prompt, {}).texts == ("<PERSON_1>", "I am <PERSON_1>")


def test_normalised_values_leave_out_what_stands_in_ordinary_text():
    """Short words and numbers would stop clean requests; the tripwire is not given them."""
    words = {"Ada Quill": "PERSON", "May": "PERSON", "45": "AGE", "078-05-1120": "US_SSN"}
    masked = mask_segments([plain("Ada Quill, May, 45, 078-05-1120")], words)
    assert masked.normalised_values() == {"ada quill", "078 05 1120"}


def test_values_never_stand_in_a_repr():
    """A traceback or a log that prints these objects shows no text."""
    masked = mask_segments([plain("Ada Quill")], {"Ada Quill": "PERSON"})
    everything = repr((masked, masked.mapping, masked.replacements, plain("Ada Quill")))
    assert "Quill" not in everything


def test_presidio_writes_what_splice_writes():
    """The anonymizer applies the replacements as they are, touching ones too."""
    words = {"Ada": "PERSON", "Quill": "LOCATION", "4711": "ID_NUMBER"}
    for text in ("AdaQuill Ada Quill4711", "Ada", "none", "", "\ud83d Ada \U0001f600 Quill"):
        own = mask_segments([plain(text)], words)
        assert mask_segments([plain(text)], words, apply=PresidioApply()).texts == own.texts


def test_every_generalizer_redacts_what_it_does_not_understand():
    """None of them passes on text that it could not read."""
    for name, generalize in GENERALIZERS.items():
        assert generalize("no digits at all", TODAY) in (None, "000"), name


def test_no_detector_type_can_pass_for_a_literal():
    """LITERAL is restored for everyone, so no finding may become one."""
    assert Registry().entry("x", "Literal", number=False).placeholder == "<VALUE_1>"


def test_a_value_of_very_many_words_is_masked_wherever_it_stands_as_written():
    """A long secret is found again as it was written; its length costs no other place anything."""
    secret = "sk" + "-sk" * 60
    masked = mask_prompt(users(f"it is {secret}.", f"({secret})"), {secret: "SECRET"})
    assert masked.texts == ("it is <SECRET_1>.", "(<SECRET_1>)")
    assert mask_prompt(users("sk sk.", f"it is {secret}."), {secret: "SECRET"}).texts[0] == "sk sk."


def test_values_that_begin_alike_are_told_apart():
    """Each of many names with one first name has its own number, in every spelling."""
    names = {f"Ada {chr(65 + i // 26)}{chr(97 + i % 26)}quill": "PERSON" for i in range(60)}
    masked = mask_prompt(users(", ".join(names), ", ".join(n.upper() + "S" for n in names)), names)
    assert masked.texts[0] == ", ".join(f"<PERSON_{i}>" for i in range(1, 61))
    assert masked.texts[1] == ", ".join(f"<PERSON_{i}_2>S" for i in range(1, 61))
