"""Checks of the numbers of persons in the EU, the EEA and Switzerland.

Each function names the scheme and says whether the check digits, and the date where one stands
inside, agree. Values come as they were written, separators included.
"""

from __future__ import annotations

from gateway.pii.recognizers.checks.common import (
    compact,
    digits,
    icao,
    is_date,
    luhn,
    number,
    verhoeff,
    weighted,
)

# ruff: noqa: PLR2004 - lengths, weights and moduli are the schemes themselves

_HETU_LETTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_PPS_LETTERS = "WABCDEFGHIJKLMNOPQRSTUV"


def austria(value: str) -> bool:
    """Sozialversicherungsnummer: weights 3 7 9 . 5 8 4 2 1 6 modulo 11, then DDMMYY."""
    d = digits(value)
    if len(d) != 10 or d[0] == 0 or weighted(d, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 != d[3]:
        return False
    month = number(d[6:8])
    return 1 <= number(d[4:6]) <= 31 and 1 <= month <= 15  # 13 to 15: born on a full date


def belgium(value: str) -> bool:
    """Rijksregisternummer: YYMMDD and serial, 97 minus the rest; a 2 in front from 2000 on."""
    d = digits(value)
    if len(d) != 11 or number(d[2:4]) % 20 > 12 or number(d[4:6]) > 31:
        return False
    body, check = number(d[:9]), number(d[9:])
    return check in {97 - body % 97, 97 - (2_000_000_000 + body) % 97}


def bulgaria(value: str) -> bool:
    """EGN: YYMMDD (month +20 before 1900, +40 from 2000), weights 2 4 8 5 10 9 7 3 6 mod 11."""
    d = digits(value)
    if len(d) != 10 or weighted(d, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 != d[9]:
        return False
    month = number(d[2:4])
    return month < 60 and is_date(number(d[:2]), month % 20, number(d[4:6]))


def bulgaria_foreigner(value: str) -> bool:
    """LNCh: weights 21 19 17 13 11 9 7 3 1 modulo 10."""
    d = digits(value)
    return len(d) == 10 and weighted(d, (21, 19, 17, 13, 11, 9, 7, 3, 1)) % 10 == d[9]


def czech(value: str) -> bool:
    """Rodne cislo, Czech and Slovak: YYMMDD (month +50, +20, +70), ten digits modulo 11 are 0."""
    d = digits(value)
    if len(d) not in {9, 10}:
        return False
    month = number(d[2:4]) % 50
    month = month - 20 if month > 20 else month
    if not is_date(number(d[:2]), month, number(d[4:6])):
        return False
    return len(d) == 9 or number(d) % 11 == 0 or (number(d[:9]) % 11 == 10 and d[9] == 0)


def denmark(value: str) -> bool:
    """CPR: DDMMYY, weights 4 3 2 7 6 5 4 3 2 1 modulo 11 (numbers since 2007 may break it)."""
    d = digits(value)
    return denmark_date(value) and weighted(d, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def denmark_date(value: str) -> bool:
    """DDMMYY in front of four digits."""
    d = digits(value)
    return len(d) == 10 and is_date(number(d[4:6]), number(d[2:4]), number(d[:2]))


def baltic(value: str) -> bool:
    """Isikukood and asmens kodas: G YYMMDD SSS, two rounds of weights modulo 11."""
    d = digits(value)
    if len(d) != 11 or not 1 <= d[0] <= 8:
        return False
    if not is_date(number(d[1:3]), number(d[3:5]), number(d[5:7])):
        return False
    check = weighted(d, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(d, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return check == d[10]


def latvia(value: str) -> bool:
    """Personas kods: DDMMYY and 0 to 2, weighted modulo 11; those from 2017 begin with 32."""
    d = digits(value)
    if len(d) != 11:
        return False
    if d[:2] == [3, 2]:
        return True
    if not is_date(number(d[4:6]), number(d[2:4]), number(d[:2])):
        return False
    return (1101 - weighted(d, (1, 6, 3, 7, 9, 10, 5, 8, 4, 2))) % 11 % 10 == d[10]


def finland(value: str) -> bool:
    """Henkilotunnus: DDMMYY, sign of the century, NNN, one of 31 letters (DVV, signs of 2023)."""
    text = value.upper()
    d = digits(text[:6] + text[7:10])
    if len(text) != 11 or len(d) != 9:
        return False
    return is_date(number(d[4:6]), number(d[2:4]), number(d[:2])) and (
        text[10] == _HETU_LETTERS[number(d) % 31]
    )


def france(value: str) -> bool:
    """NIR (INSEE): key = 97 - number mod 97; 2A and 2B of Corsica count as 19 and 18."""
    text = compact(value).replace("2A", "19").replace("2B", "18")
    if len(text) != 15 or not text.isdecimal():
        return False
    return 97 - int(text[:13]) % 97 == int(text[13:])


def france_tax(value: str) -> bool:
    """Numero fiscal (SPI): the last three of thirteen are the first ten modulo 511."""
    d = digits(value)
    return len(d) == 13 and d[0] <= 3 and number(d[:10]) % 511 == number(d[10:])


def germany_card(value: str) -> bool:
    """Personalausweis, Reisepass: ICAO 9303 weights 7 3 1, letters from A = 10, tenth place."""
    return icao(compact(value))


def greece(value: str) -> bool:
    """AMKA: DDMMYY and Luhn over eleven digits."""
    d = digits(value)
    return len(d) == 11 and luhn(value) and is_date(number(d[4:6]), number(d[2:4]), number(d[:2]))


def greece_tax(value: str) -> bool:
    """AFM: powers of two modulo 11 modulo 10."""
    d = digits(value)
    return len(d) == 9 and sum(n << (8 - i) for i, n in enumerate(d[:8])) % 11 % 10 == d[8]


def hungary_health(value: str) -> bool:
    """TAJ: weights 3 and 7 in turn modulo 10."""
    d = digits(value)
    return len(d) == 9 and weighted(d, (3, 7) * 4) % 10 == d[8]


def hungary_tax(value: str) -> bool:
    """Adoazonosito jel: 8, days since 1867, weights 1 to 9 modulo 11."""
    d = digits(value)
    return len(d) == 10 and d[0] == 8 and weighted(d, range(1, 10)) % 11 == d[9]


def hungary_person(value: str) -> bool:
    """Szemelyi szam: G YYMMDD NNN, weights 1 to 10 (10 to 1 from 1997) modulo 11."""
    d = digits(value)
    if len(d) != 11 or not is_date(number(d[1:3]), number(d[3:5]), number(d[5:7])):
        return False
    return d[10] in {weighted(d, range(1, 11)) % 11, weighted(d, range(10, 0, -1)) % 11}


def ireland(value: str) -> bool:
    """PPS number: weights 8 to 2, nine times the second letter (W is 0), modulo 23."""
    text = compact(value)
    d = digits(text[:7])
    if len(d) != 7 or len(text) not in {8, 9}:
        return False
    second = 0 if text[8:] in {"", "W"} else ord(text[8]) - 64
    return text[7] == _PPS_LETTERS[(weighted(d, range(8, 1, -1)) + 9 * second) % 23]


def luxembourg(value: str) -> bool:
    """Matricule: YYYYMMDD NNN, then a Luhn and a Verhoeff digit over the first eleven."""
    d = digits(value)
    if len(d) != 13 or not 18 <= number(d[:2]) <= 20:
        return False
    if not is_date(number(d[:4]), number(d[4:6]), number(d[6:8])):
        return False
    body = "".join(map(str, d[:11]))
    return luhn(body + str(d[11])) and verhoeff(body + str(d[12]))


def netherlands(value: str) -> bool:
    """BSN: the eleven test with weights 9 to 2 and -1."""
    d = digits(value)
    return len(d) == 9 and any(d) and weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def norway(value: str) -> bool:
    """Fodselsnummer: DDMMYY (day +40, month +40 or +80), two weighted sums modulo 11."""
    d = digits(value)
    if len(d) != 11 or weighted(d, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11:
        return False
    if weighted(d, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11:
        return False
    return is_date(number(d[4:6]), number(d[2:4]) % 40, number(d[:2]) % 40)


def poland(value: str) -> bool:
    """PESEL: YYMMDD (month +20 from 2000, and so on), weights 1 3 7 9 modulo 10."""
    d = digits(value)
    if len(d) != 11 or weighted(d, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10:
        return False
    return is_date(number(d[:2]), number(d[2:4]) % 20, number(d[4:6]))


def poland_card(value: str) -> bool:
    """Dowod osobisty: three letters, check digit, weights 7 3 1 9 7 3 1 7 3 modulo 10."""
    text = compact(value)
    if len(text) != 9 or not text.isascii():
        return False
    return weighted([int(c, 36) for c in text], (7, 3, 1, 9, 7, 3, 1, 7, 3)) % 10 == 0


def portugal_card(value: str) -> bool:
    """Cartao de cidadao: twelve places, letters from A = 10, Luhn over the values."""
    text = compact(value)
    if len(text) != 12 or not text.isascii():
        return False
    values = [int(c, 36) for c in text]
    doubled = (2 * v - 9 if 2 * v > 9 else 2 * v for v in values[::2])
    return (sum(doubled) + sum(values[1::2])) % 10 == 0


def portugal_social(value: str) -> bool:
    """NISS: the first ten primes backwards, 9 minus the sum modulo 10."""
    d = digits(value)
    primes = (29, 23, 19, 17, 13, 11, 7, 5, 3, 2)
    return len(d) == 11 and d[0] in {1, 2} and 9 - weighted(d[:10], primes) % 10 == d[10]


def romania(value: str) -> bool:
    """CNP: S YYMMDD JJ NNN, weights 2 7 9 1 4 6 3 5 8 2 7 9 modulo 11, 10 is 1."""
    d = digits(value)
    if len(d) != 13 or d[0] == 0:
        return False
    if not is_date(number(d[1:3]), number(d[3:5]), number(d[5:7])):
        return False
    check = weighted(d[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (1 if check == 10 else check) == d[12]


def emso(value: str) -> bool:
    """EMSO of Slovenia, JMBG of its neighbours: DDMMYYY RR SSS, weights 7 to 2 twice modulo 11."""
    d = digits(value)
    if len(d) != 13 or number(d[4:7]) not in {*range(800, 1000), *range(30)}:
        return False
    year = number(d[4:7]) + (1000 if d[4] >= 8 else 2000)
    check = -weighted(d[:12], (7, 6, 5, 4, 3, 2) * 2) % 11
    return is_date(year, number(d[2:4]), number(d[:2])) and check == d[12]


def spain_social(value: str) -> bool:
    """NUSS: province and number modulo 97; a number below ten million loses its leading zero."""
    d = digits(value)
    if len(d) != 12:
        return False
    province, body = number(d[:2]), number(d[2:10])
    whole = province * (10_000_000 if body < 10_000_000 else 100_000_000) + body
    return whole % 97 == number(d[10:])


def sweden(value: str) -> bool:
    """Personnummer: YYMMDD (day +60 for coordination numbers), Luhn over the last ten digits."""
    d = digits(value)
    if len(d) == 12 and number(d[:2]) in {18, 19, 20}:
        d = d[2:]
    if len(d) != 10 or not is_date(number(d[:2]), number(d[2:4]), number(d[4:6]) % 60):
        return False
    return luhn("".join(map(str, d)))


def iceland(value: str) -> bool:
    """Kennitala: DDMMYY, two digits, weights 3 2 7 6 5 4 3 2 1 modulo 11, the century."""
    d = digits(value)
    if len(d) != 10 or d[9] not in {0, 8, 9}:
        return False
    day = number(d[:2])
    if not is_date(number(d[4:6]), number(d[2:4]), day - 40 if day > 40 else day):
        return False
    return weighted(d, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def switzerland(value: str) -> bool:
    """AHV/AVS number: thirteen digits from 756, the check digit of EAN-13."""
    d = digits(value)
    return len(d) == 13 and d[:3] == [7, 5, 6] and weighted(d, (1, 3) * 7) % 10 == 0
