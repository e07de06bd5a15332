"""The entity types: one stable vocabulary, whatever recognizer found the value.

Policies, placeholders and records name these and no others. A type may be added; none is renamed
or removed. The clause after each is the identifier of 45 CFR 164.514(b)(2)(i) it falls under, or
the article of the GDPR. A type that no recognizer finds yet may be named by a policy already.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ENTITY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "PERSON": "Name of a person, in full or in part (A).",
        "LOCATION": "Address or place below a state (B).",
        "ZIP_CODE": "Postal code (B).",
        "DATE_TIME": "Date more exact than a year (C).",
        "AGE": "Age over 89 years (C).",
        "PHONE_NUMBER": "Telephone or fax number (D, E).",
        "EMAIL_ADDRESS": "E-mail address (F).",
        "US_SSN": "Social Security number of the US (G).",
        "MEDICAL_RECORD": "Number of a medical record, patient, specimen or encounter (H).",
        "HEALTH_PLAN": "Number of a health plan, member, policy, claim or authorization (I).",
        "ACCOUNT_NUMBER": "Number of an account, invoice or customer (J).",
        "CREDIT_CARD": "Payment card number (J).",
        "IBAN_CODE": "International bank account number (J).",
        "CRYPTO": "Address of a crypto-currency wallet (J).",
        "LICENSE": "Number of a licence or certificate: driver, NPI, DEA, bar (K).",
        "VEHICLE_ID": "Vehicle identification number or licence plate (L).",
        "DEVICE_ID": "Serial number, IMEI, UDI or hardware address of a device (M).",
        "URL": "Web address (N).",
        "IP_ADDRESS": "Internet address (O).",
        "BIOMETRIC": "Reference to a biometric record or full-face photograph (P, Q).",
        "NATIONAL_ID": "National identity or social insurance number (R; GDPR Art. 87).",
        "TAX_ID": "Tax or company registration number (R).",
        "PASSPORT": "Number of a passport or travel document (R).",
        "CASE_NUMBER": "Number of a case, docket, file, matter or application (R).",
        "USERNAME": "Login name or handle (R; GDPR Art. 4(1)).",
        "ID_NUMBER": "Any other unique number or code (R).",
        "ORGANIZATION": "Name of an employer, party or facility (GDPR Art. 4(1), quasi).",
        "SECRET": "Password, API key, token or private key (GDPR Art. 32).",
        "REGION": "State, province, country or other place at or above a state; weak.",
        "YEAR": "Bare year, decade or season with its year; weak.",
        "DEMOGRAPHIC": "Age up to 89, sex, origin, occupation, family; weak.",
        "AUTHORITY": "Court, ministry, police or other public body; weak.",
    }
)

WEAK = frozenset({"REGION", "YEAR", "DEMOGRAPHIC", "AUTHORITY"})
"""Types that say nothing alone: found and offered to policy, to be kept unless it says otherwise.

What they are is spelled out in docs/spec/entities.md.
"""

CHECKSUM_MARK = "+checksum"
"""Ends the ``source`` of a finding whose value passed a checksum (``tripwire.py`` asks)."""
