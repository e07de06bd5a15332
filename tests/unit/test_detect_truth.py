"""The truth table of detection: what is found, as what, and what is left alone."""

from __future__ import annotations

import pytest

from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES, WEAK
from tests.silent import Silent

WIDE = "".join(chr(ord(c) + 0xFEE0) for c in "123-45-6789")  # full-width forms

FOUND: list[tuple[str, list[tuple[str, str]]]] = [
    # Names that something announces.
    ("Mrs. Wilson received it.", [("PERSON", "Mrs. Wilson")]),
    ("seen by Dr.Luis Moyano today", [("PERSON", "Luis Moyano")]),
    ("represented by Mr A. Demetriades, a lawyer", [("PERSON", "Mr A. Demetriades")]),
    ("Herr Dr. Max Mustermann", [("PERSON", "Herr Dr. Max Mustermann")]),
    ("Mme Curie et M. Dupont", [("PERSON", "Mme Curie"), ("PERSON", "M. Dupont")]),
    ("la Dra. María Núñez", [("PERSON", "María Núñez")]),
    ("Ms. O'Neil's results", [("PERSON", "Ms. O'Neil")]),
    ("Dr Smith The patient left", [("PERSON", "Smith")]),
    ("Patient: Thomas Wilson, aged", [("PERSON", "Thomas Wilson")]),
    ("patient_name: john smith", [("PERSON", "john smith")]),
    ("lastName: schmidt", [("PERSON", "schmidt")]),
    ("Dear Anna,\nthanks", [("PERSON", "Anna")]),
    ("Sincerely,\nAnna B. Schmidt", [("PERSON", "Anna B. Schmidt")]),
    ("seen by Betty Ross, PA-C", [("PERSON", "Betty Ross")]),
    ("Martha Collins is a 50-year-old female", [
        ("PERSON", "Martha Collins"), ("DEMOGRAPHIC", "50-year-old"),
    ]),
    # Numbers that a label announces.
    ("MRN: MRN-1015952", [("MEDICAL_RECORD", "MRN-1015952")]),
    ("MRN 1234567", [("MEDICAL_RECORD", "1234567")]),
    ("mrn=44556677", [("MEDICAL_RECORD", "44556677")]),
    ("patientMrn: 44556677", [("MEDICAL_RECORD", "44556677")]),
    ("NHC: 368503", [("MEDICAL_RECORD", "368503")]),
    ("policy no. AB-12-3456", [("HEALTH_PLAN", "AB-12-3456")]),
    ("member_id: XYZ123456789", [("HEALTH_PLAN", "XYZ123456789")]),
    ("claim #998877", [("HEALTH_PLAN", "998877")]),
    ("account number 0012345678", [("ACCOUNT_NUMBER", "0012345678")]),
    ("driver's license D1234567", [("LICENSE", "D1234567")]),
    ("passport no. X1234567", [("PASSPORT", "X1234567")]),
    ("application (no. 18403/91)", [("CASE_NUMBER", "18403/91")]),
    ("Case No. 2023-CRIM-9738", [("CASE_NUMBER", "2023-CRIM-9738")]),
    ("docket 1:21-cv-01234-ABC", [("CASE_NUMBER", "1:21-cv-01234-ABC")]),
    ("Aktenzeichen 12 O 345/20", [("CASE_NUMBER", "12 O 345/20")]),
    ("Serial number: PM-99812", [("DEVICE_ID", "PM-99812")]),
    ("employee ID 55121", [("ID_NUMBER", "55121")]),
    ("NASS: 26 63514095", [("NATIONAL_ID", "26 63514095")]),
    # Numbers that their shape or checksum betrays. All are published test numbers.
    ("123-45-6789", [("US_SSN", "123-45-6789")]),  # looks like a sample: masked all the same
    ("078-05-1120", [("US_SSN", "078-05-1120")]),
    ("ssn: 123456789", [("US_SSN", "123456789")]),
    ("4111 1111 1111 1111", [("CREDIT_CARD", "4111 1111 1111 1111")]),
    ("378282246310005", [("CREDIT_CARD", "378282246310005")]),
    ("DE89 3704 0044 0532 0130 00", [("IBAN_CODE", "DE89 3704 0044 0532 0130 00")]),
    ("1HGCM82633A004352", [("VEHICLE_ID", "1HGCM82633A004352")]),
    ("DEA AB1234563", [("LICENSE", "AB1234563")]),
    ("12345678Z", [("NATIONAL_ID", "12345678Z")]),  # Spanish NIF, whatever the language
    ("44051401359", [("NATIONAL_ID", "44051401359")]),  # Polish PESEL
    ("RSSMRA85T10A562S", [("NATIONAL_ID", "RSSMRA85T10A562S")]),  # Italian fiscal code
    ("131052-308T", [("NATIONAL_ID", "131052-308T")]),  # Finnish identity code
    ("AB 12 34 56 C", [("NATIONAL_ID", "AB 12 34 56 C")]),  # British NINO
    ("1EG4-TE5-MK73", [("HEALTH_PLAN", "1EG4-TE5-MK73")]),  # CMS's own sample MBI
    # Ways to reach somebody.
    ("a.b@c-d.org", [("EMAIL_ADDRESS", "a.b@c-d.org")]),
    ("x@host.notatld", [("EMAIL_ADDRESS", "x@host.notatld")]),
    ("call 555-123-4567", [("PHONE_NUMBER", "555-123-4567")]),
    ("+49 30 1234567", [("PHONE_NUMBER", "+49 30 1234567")]),
    ("020 7946 0958", [("PHONE_NUMBER", "020 7946 0958")]),
    ("see https://a.example/x?y=1.", [("URL", "https://a.example/x?y=1")]),
    ("from 10.2.3.44", [("IP_ADDRESS", "10.2.3.44")]),
    ("00:1A:2B:3C:4D:5E", [("DEVICE_ID", "00:1A:2B:3C:4D:5E")]),
    # Dates and ages.
    ("on March 3, 2021", [("DATE_TIME", "March 3, 2021")]),
    ("am 3. März 2021", [("DATE_TIME", "3. März 2021")]),
    ("el 3 de marzo de 2021", [("DATE_TIME", "3 de marzo de 2021")]),
    ("le 3 février 2021", [("DATE_TIME", "3 février 2021")]),
    ("03/04/1956", [("DATE_TIME", "03/04/1956")]),
    ("1956-04-03", [("DATE_TIME", "1956-04-03")]),
    ("In March 2019 she", [("DATE_TIME", "March 2019")]),
    ("a 92-year-old man", [("AGE", "92-year-old")]),
    ("age: 95", [("AGE", "95")]),
    # Places.
    ("123 Main Street, Apt 4", [("LOCATION", "123 Main Street, Apt 4")]),
    ("Hauptstraße 12", [("LOCATION", "Hauptstraße 12")]),
    ("12 rue de la Paix", [("LOCATION", "12 rue de la Paix")]),
    ("Boston, MA 02139", [("LOCATION", "Boston"), ("REGION", "MA"), ("ZIP_CODE", "02139")]),
    ("SW1A 1AA", [("ZIP_CODE", "SW1A 1AA")]),
    # Secrets.
    ("Password: hunter2!", [("SECRET", "hunter2!")]),
    ("AKIAIOSFODNN7EXAMPLE", [("SECRET", "AKIAIOSFODNN7EXAMPLE")]),
    ("key sk-abcdefghijklmnop1234", [("SECRET", "sk-abcdefghijklmnop1234")]),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", [
        ("SECRET", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"),
    ]),
    ("postgres://app:s3cret@db", [("SECRET", "app:s3cret@db")]),
    # Cheap evasions.
    (WIDE, [("US_SSN", WIDE)]),
    ("MRN\u200b: 12\u200b34567", [("MEDICAL_RECORD", "12\u200b34567")]),
    ("123\u201145\u20116789", [("US_SSN", "123\u201145\u20116789")]),
    ("Dr.\u00a0Smith", [("PERSON", "Smith")]),
]  # fmt: skip

