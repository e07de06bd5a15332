"""The guards that look at purposes and answers: what they point at, and what they let be."""

from __future__ import annotations

import pytest

from gateway.domain import Message, Prompt, Purpose, ToolCall
from gateway.guards.citations import Citations
from gateway.guards.compliance import Compliance, StatedPurpose
from gateway.guards.medical import Medical
from gateway.guards.port import Exchange
from gateway.guards.registry import ALL


def exchange(prompt, answer=None, placeholders=(), purpose=Purpose.TREATMENT):
    return Exchange(
        Prompt((Message("user", prompt),)), purpose, "unsure", frozenset(placeholders), answer
    )


def pointed_at(guard, asked):
    """The pieces of the answer that the evidence points at; the verdict fails iff there are any."""
    verdict = guard.check(asked)
    assert verdict.stage == guard.name
    assert verdict.passed == (not verdict.evidence)
    return [asked.answer[each["start"] : each["end"]] for each in verdict.evidence]


# --- compliance ---------------------------------------------------------------------------------

LEAKS = [
    # prompt, answer, what is pointed at
    ("See <PERSON_1>.", "<PERSON_1> is well.", []),
    ("See <PERSON_1>.", "<PERSON_2> is well.", ["<PERSON_2>"]),
    ("See <PERSON_1:k7f3>.", "<PERSON_1:k7f3> and <PERSON_1:zzzz>", ["<PERSON_1:zzzz>"]),
    ("No values.", "Use <b>bold</b> and x <A_1", []),
    ("Call me.", "Call 555-123-4567.", ["555-123-4567"]),
    ("Call (555) 123-4567.", "Call 555-123-4567.", []),
    ("Call me.", "Call +44 20 7946 0958 now", ["+44 20 7946 0958"]),
    ("A note.", "SSN 078-05-1120.", ["078-05-1120"]),
    ("A note.", "Write to jane.roe@example.org.", ["jane.roe@example.org"]),
    ("Card?", "4111 1111 1111 1111", ["4111 1111 1111 1111"]),
    ("A note.", "IBAN GB82 WEST 1234 5698 7654 32.", ["GB82 WEST 1234 5698 7654 32"]),
    ("A note.", "BP 120/80, 12.5 mg, 2024-05-06, room 12-34, 1,000,000 cells", []),
    ("A note.", "", []),
]


@pytest.mark.parametrize(("prompt", "answer", "expected"), LEAKS)
def test_compliance_points_at_identifiers_that_are_new(prompt, answer, expected):
    """Only what the prompt did not contain, in whatever spelling, is pointed at."""
    assert pointed_at(Compliance(), exchange(prompt, answer)) == expected


def test_placeholders_that_were_issued_are_known_wherever_they_stand():
    """The mapping may know a placeholder from a part of the prompt that is no message."""
    asked = exchange("A note.", "<PERSON_7> is well.", placeholders=["<PERSON_7>"])
    assert Compliance().check(asked).passed


def test_arguments_of_calls_in_the_history_count_as_prompt():
    """A number that a tool was called with is not new."""
    call = ToolCall("c1", "dial", '{"to": "555-123-4567"}')
    messages = (Message("assistant", None, tool_calls=(call,)), Message("user", "And?"))
    asked = Exchange(Prompt(messages), Purpose.TREATMENT, "unsure", answer="Call 555-123-4567.")
    assert Compliance().check(asked).passed


PURPOSES = [
    ("Write a promotional email to all patients about our new clinic.", True),
    ("Draft a marketing campaign for statins.", True),
    ("Promote the check-up to our former clients.", True),
    ("Prepare a newsletter for our patients.", True),
    ("The drug received marketing authorisation in 2019.", False),
    ("Write a letter to the patient about the result.", False),
    ("Exercise promotes health in patients.", False),
    ("She works in sales and advertising.", False),
]


@pytest.mark.parametrize(("text", "failed"), PURPOSES)
def test_marketing_under_another_purpose_is_pointed_out(text, failed):
    """The purpose stage reads the last user message for cues of marketing."""
    assert StatedPurpose().check(exchange(text)).passed is not failed
    assert StatedPurpose().check(exchange(text, purpose=Purpose.MARKETING)).passed


# --- citations ------------------------------------------------------------------------------------

