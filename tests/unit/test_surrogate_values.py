"""What surrogates look like, kind by kind, and what of them leads back from an answer."""

from __future__ import annotations

import re

import pytest

from gateway.pii.forms import fold
from gateway.pii.mask import Value
from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.restore import restore_json, restore_text
from gateway.pii.surrogates import pools
from gateway.pii.surrogates.dates import Shift
from gateway.pii.surrogates.draw import Draw
from gateway.pii.surrogates.issue import Surrogates
from gateway.pii.surrogates.numbers import passes

TAG = "k7f3"
KEYS = [bytes([n]) * 32 for n in range(8)]


def made(value: str, entity_type: str, key: bytes = KEYS[0]) -> str | None:
    surrogate = Surrogates(key).made(value, entity_type, number=False)
    return None if surrogate is None else surrogate.text


SHAPES = [
    ("PERSON", "Anna Berg", r"[A-Z]\w+ [A-Z]\w+"),
    ("PERSON", "BERG, ANNA", r"[A-Z]+, [A-Z]+"),
    ("PERSON", "anna berg", r"[a-z]+ [a-z]+"),
    ("PERSON", "Dr. A. Berg-Olsen Jr.", r"Dr\. [A-Z]\. \w+-\w+ Jr\."),
    ("PERSON", "Ludwig van der Berg", r"\w+ van der \w+"),
    ("PERSON", "Иван Петров", r"[^\Wa-z]{3,} [^\Wa-z]{3,}"),
    ("ORGANIZATION", "Lowell Freight Inc.", r"[A-Z]\w+ Freight Inc\."),
    ("ORGANIZATION", "Klinikum Lindenau", r"Klinikum [A-Z]\w+"),
    ("LOCATION", "12 Elm Street, Apt 4B", r"\d\d \w+ Street, Apt \d[A-Z]"),
    ("LOCATION", "Lindenweg 4b, Aalen", r"[A-Z]\w+weg \d[a-z], \w+"),
    ("ZIP_CODE", "02139", r"00[0-4]\d\d"),
    ("ZIP_CODE", "02139-4307", r"00[0-4]\d\d-\d{4}"),
    ("ZIP_CODE", "SW1A 1AA", r"[XVQ][A-Z]\d[A-Z] \d[A-Z]{2}"),
    ("PHONE_NUMBER", "(617) 726-2000", r"\(\d{3}\) 555-01\d\d"),
    ("PHONE_NUMBER", "+1 617 726 2000", r"\+1 \d{3} 555 01\d\d"),
    ("PHONE_NUMBER", "01 42 34 56 78", r"01 99 00 \d\d \d\d"),
    ("PHONE_NUMBER", "+49 30 9018207", r"\+49 30 23125\d\d"),
    ("PHONE_NUMBER", "+34 612 345 678", r"\+34 000 \d{3} \d{3}"),
    ("EMAIL_ADDRESS", "anna.berg7@ward.test", r"[a-z]+\.[a-z]+\d@example\.(?:com|net|org)"),
    ("URL", "https://ward.test/p/anna", r"https://www\d+\.example\.(?:com|net|org)/\w/\w{4}"),
    ("IP_ADDRESS", "10.20.30.40", r"(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+"),
    ("DEVICE_ID", "3C:22:FB:12:34:56", r"00:00:5E:00:53:[0-9A-F]{2}"),
    ("US_SSN", "078-05-1120", r"9\d\d-(?:0[1-9]|[1-4]\d)-\d{4}"),
    ("ID_NUMBER", "078-05-1120", r"9\d\d-(?:0[1-9]|[1-4]\d)-\d{4}"),
    ("IBAN_CODE", "DE89 3704 0044 0532 0130 00", r"DE\d\d(?: \d{4}){4} \d\d"),
    ("CREDIT_CARD", "4111-1111-1111-1111", r"4\d{3}(?:-\d{4}){3}"),
    ("MEDICAL_RECORD", "MRN-7186888", r"[A-Z]{3}-\d{7}"),
    ("LICENSE", "1234567893", r"[1-9]\d{9}"),
    ("VEHICLE_ID", "1HGCM82633A004352", r"\d[A-Z]{4}\d{5}[A-Z]\d{6}"),
    ("USERNAME", "@anna_77", r"@[a-z]+_\d\d"),
]
CHECKED = {"US_SSN", "IBAN_CODE", "CREDIT_CARD", "MEDICAL_RECORD", "LICENSE", "VEHICLE_ID"}
"""The kinds that no range is kept for; the others lie where nothing is issued."""


@pytest.mark.parametrize(("entity_type", "value", "shape"), SHAPES)
def test_a_surrogate_has_the_form_of_its_value(entity_type, value, shape):
    """Order, case, separators and kind stay; no number passes a check, whatever the secret."""
    for key in KEYS:
        text = made(value, entity_type, key)
        assert text is not None
        assert re.fullmatch(shape, text), text
        assert text != value
        assert made(value, entity_type, key) == text
    if entity_type in CHECKED:
        assert not any(passes(made(value, entity_type, key) or "") for key in KEYS)


@pytest.mark.parametrize(
    ("entity_type", "value"),
    [
        ("PERSON", "J.D."),
        ("PERSON", "王小明"),
        ("ORGANIZATION", "the General Hospital"),
        ("LOCATION", "Room 412"),
        ("AGE", "93"),
        ("SECRET", "hunter2hunter2"),
        ("MEDICAL_RECORD", "417"),
        ("DATE_TIME", "9-12 April 2021"),
        ("DATE_TIME", "Q3 2021"),
        ("YEAR", "2021"),
    ],
)
def test_what_an_answer_could_hold_by_chance_gets_none(entity_type, value):
    """Short things, ranges, and what a wrong value of would mislead keep their placeholder."""
    assert made(value, entity_type) is None