CLEAN = [
    "WBC 12.4, 2 weeks ago, 500 mg BID, BP 120/80, Art. 6, § 164.514",
    "HbA1c 7.2 %, sodium 140, K 4.1, SpO2 98 % on RA, creatinine 1.1, eGFR 62",
    "The patient is a 45-year-old female with type 2 diabetes for 12 years.",
    "metformin 1000 mg twice daily since 2015, no fever, 127/80, pulse 72",
    "Father: Prostate cancer, heart disease. Mother: Non-Hodgkin lymphoma.",
    "CC: Right knee pain. HPI: worse on stairs, 7/10 at night.",
    "What does Article 6(1)(f) GDPR require, and how does Section 4.2.11 differ?",
    "Summarise 45 CFR 164.512(e) and 410 U.S. 113 (1973) in five sentences.",
    "Compare Parkinson, Crohn and Down syndrome in children under 12 months.",
    "MR angiography; MS Contin 15 mg; a visit to the Justice Department.",
    "Give 0.5 mL IM, repeat after 10 minutes, at most 3 doses in 24 hours.",
    "Is a policy of 2019 still valid? The record shows 3 cases per 1000.",
    "The password is required and the token expired.",
    "COVID-19, SARS-CoV-2, H1N1, CD4 350, ICD-10 E11.9, T2N1M0, B12 and D3",
    "Revenue rose from 1,200,000 to 1,450,000 euros (12.5 %) between 2018 and 2021.",
    "Draft a clause on liability capped at 100,000 EUR per claim.",
    "Wie hoch ist die Kündigungsfrist nach § 622 BGB bei 12 Jahren?",
    "¿Cuál es la dosis máxima de paracetamol en un adulto de 70 kg?",
    "Quels sont les délais de l'article 1240 du code civil ?",
    "The judge ruled that the contract was void; see clause 12.3.",
    "Titrate to a MAP of 65 and a CVP of 8-12; lactate 2.1 to 1.4 over 6 h.",
    "He may 12 weeks later march on; at ages 40 to 60 the risk doubles.",
    "Which is the better choice: 5/325 or 10/325 tablets?",
    "def add(a: int, b: int) -> int: return a + b  # version 2.2.36",
    "",
    "x",
]


