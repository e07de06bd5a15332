"""The disguises that are undone in place: where they stand in a folded text, and what they say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import re2

from gateway.pii.placeholders import CANONICAL
from gateway.pii.views import view


@dataclass(frozen=True, slots=True)
class Edit:
    """``text`` in the place of the folded text's ``[start:end]``.

    ``entity_type``: it is a finding by itself. ``checksum_only``: what is found over it counts only
    with a checksum, because honest texts look like this, too.
    """

    start: int
    end: int
    text: str = field(repr=False)
    kind: str
    entity_type: str = ""
    checksum_only: bool = False


def find_edits(text: str) -> list[Edit]:
    """Every edit, sorted, without overlaps: of two that overlap the earlier kind stays."""
    data = text.encode()
    taken: list[Edit] = []
    used = bytearray()
    for cue, find in _FINDERS:
        if not cue.search(data):
            continue
        used = used or bytearray(len(text) + 1)
        for edit in find(text):
            if not any(used[edit.start : edit.end]):
                used[edit.start : edit.end] = b"\1" * (edit.end - edit.start)
                taken.append(edit)
    return sorted(taken, key=lambda e: e.start)


# --- escapes -------------------------------------------------------------------------------------


def _escapes(text: str) -> Iterator[Edit]:
    escaped = view(text)
    if escaped is None:
        return
    stops = (*escaped.starts[1:], len(escaped.text))
    for start, stop, source, end in zip(
        escaped.starts, stops, escaped.sources, escaped.ends, strict=True
    ):
        if end >= 0:
            yield Edit(source, end, escaped.text[start:stop], "escape")


# --- letters that look like others ---------------------------------------------------------------

_LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеіјорсухѕԁһԛԝьгпԍвкмнт"
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαεικνορτυχγ"
    "\u0251\u0261\u0131\u2113",
    "ABESIJKMHOPCTYXaeijopcyxsdhqwbrnGbkmht"
    "ABEZHIKMNOPTYXaeikvoptuxy"
    "agil",
)  # fmt: skip
_MIXED = re.compile(
    r"[^\W\d_]*[\u0370-\u03ff\u0400-\u04ff\u0500-\u052f\u0251\u0261\u0131\u2113][^\W\d_]*"
)
_LATIN = re.compile(r"[A-Za-z]")
_FOREIGN = re.compile(r"[\u0370-\u03ff\u0400-\u052f]")
_BADGES = re.compile(
    "[\U0001f150-\U0001f169\U0001f170-\U0001f189\U0001f1e6-\U0001f1ff\u2776-\u2793]+"
)


def _lookalikes(text: str) -> Iterator[Edit]:
    """Words with letters of two scripts, or wholly of lookalikes among Latin text."""
    if text.isascii():
        return
    mostly_latin = len(_LATIN.findall(text)) > len(_FOREIGN.findall(text))
    for match in _MIXED.finditer(text):
        word = match[0]
        plain = word.translate(_LOOKALIKES)
        if plain != word and plain.isascii() and (mostly_latin or _LATIN.search(word)):
            yield Edit(match.start(), match.end(), plain, "lookalike")
    for match in _BADGES.finditer(text):
        yield Edit(match.start(), match.end(), "".join(map(_badge, match[0])), "badge")


def _badge(character: str) -> str:
    code = ord(character)
    for first in (0x1F150, 0x1F170, 0x1F1E6):
        if first <= code < first + 26:
            return chr(ord("A") + code - first)
    digit = unicodedata.digit(character, None)
    return character if digit is None else str(digit)


# --- cut by markup, spaces and lines -------------------------------------------------------------

# A placeholder is no markup: without it the tripwire would read its neighbours as one text.
_TAG = re.compile(rf"(?:(?!{CANONICAL})</?[a-zA-Z][^<>\n]{{0,80}}>)+")
_INLINE = re.compile(r"</?(?:b|i|u|em|strong|span|font|a|mark|small|sub|sup|big|tt|wbr|code)\b")
_EMPHASIS = re.compile(r"(?<=[^\W_])(?:[*~`]{1,3})(?: ?[*~`]{1,3})?(?=[^\W_])")
_SPACED = re.compile(
    r"(?<![^\W_])[^\W_](?:(?:[ ._*|·]|[ ]?[-@/][ ]?)(?=[^\W_](?![^\W_]))[^\W_]|"
    r" {2,3}(?=[^\W_] )[^\W_]| ?[-@./] ?[^\W_](?![^\W_])){3,60}(?![^\W_])"
)
_GAPS = re.compile(r" {2,}")
_BROKEN = re.compile(
    r"(?<=\d[-/.])[ \t]*\r?\n[ \t]*(?=\d)|(?<=\w@)\s{1,4}(?=\w)|(?<=\w)\s{0,2}\n\s{0,4}(?=@\w)|"
    r"(?<=[a-z]-)\r?\n(?=[a-z])|(?<=\d)\r?\n(?=[-/]\d)|(?<=@)[ \t]*\r?\n[ \t]*(?=\w)"
)
_COLUMN = re.compile(r"(?<=\d{3})[ \t]*\r?\n[ \t]*(?=\d{3})")


def _markup(text: str) -> Iterator[Edit]:
    if "<" in text:
        for match in _TAG.finditer(text):
            yield Edit(match.start(), match.end(), "" if _INLINE.match(match[0]) else " ", "markup")
    for match in _EMPHASIS.finditer(text):
        yield Edit(match.start(), match.end(), " " if " " in match[0] else "", "markup")


def _spaced(text: str) -> Iterator[Edit]:
    """``J o h n  D o e``, ``1 2 3 - 4 5``: single characters with single gaps."""
    for match in _SPACED.finditer(text):
        run = match[0]
        parts = _GAPS.split(run)
        plain = " ".join(re.sub(r"(?<=\w)[ ._*|·]+(?=\w)| ", "", part) for part in parts)
        if sum(c.isalnum() for c in run) > 3:  # noqa: PLR2004
            yield Edit(match.start(), match.end(), plain, "spaced")


def _broken(text: str) -> Iterator[Edit]:
    if "\n" not in text:
        return
    for match in _BROKEN.finditer(text):
        yield Edit(match.start(), match.end(), "", "broken")
    for match in _COLUMN.finditer(text):
        yield Edit(match.start(), match.end(), " ", "column", checksum_only=True)


# --- spelled out ---------------------------------------------------------------------------------

_UNITS = (
    "zero|oh|o|null|cero|zéro|nul", "one|uno|una|un|une|eins|ein", "two|dos|deux|zwei|zwo",
    "three|tres|trois|drei", "four|cuatro|quatre|vier", "five|cinco|cinq|fünf|fuenf",
    "six|seis|sechs", "seven|siete|sept|sieben", "eight|ocho|huit|acht", "nine|nueve|neuf|neun",
)  # fmt: skip
_TEENS = (
    "ten|diez|dix|zehn", "eleven|once|onze|elf", "twelve|doce|douze|zwölf", "thirteen|trece|treize",
    "fourteen|catorce|quatorze", "fifteen|quince|quinze", "sixteen|dieciséis|seize",
    "seventeen|diecisiete", "eighteen|dieciocho", "nineteen|diecinueve",
)  # fmt: skip
_TENS = (
    "twenty|veinte|vingt|zwanzig", "thirty|treinta|trente|dreißig",
    "forty|cuarenta|quarante|vierzig", "fifty|cincuenta|cinquante|fünfzig",
    "sixty|sesenta|soixante|sechzig", "seventy|setenta|siebzig",
    "eighty|ochenta|achtzig", "ninety|noventa|neunzig",
)  # fmt: skip
_WORDS = (
    {w: str(i) for i, ws in enumerate(_UNITS) for w in ws.split("|")}
    | {w: str(10 + i) for i, ws in enumerate(_TEENS) for w in ws.split("|")}
    | {w: str(20 + 10 * i) for i, ws in enumerate(_TENS) for w in ws.split("|")}
)
_TIMES = {"double": 2, "doble": 2, "doppel": 2, "triple": 3, "treble": 3}
_DASHES = ("dash", "hyphen", "minus", "guion", "guión", "tiret", "strich", "bindestrich")
_SPOKEN = "|".join(sorted([*_WORDS, *_TIMES], key=len, reverse=True))
_RUN = re.compile(
    rf"(?i)(?<!\w)(?:{_SPOKEN}|\d)(?:[\s,.;-]{{1,3}}(?:(?:{'|'.join(_DASHES)}|space|then)[\s,.-]{{1,3}})?"
    rf"(?:{_SPOKEN}|\d(?!\w)))+(?!\w)"
)
_LETTER = re.compile(r"[^\W\d_]")
_TOKEN = re.compile(rf"(?i){_SPOKEN}|{'|'.join(_DASHES)}|\d")
_FEWEST, _ALONE = 4, 7  # digits of a run; of a run that is a finding whatever stands beside it
_KINDS = {7: "PHONE_NUMBER", 9: "US_SSN", 10: "PHONE_NUMBER", 11: "PHONE_NUMBER", 16: "CREDIT_CARD"}


def _spelled(text: str) -> Iterator[Edit]:
    for match in _RUN.finditer(text):
        digits = _digits(_TOKEN.findall(match[0].lower()))
        count = sum(c.isdigit() for c in digits)
        if count < _FEWEST or not _LETTER.search(match[0]):
            continue
        plain = digits.replace("-", "")
        if plain.startswith("12345678910"):
            continue  # somebody counts
        alone = count >= _ALONE and plain not in "012345678910111213" and len(set(plain)) > 1
        kind = _KINDS.get(count, "ID_NUMBER") if alone else ""
        yield Edit(match.start(), match.end(), digits, "spelled", kind)


def _digits(tokens: Iterable[str]) -> str:
    out = ""
    times, tens = 1, False
    for token in tokens:
        if token in _TIMES:
            times = _TIMES[token]
            continue
        if token in _DASHES:
            out += "-"
            tens = False
            continue
        said = _WORDS.get(token, token)
        if tens and len(said) == 1 and said != "0":
            out = out[:-1] + said  # "twenty one"
            tens = False
            continue
        out += said * times
        times = 1
        tens = len(said) == 2 and said[1] == "0" and said != "10"  # noqa: PLR2004
    return out


_AT = (
    r"(?:\s?[\[({<]\s?(?:at|arroba|arobase|ät|@|a)\s?[\])}>]\s?|"
    r"\s(?:at|arroba|arobase|klammeraffe)\s|\s?@\s?)"
)
_DOT = (
    r"(?:\s?[\[({<]\s?(?:dot|punto|point|punkt|\.)\s?[\])}>]\s?|\s(?:dot|punto|point|punkt)\s|\.)"
)
_JOIN = rf"(?:{_DOT}|\s(?:underscore|dash|hyphen|guion bajo|minus|tiret|unterstrich)\s|[._+-])"
_MAIL = re.compile(
    rf"(?i)(?<!\w)(\w+(?:{_JOIN}\w+){{0,4}}){_AT}(\w[\w-]*(?:{_DOT}[\w-]+){{1,3}}|gmail|yahoo|hotmail|outlook|icloud)(?!\w)"
)
_SAID_DOT, _SAID_AT = re.compile(rf"(?i){_DOT}"), re.compile(rf"(?i){_AT}")
_DOT_WORD = re.compile(r"(?i)\s(?:dot|punto|point|punkt)\s")
_ENDS = re.compile(
    r"(?i)(?:com|org|net|edu|gov|mil|io|co|info|biz|health|law|us|uk|ca|au|eu|de|fr|es|ch|at|it|nl|be|"
    r"pt|ie|mx|ar|cl|br|in|example|test|gmail|yahoo|hotmail|outlook|icloud)$"
)


def _mails(text: str) -> Iterator[Edit]:
    for match in _MAIL.finditer(text):
        if "@" in match[0] and " " not in match[0] and "[" not in match[0]:
            continue  # written plainly
        local, host = (_SAID_DOT.sub(".", part) for part in match.groups())
        bracketed = re.search(r"[\[({<@]", match[0])
        if not _ENDS.search(host) or not (bracketed or _DOT_WORD.search(match[0]) or "." in local):
            continue
        local = re.sub(r"(?i)\s(?:underscore|guion bajo|unterstrich)\s", "_", local)
        local = re.sub(r"(?i)\s(?:dash|hyphen|minus|tiret)\s", "-", local)
        yield Edit(match.start(), match.end(), f"{local}@{host}", "mail", "EMAIL_ADDRESS")


# --- one character for another -------------------------------------------------------------------

_MISREAD = str.maketrans("OoQDlIi|!SsBZzGgq", "00001111155822699")
_SHAPE = re.compile(
    r"(?<![\w.])[(+]?[0-9OolIi|!SsBZzGgq]"
    r"(?:[0-9OolIi|!SsBZzGgq]|[-./ ()](?=[0-9OolISBZ(|])){5,22}(?!\w)"
)
_LEET = re.compile(r"(?<![\w@./-])[A-Za-z]{1,12}(?:[013457@$!]+[a-z]{1,12}){1,4}(?![\w@./-])")
_LEETED = str.maketrans("013457@$!", "oleastasi")


def _misread(text: str) -> Iterator[Edit]:
    """Digits read or typed as letters in what has the shape of a number."""
    for match in _SHAPE.finditer(text):
        run = match[0]
        digits = sum(c.isdigit() for c in run)
        letters = sum(c.isalpha() or c in "|!" for c in run)
        if letters and digits >= _FEWEST and letters * 2 <= digits:
            yield Edit(match.start(), match.end(), run.translate(_MISREAD), "misread")


def _leet(text: str) -> Iterator[Edit]:
    for match in _LEET.finditer(text):
        if sum(c.isalpha() for c in match[0]) < _FEWEST:
            continue  # a laboratory's or a drug's name: A1c, B12
        yield Edit(match.start(), match.end(), match[0].translate(_LEETED), "leet")


_WORDLIKE = rf"(?:{_SPOKEN}|\d)"
# Looser than each finder, in RE2: no match, no work.
_FINDERS = tuple(
    (re2.compile(cue), find)
    for cue, find in (
        (r"\\[nrtu]|&#?\w+;|%[0-9A-Fa-f]{2}", _escapes),
        (
            r"[\x{370}-\x{52f}\x{251}\x{261}\x{131}\x{2113}\x{2776}-\x{2793}\x{1f150}-\x{1f1ff}]",
            _lookalikes,
        ),
        (rf"(?i){_AT}(?:[\w-]+{_DOT}[\w-]|gmail|yahoo|hotmail|outlook|icloud)", _mails),
        (
            rf"(?i)\b(?:{_WORDLIKE}[\s,.;-]{{1,3}}(?:[a-z]{{1,11}}[\s,.-]{{1,3}})?){{2}}{_WORDLIKE}",
            _spelled,
        ),
        (r"<[/a-zA-Z]|\w[*~`]{1,3} ?[*~`]{0,3}\w", _markup),
        (
            (
                r"\d[-/.][ \t]*\r?\n[ \t]*\d|\w@\s{1,4}\w|\w\s{0,2}\n\s{0,4}@\w|"
                r"[a-z]-\r?\n[a-z]|\d\r?\n[-/]\d|@[ \t]*\r?\n|\d{3}[ \t]*\r?\n[ \t]*\d{3}"
            ),
            _broken,
        ),
        (r"\b\w[ ._*|-]{1,3}\w[ ._*|/@-]{1,3}\w[ ._*|/@-]{1,3}\w\b", _spaced),
        (r"\d[OolIi|!SsBZzGgq]|[OolIi|!SsBZzGgq]\d", _misread),
        (r"[A-Za-z][013457@$!]+[a-z]", _leet),
    )
)
