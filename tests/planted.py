"""Invented personal data to plant, the forms it could leak in, and where to look for it.

Every value is made up: names of no person, numbers that are published test numbers or outside
what is issued.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

NAME = "Zephyrina Quorvex"
MRN = "84720193"
SSN = "078-05-1120"  # printed on sample cards in 1938, void since
PHONE = "212-555-0147"  # 555-01xx is set aside for fiction
EMAIL = "z.quorvex@example.org"
CARD = "4111 1111 1111 1111"  # a published test number

LETTER = (
    f"Patient: Mrs. {NAME}. MRN: {MRN}. SSN: {SSN}. Phone: {PHONE}. E-mail: {EMAIL}. Card: {CARD}."
)
CERTAIN = 8
"""Characters of base64 below which a piece stands in megabytes of ciphertext by chance."""

VALUES = (NAME, "Quorvex", MRN, SSN, PHONE, EMAIL, CARD)


def forms(value: str) -> Iterator[bytes]:
    """The bytes of a value raw, in UTF-16, JSON, URL and base64 form (DESIGN §4, promise 2)."""
    raw = value.encode()
    yield raw
    yield value.encode("utf-16-le")
    yield value.encode("utf-16-be")
    yield json.dumps(value)[1:-1].encode()
    yield quote(value).encode()
    yield quote(value, safe="").replace("%20", "+").encode()
    for shift in range(3):  # base64 depends on where in a group of three the value begins
        padded = base64.b64encode(b"\0" * shift + raw)
        piece = padded[4 if shift else 0 : (len(padded) // 4 - 1) * 4]
        if len(piece) >= CERTAIN:
            yield piece
    yield raw.hex().encode()


def leaks(data: bytes, values: Iterable[str] = VALUES) -> list[str]:
    """The values that stand in ``data`` in any form."""
    return [value for value in values if any(form in data for form in forms(value))]


def leaking_files(folder: Path, values: Iterable[str] = VALUES) -> list[str]:
    """Files under ``folder`` in which a value stands, with the value."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += [f"{path.name}: {value}" for value in leaks(path.read_bytes(), values)]
    return found
