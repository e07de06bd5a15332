"""Checks of things: vehicles, accounts, devices, documents that machines read, and secrets."""

from __future__ import annotations

import math
from collections import Counter

from gateway.pii.recognizers.checks.common import (
    compact,
    digits,
    icao,
    luhn,
    mod_97_10,
    weighted,
)

# ruff: noqa: PLR2004 - lengths, weights and moduli are the schemes themselves

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
# ISO 3166-1 alpha-2, one after the other.
_COUNTRIES = (
    "ADAEAFAGALAMAOARATAUAZBABBBDBEBFBGBHBIBJBMBNBOBRBSBWBYBZCACDCFCGCHCICLCMCNCOCRCVCWCYCZDE"
    "DJDKDMDODZECEEEGESETFIFJFOFRGAGBGEGGGHGIGLGMGNGQGRGTGYHKHNHRHTHUIDIEILIMINIQIRISITJEJMJO"
    "JPKEKGKHKMKNKRKWKYKZLALBLCLILKLRLTLULVLYMAMCMDMEMGMKMLMMMNMOMRMTMUMVMWMXMYMZNANENGNINLNO"
    "NPNZOMPAPEPGPHPKPLPSPTPYQARORSRURWSASCSDSESGSISKSLSMSNSOSRSTSVSYSZTDTGTHTJTLTMTNTRTTTWTZ"
    "UAUGUSUYUZVAVEVGVNVUWSXKYEZAZMZW"
)
_LEAST_ENTROPY = 4.0  # bits a character: prose in one case stays near 3.8, random base64 above 4.5


def vin(value: str) -> bool:
    """49 CFR 565.15(c): weighted sum modulo 11, X for 10."""
    value = value.upper()
    if len(value) != len(_VIN_WEIGHTS) or any(c not in _VIN_VALUES for c in value):
        return False
    rest = sum(_VIN_VALUES[c] * w for c, w in zip(value, _VIN_WEIGHTS, strict=True)) % 11
    return value[_VIN_CHECK_POSITION] == "0123456789X"[rest]


def iban(value: str) -> bool:
    """ISO 13616: MOD 97-10 over the rearranged number."""
    text = compact(value)
    return 15 <= len(text) <= 34 and mod_97_10(text[4:] + text[:4])


def bic(value: str) -> bool:
    """ISO 9362: the country stands in the fifth and sixth place."""
    text = compact(value)[4:6]
    return text in {_COUNTRIES[i : i + 2] for i in range(0, len(_COUNTRIES), 2)}


def aba(value: str) -> bool:
    """Routing number of the ABA: prefix of a Federal Reserve district, weights 3 7 1 modulo 10."""
    d = digits(value)
    prefix = 10 * d[0] + d[1] if len(d) == 9 else -1
    district = 1 <= prefix <= 12 or 21 <= prefix <= 32 or 61 <= prefix <= 72 or prefix == 80
    return district and weighted(d, (3, 7, 1) * 3) % 10 == 0


def gtin(value: str) -> bool:
    """GS1: the fourteen digits after (01), weights 3 and 1 in turn modulo 10."""
    d = digits(value.replace("(01)", "", 1))[:14]
    return len(d) == 14 and weighted(d, (3, 1) * 7) % 10 == 0


def imei(value: str) -> bool:
    """3GPP TS 23.003 annex B: Luhn over fifteen digits."""
    return len(digits(value)) == 15 and luhn(value)


def iccid(value: str) -> bool:
    """ITU-T E.118: 89 and Luhn over nineteen or twenty digits."""
    return len(digits(value)) in {19, 20} and luhn(value)


def mrz(value: str) -> bool:
    """ICAO 9303: check digits of the document number and of both dates in a second or first line.

    Lines of passports (44) and large cards (36) hold all three; the second line of a small card
    (30) holds the dates, its first line the number.
    """
    line = "".join(value.split()).upper()
    if len(line) == 30:
        if line[0] in "ACI":
            return icao(line[5:15])
        return icao(line[:7]) and icao(line[8:15])
    return len(line) in {36, 44} and icao(line[:10]) and icao(line[13:20]) and icao(line[21:28])


def random_looking(value: str) -> bool:
    """Capitals, small letters and digits, mixed as chance mixes them (Shannon entropy)."""
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    kinds = (str.isupper, str.islower, str.isdecimal)
    return bits >= _LEAST_ENTROPY and all(any(map(kind, value)) for kind in kinds)