@pytest.fixture(scope="module")
def detector() -> PresidioDetector:
    return PresidioDetector(tagger=Silent())


@pytest.mark.parametrize(("text", "expected"), FOUND, ids=[row[0][:40] for row in FOUND])
def test_what_is_found(detector, text, expected):
    """Each value is found whole, once, as its type, at its offsets in the text as written."""
    (findings,) = detector.detect([text])
    assert [(f.entity_type, text[f.start : f.end]) for f in findings] == expected


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_left_alone(detector, text):
    """Laboratory values, doses, durations, statutes and eponyms are nobody's data."""
    (findings,) = detector.detect([text])
    strong = [f for f in findings if f.entity_type not in WEAK]
    assert [(f.entity_type, text[f.start : f.end]) for f in strong] == []


def test_every_language_runs_every_recognizer(detector):
    """A German tax number in a text said to be English is found: identifiers have no language."""
    text = "My number is 65929970489."
    for language in ("en", "de", "xx", None):
        assert detector.detect([text], language)[0][0].entity_type == "TAX_ID"


def test_a_checksum_is_told(detector):
    """A finding that passed a checksum says so, because the tripwire asks."""
    (found,), (shape,) = detector.detect(["4111 1111 1111 1111", "4111 1111 1111 1112"])
    assert (found.source.endswith("+checksum"), shape.source.endswith("+checksum")) == (True, False)


def test_types_are_of_the_vocabulary(detector):
    """No finding has a type that a policy cannot name."""
    assert detector.entity_types <= set(ENTITY_TYPES)


def test_the_digest_is_of_what_decides():
    """Equal detectors have equal digests; another set of languages is another detector."""
    assert PresidioDetector().digest == PresidioDetector().digest
    assert PresidioDetector(["en"]).digest != PresidioDetector().digest
