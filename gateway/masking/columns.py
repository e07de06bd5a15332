"""Columns, keys and elements whose name tells what their values are, whatever these look like."""

from __future__ import annotations

import unicodedata
from types import MappingProxyType

_NAMES = {
    "PERSON": "firstname lastname middlename givenname familyname surname fullname maidenname"
    " patientname clientname employeename personname contactname physicianname providername"
    " nameofpatient given family forename nombre apellido apellidos nom prenom nomdefamille"
    " vorname nachname familienname geburtsname",
    "LOCATION": "street streetaddress address addressline addressline1 addressline2 homeaddress"
    " mailingaddress city town village county direccion calle ciudad adresse rue ville strasse"
    " anschrift wohnort ort",
    "ZIP_CODE": "zip zipcode postcode postalcode codigopostal codepostal plz postleitzahl",
    "DATE_TIME": "birthdate dateofbirth dob fechadenacimiento datedenaissance geburtsdatum"
    " admissiondate dischargedate dateofdeath",
    "PHONE_NUMBER": "phone phonenumber telephone mobile mobilephone cellphone fax telefono"
    " telefon handynummer",
    "EMAIL_ADDRESS": "email emailaddress correo courriel",
    "US_SSN": "ssn socialsecuritynumber",
    "MEDICAL_RECORD": "mrn medicalrecordnumber patientid patientnumber chartnumber",
}
_TYPES = MappingProxyType(
    {name: entity_type for entity_type, names in _NAMES.items() for name in names.split()}
)
_EMPTY = frozenset(
    ("", *"na none null nil unknown unk yes no true false other self".split())  # noqa: SIM905
)
_YEAR_DIGITS = 4


def type_of(label: str | None, value: str) -> str | None:
    """The entity type of a value by the name it stands under; None where that says nothing.

    A year alone is no date (45 CFR 164.514(b)(2)(i)(C)), and "unknown" is nobody's name.
    """
    entity_type = None if label is None else _TYPES.get(_bare(label))
    said = _bare(value)
    year = entity_type == "DATE_TIME" and said.isdecimal() and len(said) <= _YEAR_DIGITS
    return None if said in _EMPTY or year else entity_type


def _bare(text: str) -> str:
    """Letters and digits alone, without accents and capitals: ``Prénom`` as ``prenom``."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).lower() if c.isalnum())