BRIEF = (
    "In Oakfield v. Birch, 410 U.S. 113, they read 42 U.S.C. \u00a7 1983 and Article 6(1)(a).\n"
    "Application no. 18403/91, ECLI:EU:C:2014:317, case 1:20-cv-01234, <PERSON_1> v. State."
)
CITED = [
    # answer, what is pointed at
    ("Oakfield v. Birch governs.", []),
    ("See Oakfield v. Birch; under Article 6 the claim stands.", []),
    ("OAKFIELD is no citation, nor is 6(1).", []),
    ("In <PERSON_1> v. State the court agreed.", []),
    ("42 U.S.C.\n\u00a7 1983 and 410 U. S. 113 apply.", []),
    ("Fenwick v. Maple governs.", ["Fenwick v. Maple"]),
    ("See Oakfield v. Maple.", ["Oakfield v. Maple"]),
    ("It is settled by 347 U.S. 483.", ["347 U.S. 483"]),
    (
        "45 CFR 164.514(b) and 42 U.S.C. \u00a7 1985(3) say so.",
        ["45 CFR 164.514(b)", "42 U.S.C. \u00a7 1985(3)"],
    ),
    ("Article 6(1)(f) applies.", ["Article 6(1)(f)"]),
    ("Application no. 18403/92 is similar.", ["no. 18403/92"]),
    ("ECLI:EU:C:2015:650 is later.", ["ECLI:EU:C:2015:650"]),
    ("Docket 2:21-cr-00042 is open.", ["2:21-cr-00042"]),
    ("[2019] UKSC 41 decided it.", ["[2019] UKSC 41"]),
    ("The weather was fine, v. good indeed.", []),
    ("", []),
]


@pytest.mark.parametrize(("answer", "expected"), CITED)
def test_citations_that_the_prompt_does_not_hold_are_unverified(answer, expected):
    """Names, numbers and statutes count as verified only where the prompt has them."""
    assert sorted(pointed_at(Citations(), exchange(BRIEF, answer))) == sorted(expected)


def test_a_text_never_contradicts_itself():
    """An answer that repeats the prompt cites nothing new."""
    assert Citations().check(exchange(BRIEF, BRIEF)).passed


# --- medical --------------------------------------------------------------------------------------

NOTE = "Ramipril 5 mg daily, insulin 10-12 units, potassium 4,1 mmol/L, 1,000 ml saline, SpO2 97%."
QUANTITIES = [
    ("Takes ramipril 5 mg.", []),
    ("Takes ramipril 5.0mg.", []),
    ("Potassium 4.1 mmol/l, saline 1000 mL, SpO2 97 %, 12 units.", []),
    ("Takes ramipril 50 mg.", ["50 mg"]),
    ("Takes ramipril 5 mcg.", ["5 mcg"]),
    ("Takes 5 \u00b5g.", ["5 \u00b5g"]),
    ("Potassium 1.4 mmol/L", ["1.4 mmol/L"]),
    ("Born 1950, room 12, 3 findings.", []),
    ("", []),
]


@pytest.mark.parametrize(("answer", "expected"), QUANTITIES)
def test_quantities_that_the_prompt_does_not_hold_are_unsupported(answer, expected):
    """Number and unit must both be there; spelling may differ."""
    assert pointed_at(Medical(), exchange(NOTE, answer)) == expected


# --- all ------------------------------------------------------------------------------------------

LONG = {
    "letters": "a" * 100_000,
    "capitals": "A" * 100_000,
    "names": "Oak Elm " * 12_000,
    "versus": "A v. B " * 14_000,
    "digits": "1" * 100_000,
    "digit groups": "555-12 " * 14_000,
    "placeholders": "<PERSON_1> " * 9_000,
    "open brackets": "<A_" * 33_000,
    "base64": "QUJD" * 25_000,
    "at signs": "a@" * 50_000,
    "sections": "\u00a7 1(a)(b" * 11_000,
    "spaces": " " * 100_000,
    "marks": "e\u0301\u200b" * 33_000,
}


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_hundred_thousand_characters_of_anything_are_answered(name, text):
    """No text makes a guard hang or fail (the test's time limit is the judge)."""
    verdict = ALL[name].check(exchange(text, text, purpose=Purpose.LITIGATION))
    assert verdict.stage == name
