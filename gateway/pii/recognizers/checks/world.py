"""Checks of the numbers of persons outside the European Union."""

from __future__ import annotations

from gateway.pii.recognizers.checks.common import (
    digits,
    is_date,
    luhn,
    number,
    verhoeff,
    weighted,
)

# ruff: noqa: PLR2004 - lengths, weights and moduli are the schemes themselves


def npi(value: str) -> bool:
    """NPI: Luhn over the ten digits with the prefix 80840 (CMS, check digit calculation)."""
    ds = digits(value)
    return len(ds) == 10 and luhn("80840" + "".join(map(str, ds)))


def dea(value: str) -> bool:
    """DEA registration: d1+d3+d5 + 2*(d2+d4+d6) ends in d7 (21 CFR 1301; DEA practice)."""
    d = digits(value[2:])
    return len(d) == 7 and (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]


def nhs(value: str) -> bool:
    """NHS number: weights 10 to 2, 11 minus the rest."""
    d = digits(value)
    return len(d) == 10 and any(d) and weighted(d, range(10, 0, -1)) % 11 == 0


def chi(value: str) -> bool:
    """Community Health Index of Scotland: DDMMYY and the check of the NHS number."""
    d = digits(value)
    return nhs(value) and is_date(number(d[4:6]), number(d[2:4]), number(d[:2]))


def canada_sin(value: str) -> bool:
    """Social insurance number: Luhn over nine digits, not 0 or 8 in front."""
    d = digits(value)
    return len(d) == 9 and any(d) and luhn(value)


def canada_phn(value: str) -> bool:
    """Personal health number of British Columbia: 9, weights 2 4 8 5 10 9 7 3 modulo 11."""
    d = digits(value)
    if len(d) != 10 or d[0] != 9:
        return False
    return (11 - weighted(d[1:9], (2, 4, 8, 5, 10, 9, 7, 3)) % 11) % 11 == d[9]


def canada_ramq(value: str) -> bool:
    """NAM of Quebec: four letters, YYMMDD (month +50 for women), two places."""
    d = digits(value)
    return len(d) == 8 and is_date(number(d[:2]), number(d[2:4]) % 50, number(d[4:6]))


def australia_tfn(value: str) -> bool:
    """Tax file number: weights 1 4 3 7 5 8 6 9 10 modulo 11."""
    d = digits(value)
    return len(d) == 9 and any(d) and weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def australia_medicare(value: str) -> bool:
    """Medicare card: 2 to 6 in front, weights 1 3 7 9 1 3 7 9 modulo 10."""
    d = digits(value)
    return len(d) in {10, 11} and 2 <= d[0] <= 6 and weighted(d[:8], (1, 3, 7, 9) * 2) % 10 == d[8]


def australia_abn(value: str) -> bool:
    """Business number: one off the first digit, weights 10 1 3 to 19 modulo 89."""
    d = digits(value)
    if len(d) != 11 or d[0] == 0:
        return False
    return weighted([d[0] - 1, *d[1:]], (10, *range(1, 20, 2))) % 89 == 0


def health_identifier(value: str) -> bool:
    """IHI of Australia: sixteen digits from 800360, Luhn."""
    return len(digits(value)) == 16 and luhn(value)


def aadhaar(value: str) -> bool:
    """Aadhaar: twelve digits, not 0 or 1 in front, Verhoeff."""
    d = digits(value)
    return len(d) == 12 and d[0] > 1 and verhoeff(value)


def abha(value: str) -> bool:
    """ABHA of India: fourteen digits, Verhoeff."""
    return len(digits(value)) == 14 and verhoeff(value)


def cpf(value: str) -> bool:
    """CPF of Brazil: two digits by weights 10 to 2 and 11 to 2 modulo 11."""
    d = digits(value)
    if len(d) != 11 or len(set(d)) == 1:
        return False
    first = weighted(d[:9], range(10, 1, -1)) * 10 % 11 % 10
    return first == d[9] and weighted(d[:10], range(11, 1, -1)) * 10 % 11 % 10 == d[10]


def cnpj(value: str) -> bool:
    """CNPJ of Brazil: two digits by weights 5 to 2, 9 to 2 modulo 11."""
    d = digits(value)
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    if len(d) != 14 or len(set(d)) == 1:
        return False
    first = weighted(d[:12], weights[1:]) * 10 % 11 % 10
    return first == d[12] and weighted(d[:13], weights) * 10 % 11 % 10 == d[13]


def cns(value: str) -> bool:
    """Cartao Nacional de Saude of Brazil: weights 15 to 1 modulo 11."""
    d = digits(value)
    return len(d) == 15 and d[0] in {1, 2, 7, 8, 9} and weighted(d, range(15, 0, -1)) % 11 == 0
