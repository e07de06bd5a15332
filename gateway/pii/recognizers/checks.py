"""Checksums of identifiers: pure predicates over the text of a candidate.

Each takes the value as it was written, separators included, and says whether the check digits
agree. A name in ``CHECKS`` is what the ``check`` of a rule in the TOML files refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

_VIN_VALUES = {
    **{str(d): d for d in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VIN_CHECK_POSITION = 8


def _digits(value: str) -> list[int]:
    return [int(c) for c in value if c.isdecimal()]


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    digits = _digits(value)
    doubled = (2 * d - 9 if d > 4 else 2 * d for d in digits[-2::-2])  # noqa: PLR2004
    return len(digits) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def npi(value: str) -> bool:
    """Luhn over the number with the prefix 80840 (CMS, NPI check digit calculation)."""
    digits = "".join(str(d) for d in _digits(value))
    return len(digits) == 10 and luhn("80840" + digits)  # noqa: PLR2004


def dea(value: str) -> bool:
    """DEA registration: d1+d3+d5 + 2*(d2+d4+d6) ends in d7 (21 CFR 1301; DEA practice)."""
    d = _digits(value[2:])
    if len(d) != 7:  # noqa: PLR2004
        return False
    return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]


def vin(value: str) -> bool:
    """49 CFR 565.15(c): weighted sum modulo 11, X for 10."""
    value = value.upper()
    if len(value) != len(_VIN_WEIGHTS) or any(c not in _VIN_VALUES for c in value):
        return False
    rest = sum(_VIN_VALUES[c] * w for c, w in zip(value, _VIN_WEIGHTS, strict=True)) % 11
    return value[_VIN_CHECK_POSITION] == "0123456789X"[rest]


def iban(value: str) -> bool:
    """ISO 13616: MOD 97-10 over the rearranged number."""
    compact = "".join(c for c in value if c.isalnum()).upper()
    if not compact.isascii() or not 15 <= len(compact) <= 34:  # noqa: PLR2004
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def nir(value: str) -> bool:
    """INSEE: key = 97 - (number mod 97); 2A and 2B of Corsica count as 19 and 18."""
    compact = "".join(c for c in value if c.isalnum()).upper()
    compact = compact.replace("2A", "19").replace("2B", "18")
    if len(compact) != 15 or not compact.isdecimal():  # noqa: PLR2004
        return False
    return 97 - int(compact[:13]) % 97 == int(compact[13:])


CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {"luhn": luhn, "npi": npi, "dea": dea, "vin": vin, "iban": iban, "nir": nir}
)
