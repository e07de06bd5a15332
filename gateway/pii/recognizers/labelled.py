"""The grammar of "MRN: 1234567": a label, what may stand between, and the number it announces.

Strings for RE2 only; ``load`` compiles them. A *strict* label is an ordinary word too ("case",
"file"), and counts only before a number word ("no.", "#", "ID") or a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A number word announces a number as surely as a colon does.
_NUMBER_WORD = (
    r"(?:(?:numbers?|nos?\b\.?|nrs?\b\.?|num\b\.?|n\.?°|n\.?º|№|id\b\.?|ids\b|#|nummer|número|numero|"
    r"numéro|código|codigo|code|ref(?:erence)?\b\.?|kennung|zeichen|s/n\b)(?:[ ]?(?:#|no\b\.?))?)"
)
ANNOUNCED = re.compile(
    rb"[:=#|]|\xc2[\xb0\xba]|(?:numbers?|nos?|nrs?|num|id|nummer|n\xc3\xbamero|num\xc3\xa9ro)\b"
    rb"|(?:no|nr|id)[ .:]*$",
    re.IGNORECASE,
)
_OWNER = (
    r"(?:(?:patient|pt|member|client|customer|user|person|subscriber|insured|policy|holder|"
    r"employee|account|medical|health|billing|provider|case|court|legal|us|primary|secondary|doc|"
    r"hospital|old|new|his|her|their|my|current|previous|external|internal|local)(?:'s)?[ _-]?)?"
)
_BETWEEN = (
    r"(?:(?:is|was|are|ist|war|lautet|es|era|est|of|reads|ends?(?: (?:in|with))?|starts?(?: with)?|"
    r"ending(?: (?:in|with))?|starting(?: with)?|"
    r"(?:for|of) (?:this|the|her|his|my|our|that) [a-z]{2,12}(?: (?:is|was))?|on file(?: is)?)\s)?"
)
_ASIDE = r"(?:\([^()\n\d]{1,24}\)\s?)?"  # "Policy no. (primary): ..."
_JOINT = r"[\s:=#|>.({\[\"'*_,;~-]{0,8}"
_VALUE = r"(?:[A-Za-z]+[-./_:])*[A-Za-z]*\d[A-Za-z0-9]*(?:[-./_:][A-Za-z0-9]+)*"
_GROUPS = (
    r"(?:(?-i:[A-Z]{1,4}) ?)?(?:\d{2}[ /]\d{6,8}(?:[ /]\d{2})?|\d{1,4}(?: \d{2,5}){1,6})"
    r"(?:[- ]?(?-i:[A-Z]))?\b"
)
_SPACED_VALUE = rf"(?:(?-i:[A-Z]{{1,4}}) )?{_VALUE}(?: \d{{3,}}(?:-\d+)*\b)*(?: (?-i:[A-Z])\b)?"
# What stands after a label and is no identifier: years, ages, doses, ordinals, dates, file names.
NO_NUMBER = (
    r"(?i)^(?:(?:19|20)\d\d|\d{1,3}[mf]|\d{1,2}/\d{1,2}(?:/(?:19|20)?\d\d)?|(?:19|20)\d\d-\d\d-\d\d|"
    r"[\d.,/-]+[- ]?(?:years?|yrs?|yo|mg|mcg|ml|dl|g|kg|lbs?|mm|"
    r"cm|days?|weeks?|months?|hours?|hrs?|h|min|st|nd|rd|th|x|times|units?|tablets?|pm|am|bpm|k)\b.*|"
    r".*\.(?:pdf|docx?|txt|csv|xlsx?|jpe?g|png|json|py|html?))$"
)


def spell(words: str) -> str:
    """Match the words with little or nothing between them: member_id, memberId, Mbr.-Id."""
    return re.escape(words.strip()).replace(r"\ ", "[ _.-]{0,2}")


def label_pattern(words: Iterable[str], *, strict: bool, spaced: bool) -> tuple[str, str]:
    """Return the pattern, whose group ``v`` is the number, and its cue."""
    spelled = "|".join(spell(w) for w in sorted(words, key=len, reverse=True))
    value = f"{_GROUPS}|{_SPACED_VALUE if spaced else _VALUE}"
    close = r"[\"'*_\])]{0,3}"
    if strict:
        announced = rf"[ _-]?{_NUMBER_WORD}{close}\s?{_ASIDE}{_BETWEEN}{_JOINT}"
        link = rf"(?:{announced}|{close}\s?[:=#|]{_JOINT})"
    else:
        link = rf"{close}(?:[ _-]?{_NUMBER_WORD})?{close}\s{{0,3}}{_ASIDE}{_BETWEEN}{_JOINT}"
    pattern = rf"(?i)(?:\b|_){_OWNER}(?:{spelled})\.?[ ]?\(?{link}(?P<v>{value})"
    return pattern, rf"(?i)(?:{spelled})"
