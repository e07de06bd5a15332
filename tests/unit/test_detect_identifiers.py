"""The truth table of identifiers: published test numbers, found as their type, and near misses."""

from __future__ import annotations

import pytest

from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.checks import CHECKS
from tests.silent import Silent

# Check, a published or computed number that passes it, and whether another last digit fails it.
NUMBERS = [
    ("aadhaar", "2341 2341 2346"),
    ("aba", "021000021"),
    ("abha", "91123456789010"),
    ("australia_abn", "51 824 753 556"),
    ("australia_medicare", "2428778132"),
    ("australia_tfn", "123 456 782"),
    ("austria", "1237 010180"),
    ("baltic", "37605030299"),
    ("baltic", "33309240064"),
    ("belgium", "85.07.30-033.28"),
    ("britain_utr", "1955839661"),
    ("bulgaria", "7523169263"),
    ("bulgaria_foreigner", "7111042925"),
    ("canada_phn", "9698658215"),
    ("canada_sin", "046 454 286"),
    ("cnpj", "11.222.333/0001-81"),
    ("cpf", "111.444.777-35"),
    ("czech", "736028/5163"),
    ("denmark", "211062-5629"),
    ("emso", "0101006500006"),
    ("finland", "131052-308T"),
    ("france", "2 55 08 14 168 025 38"),
    ("france_siren", "73282932000074"),
    ("france_tax", "30 23 217 600 053"),
    ("germany_card", "T220001293"),
    ("greece", "01013099997"),
    ("greece_tax", "094259216"),
    ("health_identifier", "8003608166690503"),
    ("hungary_health", "111111110"),
    ("hungary_tax", "8071592153"),
    ("iban", "gb29 nwbk 6016 1331 9268 19"),
    ("imei", "490154203237518"),
    ("ireland", "1234567T"),
    ("ireland", "1234567FA"),
    ("latvia", "161175-19997"),
    ("luxembourg", "1893120105732"),
    ("mod_11_10", "33392005961"),
    ("mrz", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
    ("netherlands", "111222333"),
    ("nhs", "943 476 5919"),
    ("norway", "15108695088"),
    ("norway_company", "988077917"),
    ("npi", "1234567893"),
    ("poland", "44051401359"),
    ("poland_card", "ABA300000"),
    ("poland_nip", "123-456-32-18"),
    ("portugal_card", "00000000 0 ZZ4"),
    ("portugal_nif", "501964843"),
    ("romania", "1630615123457"),
    ("spain_cif", "A58818501"),
    ("sweden", "811228-9874"),
    ("switzerland", "756.9217.0769.85"),
    ("switzerland_company", "CHE-100.155.212"),
    *(
        ("vat", number)
        for number in (
            "ATU13585627", "BE0428759497", "BG175074752", "CY10259033P", "CZ25123891",
            "DE136695976", "DK13585628", "EE100931558", "EL094259216", "ESB58378431",
            "FI20774740", "FR40303265045", "GB980780684", "HR33392005961", "HU12892312",
            "IE6433435F", "IE8D79739I", "IT00743110157", "LT119511515", "LT100001919017",
            "LU15027442", "LV40003521600", "MT11679112", "NL004495445B01", "PL8567346215",
            "PT501964843", "RO18547290", "SE123456789701", "SI50223054", "SK2022749619",
        )
    ),
]  # fmt: skip

FOUND = [
    # Persons, by a check that is strong enough alone.
    ("NATIONAL_ID", "1237 010180"),
    ("NATIONAL_ID", "85.07.30-033.28"),
    ("NATIONAL_ID", "736028/5163"),
    ("NATIONAL_ID", "211062-5629"),
    ("NATIONAL_ID", "37605030299"),
    ("NATIONAL_ID", "161175-19997"),
    ("NATIONAL_ID", "131052-308T"),
    ("NATIONAL_ID", "01013099997"),
    ("NATIONAL_ID", "1893120105732"),
    ("NATIONAL_ID", "15108695088"),
    ("NATIONAL_ID", "1630615123457"),
    ("NATIONAL_ID", "0101006500006"),
    ("NATIONAL_ID", "811228-9874"),
    ("NATIONAL_ID", "756.9217.0769.85"),
    ("NATIONAL_ID", "111.444.777-35"),
    ("NATIONAL_ID", "1234567FA"),
    ("TAX_ID", "11.222.333/0001-81"),
    ("TAX_ID", "51 824 753 556"),
    ("TAX_ID", "ATU13585627"),
    ("TAX_ID", "NL004495445B01"),
    ("TAX_ID", "FR 40 303 265 045"),
    ("TAX_ID", "CHE-100.155.212"),
    ("TAX_ID", "12-3456789"),
    ("HEALTH_PLAN", "8003608166690503"),
    # Documents and things.
    ("PASSPORT", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
    ("DEVICE_ID", "(01)00844588003288(17)141120(10)7654321D(21)10987654d321"),
    ("DEVICE_ID", "490154203237518"),
    ("DEVICE_ID", "35-209900-176148-1"),
    ("VEHICLE_ID", "1M8GDM9AXKP042788"),
    ("LICENSE", "D123-4567-8901"),
    ("LICENSE", "1234567893"),
    ("ID_NUMBER", "550e8400-e29b-41d4-a716-446655440000"),
    ("BIOMETRIC", "BIO-FP-a3f8c2e1d5"),
    ("BIOMETRIC", "face_scan_0412.jpg"),
    ("IBAN_CODE", "gb29 nwbk 6016 1331 9268 19"),
    ("CREDIT_CARD", "4111_1111_1111_1111"),
    ("CREDIT_CARD", "4111.1111.1111.1111"),
    ("ACCOUNT_NUMBER", "CHASUS33"),
    ("CRYPTO", "0x742d35Cc6634C0532925a3b844Bc454e4438f44e"),
    ("SECRET", "sk_test_abc123def456"),
    ("SECRET", "eyJhbGc"),
    ("PHONE_NUMBER", "555-123-4567x9"),
    ("PHONE_NUMBER", "914 90 66 60"),
    # Codes of no known scheme.
    ("ID_NUMBER", "HIN-456789"),
    ("ID_NUMBER", "P7V124747"),
    ("ID_NUMBER", "123412341234123412"),
]

ANNOUNCED = [
    ("his passport, issued in Lima, is X1234567", "PASSPORT", "X1234567"),
    ("Kennzeichen M-AB 1234", "VEHICLE_ID", "M-AB 1234"),
    ("licence plate: AB12 CDE", "VEHICLE_ID", "AB12 CDE"),
    ("SSN ending in 6789", "US_SSN", "6789"),
    ("SSN 000-00-0000", "US_SSN", "000-00-0000"),
    ("ssn_078-05-1120", "US_SSN", "078-05-1120"),
    ("burgerservicenummer 111222333", "NATIONAL_ID", "111222333"),
    ("sort code 12-34-56", "ACCOUNT_NUMBER", "12-34-56"),
    ("routing 021000021", "ACCOUNT_NUMBER", "021000021"),
    ("MAC 001a2b3c4d5e", "DEVICE_ID", "001a2b3c4d5e"),
    ("ping 8.8.8.8", "IP_ADDRESS", "8.8.8.8"),
    ("fingerprint template FT-88231-A", "BIOMETRIC", "FT-88231-A"),
    ('"db_user": "examplename9"', "USERNAME", "examplename9"),
]

CLEAN = [
    "plaquetas 251000/ul; 15 ml/min/1,73 m2; 3 mg/dl; C3 y C4 bajos",
    "fijado con cuatro pines femorales y dos pines distales",
    "version 1.2.3.4, section 4.2.1.1, 10.15 and 3.14159",
    "sodium 138, potassium 4.1, chloride 104, BUN 14, ferritin 1250, BNP 18000",
    "NCT01234567, rs1801133, GSK1120212 and BMS986165",
    "a total of 1.234.567,89 EUR, TRL 150,000,000 and USD 2500000",
    "ICD-10 S72.001A, CPT 99213, LOINC 2345-7, HCPCS J1885, ATC A10BA02",
    "SNOMED 10811161000119107 and NDC 00093720110",
    "42 USC 1395, 29 CFR 1910.1200, ISO 9001, DSM-5, COVID-19",
    "image 1080x1920, ratio 16:9, at 12:30:45, 10 x 12 x 15 mm",
]


@pytest.fixture(scope="module")
def detector() -> PresidioDetector:
    return PresidioDetector(tagger=Silent())


@pytest.mark.parametrize(("name", "number"), NUMBERS, ids=[f"{n}-{v}" for n, v in NUMBERS])
def test_a_check_passes_what_is_published(name, number):
    """A published number passes; of those with another digit in one place, most do not."""
    assert CHECKS[name](number)
    places = [i for i, c in enumerate(number) if c.isdecimal()]
    changed = [number[:i] + str((int(number[i]) + 1) % 10) + number[i + 1 :] for i in places]
    assert sum(map(CHECKS[name], changed)) * 3 <= len(changed)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("value", ["", "-", "A", "9", "é²", "A1", "0" * 40, "ÄÖÜ123456789"])
def test_a_check_takes_any_text(name, value):
    """Text of no scheme's shape is told from a number without an error."""
    assert CHECKS[name](value) in {True, False}


@pytest.mark.parametrize(("kind", "number"), FOUND, ids=[row[1] for row in FOUND])
def test_a_number_is_found_without_a_label(detector, kind, number):
    """The number counts alone, is covered whole, and has the type it is of."""
    text = f"It says {number} there."
    (findings,) = detector.detect([text])
    assert [(f.entity_type, text[f.start : f.end]) for f in findings] == [(kind, number)]


@pytest.mark.parametrize(("text", "kind", "number"), ANNOUNCED, ids=[r[0][:30] for r in ANNOUNCED])
def test_a_number_is_found_beside_its_word(detector, text, kind, number):
    """A number that says little by itself is found where a word says what it is."""
    (findings,) = detector.detect([text])
    assert (kind, number) in [(f.entity_type, text[f.start : f.end]) for f in findings]


@pytest.mark.parametrize("text", CLEAN)
def test_ordinary_numbers_are_left_alone(detector, text):
    """Measurements, amounts, codes of vocabularies and versions identify nobody."""
    (findings,) = detector.detect([text])
    assert [(f.entity_type, text[f.start : f.end]) for f in findings] == []


def test_a_weak_check_proves_nothing(detector):
    """One number in ten passes the check of an NPI: the tripwire must not stop for it."""
    (found,), (proven,) = detector.detect(["1234567893", "756.9217.0769.85"])
    assert not found.source.endswith("+checksum")
    assert proven.source.endswith("+checksum")
