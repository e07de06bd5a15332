"""Answers in free words whose facts all stand in the prompt: a regular language. Pure.

Read from left to right, an answer is words, marks and, only where a reader would take it for one by
itself (at the beginning, behind white space, or behind opening brackets there), a fact. Behind a
fact no word that measures may follow before a sentence goes on, unless it is part of the fact; nor
another digit, sign or joiner. So no fact is ever made of parts of others, cut short or given
another unit or sign. A placeholder is a fact: what comes back in its place may be a number.

    answer  blocks, each from one such place to the next
    WORD    letters, with apostrophes inside or at the end: an apostrophe opens no quotation
    MARK    any other character that is no digit, quotation mark, ``<`` or sign of a unit
    FACT    a chain of ``facts.py``, between two words in exactly the ways it can be spaced
    QUOTE   a span of the prompt between quotation marks, from one boundary of words to another
    TIED    what leaves a fact and a word behind it one reading ("81 mg / kg"); a STOP ends it
    OTHER   a word that is no unit, nor one under stray accents: the only kind behind a fact
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from gateway.domain import Prompt
from gateway.engine.constrain.facts import Chain, Facts, has_digit, is_unit, read
from gateway.engine.constrain.units import SIGNS, UNITS
from gateway.errors import RequestError

MAX_WORDS: Final = 60_000  # of all spans together
MAX_CHAINS: Final = 8_000
MAX_CHARACTERS: Final = 16 * MAX_WORDS  # looked at first: reading takes seconds for a megabyte

_QUOTED_ROLES: Final = frozenset(["system", "developer", "user", "tool"])
"""Whose texts hold facts. What the model itself said before is no source for what it says now."""

# Not the letters that stand for others (full-width, mathematical), nor a mark without its letter,
# nor what nobody sees: "81", a joiner without width and "g" would read as a number and its unit.
_LETTER: Final = r"[[\p{L}_]--[\uff21-\uff5a\u2100-\u214f\u{1d400}-\u{1d7ff}]]"
_UNSEEN: Final = r"\p{L}\p{M}\p{N}\p{C}\p{Sc}_\p{So}\u2100-\u214f\u3300-\u33ff\uff05\ufe6a"
_APOSTROPHES: Final = r"'\u2019"
_SPACE: Final = r" \t\u00a0\u202f"
_PAIRS: Final = ('""', "“”", "„“", "„”", "»«", "‹›")  # noqa: RUF001
_SHOWN: Final = "©®✓✔✗✘✅❌⚠★☆●■▶"
"""Symbols that show no number. Of the others some do, and every version of Unicode brings more."""
_OPENERS: Final = r"(\[{*"
_STOPS: Final = ",.;:!?…"
_MARKS: Final = "\"“”„‟«»‹›＂「」『』‘‚'’<＜"  # noqa: RUF001 - look-alikes are meant
_NOTHING: Final = "/[a&&b]/"  # matches no text
_GAP = "\0"  # stands for a space in a trie
_TOUCH = "\1"  # stands for a space or none

_RULES: Final = r"""
LETTERS: /LETTER(?:LETTER|\p{M})*/
WORD: LETTERS (/[APOSTROPHES]/ LETTERS)* /[APOSTROPHES]?/
MARK: /[^UNSEEN\sMARKSSIGNS]|[SHOWN]/
TIE: /[^UNSEEN\sSTOPSMARKSSIGNS]|[SHOWN]/
STOP: /[STOPS]/
GAP: /[SPACE]+/
TIED: (TIE | GAP)*
OPEN: /\s[OPENERS]*/
LINE: /[\n\r][OPENERS]*/
BRACKET: /[(\[{][OPENERS]*/
OTHER: WORD & ~/(?i:UNITS)[APOSTROPHES]?/ & ~/(?s:.*)[\p{Latin}\u00b5\u03bc]\p{M}(?s:.*)/
REST: (MARK | WORD)*
FIRST: (WORD | MARK | QUOTE) REST
LINK: GAP BRACKET | TIED TIE GAP /[OPENERS]*/
FACTS: FACT (LINK FACT)*
AFTER: TIED STOP MARK* | TIED GAP (TIED OTHER (MARK REST)? | QUOTE REST)
BLOCK: OPEN | FIRST OPEN | FACTS (TIED LINE | GAP BRACKET | AFTER OPEN)
ANSWER: /[OPENERS]*/ BLOCK* (FIRST | FACTS (TIED | AFTER))?
"""


def rules(prompt: Prompt, placeholders: frozenset[str]) -> str:
    """Lark rules that define the terminal ``ANSWER``.

    Raises:
        RequestError: the prompt holds more than a grammar of this kind is made for.
    """
    texts = [
        message.content
        for message in prompt.messages
        if message.role in _QUOTED_ROLES and message.content
    ]
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise _too_long()
    facts = read(texts, placeholders)
    if len(facts.chains) > MAX_CHAINS or sum(map(len, facts.spans)) > MAX_WORDS:
        raise _too_long()
    return "\n".join([_common(), _place(facts), _fact(facts.chains), _quote(facts.spans)]) + "\n"


def _too_long() -> RequestError:
    return RequestError("The prompt is too long for a grounded answer.", param="response_format")


def _common() -> str:
    text = _RULES
    for name, value in (
        ("UNSEEN", _UNSEEN),
        ("/LETTER(?:LETTER|", f"/{_LETTER}(?:{_LETTER}|"),
        ("APOSTROPHES", _APOSTROPHES),
        ("OPENERS", _OPENERS),
        ("SPACE", _SPACE),
        ("SHOWN", _SHOWN),
        ("STOPS", _STOPS),
        ("MARKSSIGNS", re.escape(_MARKS + SIGNS)),
        ("UNITS", "|".join(sorted(re.escape(unit) for unit in UNITS))),
    ):
        text = text.replace(name, value)
    return text


def _place(facts: Facts) -> str:
    known = " | ".join(map(json.dumps, facts.placeholders))
    if not known:
        return f"PLACE: {_NOTHING}"
    return rf"PLACE: /(?:(?:[DdLl]|[Qq]u)[{_APOSTROPHES}])?/ ({known}) /(?:[{_APOSTROPHES}]s?)?/"


def _quote(spans: Sequence[tuple[str, ...]]) -> str:
    if not spans:
        return f"QUOTE: {_NOTHING}"
    lines = [
        f"SPAN{number}: %regex {json.dumps({'substring_chunks': span}, ensure_ascii=False)}"
        for number, span in enumerate(spans)
    ]
    lines.append("SPAN: " + " | ".join(f"SPAN{number}" for number in range(len(spans))))
    pairs = [f"{json.dumps(left)} SPAN {json.dumps(right)}" for left, right in _PAIRS]
    pairs.append(r'"\u00ab" /[ \u00a0\u202f]?/ SPAN /[ \u00a0\u202f]?/ "\u00bb"')
    lines.append("QUOTE: " + " | ".join(pairs))
    return "\n".join(lines)


# --- facts ---------------------------------------------------------------------------------------


def _fact(chains: Sequence[Chain]) -> str:
    if not chains:
        return "FACT: PLACE"
    root: _Node = {}
    for chain in chains:
        node = root
        for symbol in _spelled(chain):
            node = node.setdefault(symbol, {})
        node[""] = {}
    return f"FACT: PLACE | /{_pattern(root)}/"


def _spelled(chain: Chain) -> list[str]:
    """The characters of a chain; between number and unit a space may be missing."""
    symbols: list[str] = []
    for number, link in enumerate(chain):
        if number:
            measures = is_unit(link) and ("/" in link or not has_digit(link))
            touches = measures and has_digit(chain[number - 1][-1])
            symbols.append(_TOUCH if touches else _GAP)
        symbols += link
    return symbols


_Node = dict[str, "_Node"]


def _pattern(node: _Node) -> str:
    """The regular expression of a trie: at each character at most one way on."""
    text = ""
    while len(node) == 1 and "" not in node:
        ((symbol, node),) = node.items()
        text += _symbol(symbol)
    ways = [_symbol(symbol) + _pattern(after) for symbol, after in node.items() if symbol]
    if not ways:
        return text
    return text + "(?:" + "|".join(ways) + ")" + ("?" if "" in node else "")


def _symbol(symbol: str) -> str:
    if symbol == _GAP:
        return r"[ \u00a0\u202f]"
    if symbol == _TOUCH:
        return r"[ \u00a0\u202f]?"
    return "\\/" if symbol == "/" else re.escape(symbol)
