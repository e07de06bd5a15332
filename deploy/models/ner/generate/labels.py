"""The type each slot of a template is labelled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_BY_LABEL: Final[Mapping[str, str]] = {
    "PERSON": "person_name",
    "LOCATION": "address street city county hood landmark room coordinates",
    "REGION": "state state_abbr country",
    "ZIP_CODE": "zip",
    "DATE_TIME": "date dob date_num date_long month_year month_day holiday quarter datetime date_iso",
    "YEAR": "year decade season_year",
    "AGE": "age90",
    "DEMOGRAPHIC": "age age_phrase nationality occupation marital kin",
    "ORGANIZATION": "facility facility_nick nursing_home pharmacy school company insurer bank law_firm"
    " church union club employer",
    "AUTHORITY": "court agency police public_program",
    "PHONE_NUMBER": "phone fax pager ext",
    "EMAIL_ADDRESS": "email",
    "URL": "url",
    "USERNAME": "username",
    "IP_ADDRESS": "ip",
    "US_SSN": "ssn ssn4",
    "MEDICAL_RECORD": "mrn encounter accession study_id",
    "HEALTH_PLAN": "member policy claim auth rx group",
    "ACCOUNT_NUMBER": "account invoice routing",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "CRYPTO": "crypto",
    "LICENSE": "npi dea license driver bar_number",
    "VEHICLE_ID": "vin plate",
    "DEVICE_ID": "serial imei mac udi lot",
    "BIOMETRIC": "biometric",
    "NATIONAL_ID": "national_id",
    "TAX_ID": "tax_id",
    "PASSPORT": "passport",
    "CASE_NUMBER": "docket case_number ecli bates",
    "ID_NUMBER": "employee_id uuid id_number",
    "SECRET": "secret",
}

LABELS: Final[Mapping[str, str]] = {
    slot: label for label, slots in _BY_LABEL.items() for slot in slots.split()
}
"""Slot to entity type; ``vocabulary.py`` has every type named here."""

COMPOSITE: Final = frozenset({"address_lines"})
"""Slots made of several labelled values: always productions."""

PERSON_LABELS: Final[Mapping[str, str | None]] = {
    "he": None, "him": None, "his": None, "sex": None, "mf": None,
    "man": "DEMOGRAPHIC", "son": "DEMOGRAPHIC", "mom": "DEMOGRAPHIC", "wife": "DEMOGRAPHIC",
}  # fmt: skip
"""Forms of a person that are no name; every other form is PERSON."""

WEAK: Final = frozenset({"REGION", "YEAR", "DEMOGRAPHIC", "AUTHORITY"})
"""Types that say nothing alone: a text with only these counts as clean."""
