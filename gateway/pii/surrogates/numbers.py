"""Other numbers, codes and addresses of the net, in the same form and never anybody's.

Every digit leads to another digit and every letter to another letter, separators stay. What a
value is made into lies where nothing is issued, or fails every checksum there is:

- US_SSN: area 900-999 with group 01-49. The SSA assigns no area above 899 (SSA POMS RM 10201.030),
  and the IRS's ITINs and ATINs with 9 have groups from 50 on;
- telephone: 555-0100 to 555-0199 (NANPA), the ranges that Ofcom, ARCEP and the Bundesnetzagentur
  keep for films, else a national number beginning with 000;
- e-mail, web: example.com, example.net, example.org (RFC 2606); IP: the blocks of RFC 5737 and
  RFC 3849; hardware addresses: 00-00-5E-00-53 (RFC 7042);
- postal codes: 000-004 of five digits (no ZIP, PLZ, code postal or codigo postal), letters that
  begin none in the UK and Canada;
- cards, IBAN, NPI, VIN, national and tax numbers: no check of ``recognizers/checks`` passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.surrogates.draw import Draw
from gateway.pii.surrogates.names import Names

TRIES = 24
_CAPITALS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_MIN_ALNUM = 4  # letters and digits of a code that can be told from other text
_MAX_LENGTH = 200
_DOMAINS = ("example.com", "example.net", "example.org")

_GERMAN = {"30": "23125", "69": "90009", "40": "66969", "221": "4710", "89": "99998"}
_FRENCH = {"01": "9900", "02": "6191", "03": "5301", "04": "6571", "05": "3649", "06": "3998"}
_BRITISH = {"7": "7700900", "20": "2079460", "": "1632960"}

_NANP = re.compile(r"(?P<cc>\+?1)?(?P<area>[2-9][0-9]{2})?(?P<line>[2-9][0-9]{6})")
_EMAIL = re.compile(r"([^@\s]+)@([^@\s]+)")
_URL = re.compile(r"((?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/?#\s]+)([/?#]\S*)?", re.IGNORECASE)
_IPV4 = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_LIKE_SSN = re.compile(r"[0-9]{3}([-. ]?)[0-9]{2}\1[0-9]{4}")
_WORDS = re.compile(r"[^\W\d_]+|[0-9]+")
_LONG_WORD = 3
_FIGURES = re.compile(r"[0-9]+[A-Za-z]?\b")


def number(draw: Draw, value: str, entity_type: str, names: Names, salt: str) -> Iterator[str]:
    """Candidates for ``value``, best first; perhaps none. ``salt``: another draw of the same."""
    if not value.isascii() or not _MIN_ALNUM <= sum(map(str.isalnum, value)) <= _MAX_LENGTH:
        return iter(())
    maker = _MAKERS.get(entity_type, _code)
    if _MAC.fullmatch(value):
        maker = _mac
    elif _LIKE_SSN.fullmatch(value):  # whatever it is called here, it could be somebody's
        maker = _ssn
    return islice(maker(draw, value, names, salt), TRIES)


def passes(value: str) -> bool:
    """Whether any scheme takes the value, or what is left of it without its separators."""
    compact = "".join(character for character in value if character.isalnum())
    return any(check(text) for text in {value, compact} for check in CHECKS.values())


def figures(draw: Draw, value: str, salt: str) -> str:
    """Other digits for those of an address, and another letter behind a number ("4b")."""
    drawn = draw.stream("figures", value, salt)
    return _FIGURES.sub(lambda m: "".join(_other(c, drawn) for c in m.group()), value)


# --- makers --------------------------------------------------------------------------------------

_Maker = Callable[[Draw, str, Names, str], Iterator[str]]


def _code(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    """The same form: each digit another digit, each letter another letter of its case."""
    for attempt in range(TRIES * 4):
        text = _shaped(draw, value, f"{salt}{attempt}")
        if not passes(text):
            yield text


def _shaped(draw: Draw, value: str, salt: str) -> str:
    drawn = draw.stream("code", _compact(value), salt)
    return "".join(_other(character, drawn) for character in value)


def _other(character: str, drawn: Iterator[int]) -> str:
    if character.isdigit():
        step = next(drawn) % 9 + 1
        other = (int(character) + step) % 10
        return str(other or (step % 9 + 1 if character != "0" else other))
    if character.isalpha():
        others = _CAPITALS.replace(character.upper(), "")
        letter = others[next(drawn) % len(others)]
        return letter if character.isupper() else letter.lower()
    return character


def _laid(value: str, digits: str) -> str:
    """The digits in the places of those of ``value``."""
    following = iter(digits)
    return "".join(next(following) if c.isdigit() else c for c in value)


def _compact(value: str) -> str:
    return "".join(character for character in value if character.isalnum()).casefold()


def _digits(value: str) -> str:
    return "".join(character for character in value if character.isdigit())


def _random(draw: Draw, count: int, *what: str) -> str:
    return "".join(str(n % 10) for n in islice(draw.stream(*what), count))


def _ssn(draw: Draw, value: str, names: Names, salt: str) -> Iterator[str]:
    digits = _digits(value)
    if len(digits) != 9 or any(character.isalpha() for character in value):  # noqa: PLR2004
        yield from _code(draw, value, names, salt)
        return
    for attempt in range(TRIES * 8):
        drawn = draw.stream("ssn", digits, f"{salt}{attempt}")
        area, group, serial = next(drawn) % 100, next(drawn) % 49 + 1, next(drawn) % 9999 + 1
        text = _laid(value, f"9{area:02}{group:02}{serial:04}")
        if not passes(text):
            yield text


def _phone(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    """A number of a range that is kept for fiction, laid out as the value is."""
    digits = _digits(value)
    international = value.strip().startswith("+")
    for attempt in range(TRIES):
        drawn = _random(draw, 24, "phone", digits, f"{salt}{attempt}")
        made = _fictional(digits, drawn, international=international)
        if len(made) == len(digits) and made != digits:
            yield _laid(value, made)


def _fictional(digits: str, drawn: str, *, international: bool) -> str:
    if international or digits.startswith("00"):
        head = "00" if digits.startswith("00") else ""
        rest = digits.removeprefix(head)
        for code in ("49", "33", "44", "1"):
            if rest.startswith(code):
                return head + code + _national(code, rest.removeprefix(code), drawn)
        return head + rest[:2] + ("000" + drawn)[: len(rest) - 2]
    if digits.startswith("0"):
        code = "33" if len(digits) == 10 and digits[1] in "123456" else "44"  # noqa: PLR2004
        if any(digits.startswith("0" + area) for area in _GERMAN):
            code = "49"
        return "0" + _national(code, digits[1:], drawn)
    if _NANP.fullmatch(digits):
        return _american(digits, drawn)
    return ("000" + drawn)[: len(digits)]


def _american(digits: str, drawn: str) -> str:
    line = "55501" + drawn[:2]
    area = "2345679"[int(drawn[2]) % 7] + "0123"[int(drawn[3]) % 4] + "23456789"[int(drawn[4]) % 8]
    head = digits[: len(digits) - 7]
    if len(head) >= 3:  # noqa: PLR2004
        head = head[:-3] + area
    return head + line


def _national(code: str, digits: str, drawn: str) -> str:
    """``digits``: without the country code and the leading zero."""
    if code == "1":
        return _american(digits, drawn)
    if code == "33" and "0" + digits[:1] in _FRENCH:
        return (digits[:1] + _FRENCH["0" + digits[0]] + drawn)[: len(digits)]
    if code == "44":
        prefix = next(p for p in _BRITISH if digits.startswith(p))
        return (_BRITISH[prefix] + drawn)[: len(digits)]
    if code == "49":
        area = next((area for area in _GERMAN if digits.startswith(area)), "30")
        return (area + _GERMAN[area] + drawn)[: len(digits)]
    return ("000" + drawn)[: len(digits)]


def _zip(draw: Draw, value: str, names: Names, salt: str) -> Iterator[str]:
    for attempt in range(TRIES):
        text = _shaped(draw, value, f"{salt}{attempt}")
        if value[0].isalpha():
            first = "XVQ" if " " in value and len(value) != 7 else "ZW"  # noqa: PLR2004
            first = "".join(letter for letter in first if letter != value[0])
            yield first[attempt % len(first)] + text[1:]
        elif len(_digits(value)) >= 5:  # noqa: PLR2004
            drawn = _random(draw, 12, "zip", value, f"{salt}{attempt}")
            yield _laid(value, "00" + str(int(drawn[0]) % 5) + drawn[1:])
        else:
            yield from _code(draw, value, names, salt)
            return


def _email(draw: Draw, value: str, names: Names, salt: str) -> Iterator[str]:
    match = _EMAIL.fullmatch(value)
    if match is None:
        return
    domain = _DOMAINS[draw.number("domain", match[2].casefold()) % len(_DOMAINS)]
    for attempt in range(4):
        local = _spelled(draw, match[1], names, f"{salt}{attempt}")
        if local is not None:
            yield f"{local}@{domain}"
    yield f"user{_random(draw, 5, 'mail', value)}@{domain}"


def _url(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    match = _URL.fullmatch(value)
    if match is None:
        return
    domain = _DOMAINS[draw.number("domain", value.casefold()) % len(_DOMAINS)]
    for attempt in range(TRIES):
        rest = _shaped(draw, match[2] or "", f"{salt}{attempt}")
        host = f"www{_random(draw, 3, 'host', value, str(attempt))}."
        yield (match[1] or "") + host + domain + rest


def _ip(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    if _IPV4.fullmatch(value):
        for n in islice(draw.stream("ip", value, salt), TRIES):
            block = ("192.0.2", "198.51.100", "203.0.113")[n % 3]
            yield f"{block}.{n // 3 % 254 + 1}"
    elif ":" in value:
        for n, m in zip(*[iter(draw.stream("ip", value, salt))] * 2, strict=True):
            yield f"2001:db8::{n:x}:{m:x}"


def _mac(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    for n in islice(draw.stream("mac", value, salt), TRIES):
        yield value[2].join(["00", "00", "5E", "00", "53", f"{n % 256:02X}"])


def _iban(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    for attempt in range(TRIES):
        text = value[:2] + _shaped(draw, value[2:], f"{salt}{attempt}")
        if not passes(text):
            yield text


def _card(draw: Draw, value: str, _names: Names, salt: str) -> Iterator[str]:
    for attempt in range(TRIES):
        text = value[:1] + _shaped(draw, value[1:], f"{salt}{attempt}")
        if not passes(text):
            yield text


def _handle(draw: Draw, value: str, names: Names, salt: str) -> Iterator[str]:
    for attempt in range(TRIES):
        text = _spelled(draw, value, names, f"{salt}{attempt}")
        if text is not None:
            yield text


def _spelled(draw: Draw, value: str, names: Names, salt: str) -> str | None:
    """Words as names, digits and single letters as in a code."""
    out, position = [], 0
    for match in _WORDS.finditer(value):
        text = match.group()
        word = names.word(text) if len(text) >= _LONG_WORD and text.isalpha() else None
        out += [value[position : match.start()], word or _shaped(draw, text, salt)]
        position = match.end()
    made = "".join(out) + value[position:]
    return made if made.isascii() else None


_MAKERS: dict[str, _Maker] = {
    "US_SSN": _ssn,
    "PHONE_NUMBER": _phone,
    "ZIP_CODE": _zip,
    "EMAIL_ADDRESS": _email,
    "URL": _url,
    "IP_ADDRESS": _ip,
    "IBAN_CODE": _iban,
    "CREDIT_CARD": _card,
    "USERNAME": _handle,
}