def test_the_checks_are_those_of_the_recognizers():
    """A number that is somebody's is recognised as passing: nothing of it is given out."""
    assert {"luhn", "npi", "iban", "vin", "dea"} <= CHECKS.keys()
    for number in ("4111111111111111", "DE89 3704 0044 0532 0130 00", "1234567893"):
        assert passes(number)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("Frau Lehmann, Sabine", pools.FEMALE), ("Mr. Kim Berg", pools.MALE), ("Olga", pools.FEMALE)],
)
def test_names_agree_in_sex(value, kind):
    """The title says it, else a list of first names."""
    for key in KEYS:
        text = made(value, "PERSON", key) or ""
        first = text.split()[-1] if "," in text or " " not in text else text.split()[1]
        assert pools.sexes()[fold(first)] == kind


def test_forms_relatives_and_addresses_share_words():
    """One word has one surrogate: the model sees one person, one family, one mailbox."""
    issue = Surrogates(KEYS[1])

    def words(value: str, entity_type: str = "PERSON") -> list[str]:
        surrogate = issue.made(value, entity_type, number=False)
        assert surrogate is not None
        return re.findall(r"[^\W\d_]+", surrogate.text)

    first, last = words("Anna Berg")
    assert words("BERG, ANNA") == [last.upper(), first.upper()]
    assert words("Ms. Berg") == ["Ms", last]
    assert words("A. Berg") == [first[0], last]
    assert words("Paul Berg")[1] == last
    assert words("anna.berg@ward.test", "EMAIL_ADDRESS")[:2] == [first.lower(), last.lower()]
    assert words("Berg GmbH", "ORGANIZATION") == [last, "GmbH"]


@pytest.mark.parametrize("key", KEYS[:4])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 March 2021", "19 March 2021"),
        ("March 12th, 2021", "2021-03-12"),
        ("Monday, 12 Mar 2021", "12/03/2021"),
        ("3. Mai 2021", "10.05.2021"),
        ("3 de mayo de 2021", "1er mai 2021"),
        ("Feb 3", "2021-03-12T14:30:00Z"),
        ("March 2021", "13/04/21 14:30"),
    ],
)
def test_dates_keep_their_form_and_move_by_whole_weeks(key, one, other):
    """Letters stay letters and figures figures; weekday and time of day stay true."""
    shift = Shift(Draw(key))
    assert shift.days % 7 == 0
    assert 28 <= abs(shift.days) <= 364
    for value in (one, other):
        moved = shift.shifted(value, day_first=True)
        assert moved not in (None, value)
        kinds = [re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "1", t)) for t in (value, moved or "")]
        assert kinds[0] == kinds[1]
    assert (shift.shifted("12:30 on 12 March 2021", day_first=True)) is None


DAYS = {
    "13 August 2021": Value("12 March 2021", "DATE_TIME", True, surrogate_for="<DATE_TIME_1>"),
    "08/05/2021": Value("03/04/2021", "DATE_TIME", True, surrogate_for="<DATE_TIME_2>"),
    "Jan 9": Value("Aug 8", "DATE_TIME", False, surrogate_for="<DATE_TIME_3>"),
    "Rachel Grimes": Value("Anna Berg", "PERSON", True, surrogate_for="<PERSON_1>"),
    "Grimes": Value("Berg", "PERSON", True, surrogate_for="<PERSON_1>"),
    "48213377": Value("12345678", "MEDICAL_RECORD", True, number=True, surrogate_for="<M_1>"),
}


@pytest.mark.parametrize(
    ("answer", "restored", "unmapped"),
    [
        ("Since 13 August 2021.", "Since 12 March 2021.", 0),
        ("Since 2021-08-13T08:00.", "Since 2021-03-12T08:00.", 0),
        ("Since August 13th", "Since March 12th", 0),
        ("In August 2021", "In March 2021", 0),  # both dates of August are
        ("Aug 5, 2021; 8/5/21", "Mar 4, 2021; 3/4/21", 0),
        ("13-15 August 2021", "13-15 August 2021", 1),
        ("Until 14 August 2021", "Until 14 August 2021", 1),
        ("on Jan 9", "on Jan 9", 0),
        ("Rachel Grimes's, Grimes, Grimesby", "Anna Berg's, Berg, Grimesby", 0),
        ("https://x.example/Grimes Grimes", "https://x.example/Grimes Berg", 0),
        ("<PERSON_1>", "<PERSON_1>", 0),
    ],
)
def test_what_leads_back_from_an_answer(answer, restored, unmapped):
    """Whole words, dates in any form that only one can be meant by; the rest stays, counted."""
    text, report = restore_text(answer, DAYS, TAG)
    assert text == restored
    assert report.unmapped == unmapped


def test_numbers_lead_back_as_numbers():
    """As a string of its own or bare; a key stays a string, and a part of a number stays."""
    answer = '{"a": "48213377", "b": 48213377, "48213377": [48213377], "c": 148213377, "d": 4.5}'
    restored, report = restore_json(answer, DAYS, TAG)
    assert restored == (
        '{"a": 12345678, "b": 12345678, "12345678": [12345678], "c": 148213377, "d": 4.5}'
    )
    assert report.restored == 4
