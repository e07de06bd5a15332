"""Checks of tax and company numbers: VAT of the EU by country, and others that stand alone.

A company number identifies a person where the company is one (a sole trader), so it is looked for.
Bodies come as digits, without the country's letters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.pii.recognizers.checks import europe
from gateway.pii.recognizers.checks.common import (
    compact,
    digits,
    luhn,
    mod_11_10,
    mod_97_10,
    number,
    weighted,
)

# ruff: noqa: PLR2004 - lengths, weights and moduli are the schemes themselves

_CYPRUS_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)


def _ends(weights: tuple[int, ...], modulus: int, *, total: int = 0) -> Callable[[str], bool]:
    """The last digit is ``total`` minus the weighted sum, modulo ``modulus`` and then 10."""

    def check(value: str) -> bool:
        d = digits(value)
        sum_ = weighted(d[:-1], weights)
        return len(d) == len(weights) + 1 and (total - sum_) % modulus % 10 == d[-1]

    return check


def austria_vat(value: str) -> bool:
    """UID: seven digits doubled in turn, 96 minus the sum, modulo 10."""
    d = digits(value)
    sums = sum(n if i % 2 == 0 else sum(divmod(2 * n, 10)) for i, n in enumerate(d[:7]))
    return len(d) == 8 and (96 - sums) % 10 == d[7]


def belgium_vat(value: str) -> bool:
    """Ondernemingsnummer: 97 minus the first eight modulo 97."""
    d = digits(value)
    return len(d) == 10 and 97 - number(d[:8]) % 97 == number(d[8:])


def bulgaria_vat(value: str) -> bool:
    """EIK of nine digits (two rounds of weights modulo 11), or the number of a person."""
    d = digits(value)
    if len(d) == 10:
        return europe.bulgaria(value) or europe.bulgaria_foreigner(value)
    check = weighted(d[:8], range(1, 9)) % 11
    if check == 10:
        check = weighted(d[:8], range(3, 11)) % 11 % 10
    return len(d) == 9 and check == d[8]


def cyprus_vat(value: str) -> bool:
    """TIC: eight digits, odd places translated, one of 26 letters."""
    text = compact(value)
    d = digits(text[:-1])
    total = sum(_CYPRUS_ODD[n] if i % 2 == 0 else n for i, n in enumerate(d))
    return len(d) == 8 and len(text) == 9 and ord(text[8]) == 65 + total % 26


def czech_vat(value: str) -> bool:
    """DIC: company of eight digits (weights 8 to 2 modulo 11), or the number of a person."""
    d = digits(value)
    if len(d) != 8:
        return europe.czech(value)
    return (11 - weighted(d[:7], range(8, 1, -1)) % 11) % 10 == d[7]


def france_siren(value: str) -> bool:
    """SIREN: Luhn over nine digits; SIRET: over fourteen."""
    return len(digits(value)) in {9, 14} and luhn(value)


def france_vat(value: str) -> bool:
    """TVA: key = 12 + 3 * (SIREN mod 97), modulo 97."""
    d = digits(value)
    return len(d) == 11 and (12 + 3 * (number(d[2:]) % 97)) % 97 == number(d[:2])


def italy_vat(value: str) -> bool:
    """Partita IVA: Luhn over eleven digits."""
    return len(digits(value)) == 11 and luhn(value)


def netherlands_vat(value: str) -> bool:
    """Omzetbelastingnummer: nine digits by the eleven test, or MOD 97-10 with NL in front."""
    text = compact(value)
    return len(text) == 12 and (europe.netherlands(text[:9]) or mod_97_10("NL" + text))


def poland_nip(value: str) -> bool:
    """NIP: weights 6 5 7 2 3 4 5 6 7 modulo 11."""
    d = digits(value)
    return len(d) == 10 and any(d) and weighted(d[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == d[9]


def poland_regon(value: str) -> bool:
    """REGON of nine digits: weights 8 9 2 3 4 5 6 7 modulo 11 modulo 10."""
    return _ends((-8, -9, -2, -3, -4, -5, -6, -7), 11)(value)


def portugal_nif(value: str) -> bool:
    """NIF: weights 9 to 2 modulo 11; rests 0 and 1 give 0."""
    d = digits(value)
    if len(d) != 9 or d[0] in {0, 4}:
        return False
    check = 11 - weighted(d[:8], range(9, 1, -1)) % 11
    return (0 if check > 9 else check) == d[8]


def romania_vat(value: str) -> bool:
    """CUI: weights 7 5 3 2 1 7 5 3 2 from the right, ten times modulo 11 modulo 10."""
    d = digits(value)
    padded = [0] * (10 - len(d)) + d
    return (
        4 <= len(d) <= 10
        and weighted(padded[:9], (7, 5, 3, 2, 1, 7, 5, 3, 2)) * 10 % 11 % 10 == d[-1]
    )


def spain_cif(value: str) -> bool:
    """CIF: letter, seven digits summed as by Luhn, a digit or one of JABCDEFGHI."""
    text = compact(value)
    d = digits(text[1:8])
    if len(text) != 9 or len(d) != 7:
        return False
    total = sum(sum(divmod(2 * n, 10)) if i % 2 == 0 else n for i, n in enumerate(d))
    check = -total % 10
    return text[8] in {str(check), "JABCDEFGHI"[check]}


def spain_vat(value: str) -> bool:
    """NIF of a company (CIF), or of a person (DNI, NIE) by its letter modulo 23."""
    text = compact(value)
    if spain_cif(text):
        return True
    body = text[:-1].translate({ord("X"): "0", ord("Y"): "1", ord("Z"): "2"})
    return body.isdecimal() and text[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23]


def sweden_vat(value: str) -> bool:
    """Organisationsnummer by Luhn, with 01 or another two digits behind."""
    d = digits(value)
    return len(d) == 12 and luhn("".join(map(str, d[:10])))


def britain_vat(value: str) -> bool:
    """Weights 8 to 2, 97 minus the sum; those since 2010 are 55 off."""
    d = digits(value)
    if len(d) not in {9, 12}:
        return False
    total = weighted(d[:7], range(8, 1, -1)) + number(d[7:9])
    return total % 97 == 0 or (total + 55) % 97 == 0


def britain_utr(value: str) -> bool:
    """UTR: the first of ten digits checks the other nine, modulo 11."""
    d = digits(value)
    table = (2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1)
    return len(d) == 10 and table[weighted(d[1:], (6, 7, 8, 9, 10, 5, 4, 3, 2)) % 11] == d[0]


def latvia_vat(value: str) -> bool:
    """PVN of a company (weights modulo 11) or the number of a person."""
    d = digits(value)
    if len(d) != 11 or d[0] <= 3:
        return europe.latvia(value)
    return weighted(d, (9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1)) % 11 == 3


def lithuania_vat(value: str) -> bool:
    """PVM of nine or twelve digits: two rounds of weights modulo 11."""
    d = digits(value)
    weights = tuple(1 + i % 9 for i in range(len(d) + 1))
    check = weighted(d[:-1], weights) % 11
    if check == 10:
        check = weighted(d[:-1], weights[2:]) % 11 % 10
    return len(d) in {9, 12} and check == d[-1]


def luxembourg_vat(value: str) -> bool:
    """TVA: the first six modulo 89."""
    d = digits(value)
    return len(d) == 8 and number(d[:6]) % 89 == number(d[6:])


def malta_vat(value: str) -> bool:
    """Weights 3 4 6 7 8 9, the last two 37 minus the sum."""
    d = digits(value)
    return len(d) == 8 and weighted(d, (3, 4, 6, 7, 8, 9, 10, 1)) % 37 == 0


def norway_company(value: str) -> bool:
    """Organisasjonsnummer: weights 3 2 7 6 5 4 3 2 1 modulo 11."""
    d = digits(value)
    return len(d) == 9 and weighted(d, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def switzerland_company(value: str) -> bool:
    """UID: weights 5 4 3 2 7 6 5 4 1 modulo 11."""
    d = digits(value)
    return len(d) == 9 and weighted(d, (5, 4, 3, 2, 7, 6, 5, 4, 1)) % 11 == 0


def ireland_vat(value: str) -> bool:
    """As a PPS number; the old form has a letter or sign in the second place."""
    text = compact(value)
    if len(text) == 8 and text[1:2].isalpha():
        text = "0" + text[2:7] + text[0] + text[7]
    return europe.ireland(text)


_VAT: Mapping[str, Callable[[str], bool]] = {
    "AT": austria_vat,
    "BE": belgium_vat,
    "BG": bulgaria_vat,
    "CY": cyprus_vat,
    "CZ": czech_vat,
    "DE": mod_11_10,
    "DK": lambda v: weighted(digits(v), (2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0,
    "EE": lambda v: weighted(digits(v), (3, 7, 1, 3, 7, 1, 3, 7, 1)) % 10 == 0,
    "EL": europe.greece_tax,
    "ES": spain_vat,
    "FI": lambda v: weighted(digits(v), (7, 9, 10, 5, 8, 4, 2, 1)) % 11 == 0,
    "FR": france_vat,
    "GB": britain_vat,
    "HR": mod_11_10,
    "HU": lambda v: weighted(digits(v), (9, 7, 3, 1, 9, 7, 3, 1)) % 10 == 0,
    "IE": ireland_vat,
    "IT": italy_vat,
    "LT": lithuania_vat,
    "LU": luxembourg_vat,
    "LV": latvia_vat,
    "MT": malta_vat,
    "NL": netherlands_vat,
    "PL": poland_nip,
    "PT": portugal_nif,
    "RO": romania_vat,
    "SE": sweden_vat,
    "SI": lambda v: (11 - weighted(digits(v)[:7], range(8, 1, -1)) % 11) % 10 == digits(v)[-1],
    "SK": lambda v: number(digits(v)) % 11 == 0,
    "XI": britain_vat,
}


def vat(value: str) -> bool:
    """VAT number of the EU, the UK or Northern Ireland by the check of its country."""
    text = compact(value)
    check = _VAT.get(text[:2])
    return check is not None and check(text[2:])


CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "vat": vat,
        "poland_nip": poland_nip,
        "poland_regon": poland_regon,
        "portugal_nif": portugal_nif,
        "france_siren": france_siren,
        "italy_vat": italy_vat,
        "spain_cif": spain_cif,
        "britain_utr": britain_utr,
        "norway_company": norway_company,
        "switzerland_company": switzerland_company,
        "mod_11_10": mod_11_10,
    }
)
