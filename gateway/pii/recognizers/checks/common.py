"""Schemes that many identifiers share: Luhn, Verhoeff, ISO 7064, weighted sums, dates inside.

Every function is pure and takes plain digits or text; none raises for text of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

_VERHOEFF_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)  # the permutation, applied once per place
_HALF = 5  # order of the rotations in the dihedral group D5
_LEAP = 2000  # a leap year, for dates whose century is not known


def digits(value: str) -> list[int]:
    """Return the ASCII digits of ``value`` in order."""
    return [ord(c) - 48 for c in value if "0" <= c <= "9"]


def compact(value: str) -> str:
    """Return the letters and digits of ``value``, in capitals."""
    return "".join(c for c in value if c.isalnum()).upper()


def weighted(numbers: Sequence[int], weights: Sequence[int]) -> int:
    """Return the sum of products, as far as the shorter of the two goes."""
    return sum(n * w for n, w in zip(numbers, weights, strict=False))


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    ds = digits(value)
    doubled = (2 * d - 9 if d > 4 else 2 * d for d in ds[-2::-2])  # noqa: PLR2004
    return len(ds) > 1 and (sum(ds[-1::-2]) + sum(doubled)) % 10 == 0


def verhoeff(value: str) -> bool:
    """Verhoeff 1969: products in the dihedral group D5, permuted by place from the right."""
    product = 0
    for place, digit in enumerate(reversed(digits(value))):
        turned = digit
        for _ in range(place % 8):
            turned = _VERHOEFF_TURN[turned]
        product = _d5(product, turned)
    return product == 0


def _d5(one: int, other: int) -> int:
    """Multiply in D5: 0 to 4 are rotations, 5 to 9 reflections."""
    turned, mirrored = other % _HALF, (one >= _HALF) != (other >= _HALF)
    rest = (one % _HALF + (-turned if one >= _HALF else turned)) % _HALF
    return rest + _HALF if mirrored else rest


def mod_11_10(value: str) -> bool:
    """ISO/IEC 7064 MOD 11,10."""
    rest = 10
    ds = digits(value)
    for digit in ds[:-1]:
        rest = ((rest + digit) % 10 or 10) * 2 % 11
    return len(ds) > 1 and (rest + ds[-1]) % 10 == 1


def mod_97_10(value: str) -> bool:
    """ISO/IEC 7064 MOD 97-10 over letters (A is 10) and digits."""
    text = compact(value)
    return text.isascii() and bool(text) and int("".join(str(int(c, 36)) for c in text)) % 97 == 1


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the day exists; a ``year`` below 100 is of an unknown century."""
    try:
        date(year if year > 99 else _LEAP + year, month, day)  # noqa: PLR2004
    except ValueError:
        return False
    return True


def number(ds: Sequence[int]) -> int:
    """Read ``ds`` as one decimal number."""
    return int("".join(map(str, ds)) or "0")


def icao(text: str) -> bool:
    """ICAO 9303-3 section 4.9: weights 7 3 1 over digits, letters from A = 10, and ``<`` as 0."""
    if len(text) < 2 or not text.isascii() or not text[-1].isdecimal():  # noqa: PLR2004
        return False
    values = [0 if c == "<" else int(c, 36) for c in text[:-1]]
    return sum(v * (7, 3, 1)[i % 3] for i, v in enumerate(values)) % 10 == int(text[-1])
