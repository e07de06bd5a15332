"""Injection: text of users and tools that tries to give the model orders of its own.

Rules over normalised text. Normalising undoes what is cheap to hide behind: compatibility forms,
invisible characters, letters of other scripts that look Latin, runs of white space, and base64.
Rules find what they were written for; they are a first fence, not a proof of absence. The model
holds no mapping and no keys, so what an injection can win here is a wrong answer.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain import Verdict
from gateway.guards.port import Exchange
from gateway.guards.text import Evidence, verdict

OVERRIDE = "override"
PROMPT_THEFT = "prompt-theft"
UNMASKING = "unmasking"
ROLE_PLAY = "role-play"
CONTROL_TOKEN = "control-token"  # noqa: S105 - the name of a rule


def _rule(name: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return name, re.compile(pattern)


_SHOW = (
    r"(?:reveal|show|print|repeat|output|display|disclose|expose|recite|dump|leak|list|return"
    r"|tell me|give me|write (?:out|down)|what (?:is|are|was|were))"
)
_HIDDEN = r"(?:(?:full|entire|exact|complete|hidden|secret|initial|original|internal) )"
_MASKS = r"(?:placeholders?|pseudonyms?|masks?|tokens?)"

# The rules read text in lower case with single spaces. Every repetition is bounded: time is linear.
_RULES = (
    _rule(
        OVERRIDE,
        r"\b(?:ignore|disregard|forget|override|bypass|overlook) "
        r"(?:(?:all|any|every|each|of|the|your|my|our|these|those|what|everything|other) ){0,4}"
        r"(?:previous|prior|preceding|earlier|above|foregoing|existing|original|initial|system"
        r"|current|safety|developer)(?:ly)?(?: (?:and|or|given|system|safety|set|user)){0,2} "
        r"(?:instructions?|prompts?|rules|directions|directives|guidelines|guardrails|commands"
        r"|constraints|restrictions|messages?|context|training|programming)\b",
    ),
    _rule(
        OVERRIDE,
        r"\b(?:ignore|disregard|forget) (?:everything|anything|all|whatever)(?: that)? "
        r"(?:(?:was|is) )?(?:(?:you(?: were| have been)?|i|we) )?(?:told|said|instructed"
        r"|above|before)(?: to you)?(?: (?:above|before|earlier|previously|so far))?"
        r"(?= ?(?:[.,;:!?]|and|then|now|$))",
    ),
    _rule(OVERRIDE, r"\b(?:new|updated|real|actual) system instructions? ?: ?\w"),
    _rule(
        PROMPT_THEFT,
        rf"\b{_SHOW} (?:(?:me|us|to|back|out|verbatim|all|of|exactly) ){{0,3}}"
        rf"(?:(?:the|your|this|its) {_HIDDEN}{{0,3}}system (?:prompt|message|instructions?)"
        rf"|your {_HIDDEN}{{1,3}}(?:prompt|instructions?|rules|guidelines))\b",
    ),
    _rule(
        UNMASKING,
        rf"\b{_SHOW} (?:(?:me|us|out|all|of|the|every|each|a|full|complete|entire) ){{0,5}}"
        r"(?:mappings?|lookup|substitution|translation)(?: (?:table|list|key|file))?"
        r" (?:of|behind|for|from|between) (?:(?:the|all|your|these|those) ){0,2}"
        rf"(?:masked |redacted )?(?:{_MASKS}|names|values)\b",
    ),
    _rule(
        UNMASKING,
        rf"\b{_SHOW} (?:(?:me|us|out|all|of|the|every|each) ){{0,4}}"
        r"(?:real|actual|original|true|unmasked|underlying|unredacted) (?:(?:full|first|last) )?"
        r"(?:names?|identity|identities|values?|persons?|people|numbers?|dates?|data) "
        r"(?:behind|for|of|under|instead of|hidden by|replaced by) "
        rf"(?:(?:the|all|your|these|those|each|every|any) ){{0,2}}(?:{_MASKS}\b|<)",
    ),
    _rule(
        UNMASKING,
        r"\b(?:unmask|de-?mask|de-?anonymi[sz]e|de-?pseudonymi[sz]e|re-?identify|resolve|decode) "
        r"(?:(?:all|of|the|every|each|any|these|those|your) ){0,4}"
        r"(?:placeholders?|pseudonyms?|masked (?:names?|values?|text|data))\b",
    ),
    _rule(
        ROLE_PLAY,
        r"\byou are (?:now|no longer) (?:(?:a|an|the|in|going to be) )?(?:dan\b|do anything now"
        r"|unrestricted|unfiltered|uncensored|jailbroken|developer mode|bound by|restricted by"
        r"|an? ai (?:assistant )?(?:with|without))",
    ),
    _rule(
        ROLE_PLAY,
        r"\b(?:pretend|act as if|imagine|behave as though)(?: that)? you "
        r"(?:have|had|are|were|do not have)(?: (?:no|not|under|bound|by|free|from|any)){1,5}"
        r" (?:rules|restrictions|guidelines|limits|filters|policies|instructions|constraints)",
    ),
    _rule(
        ROLE_PLAY, r"\b(?:enable|enter|activate|switch to) (?:developer|jailbreak|dan|god) mode\b"
    ),
    _rule(
        CONTROL_TOKEN,
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|>"
        r"|\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>",
    ),
)

# Letters of Cyrillic and Greek that a reader takes for Latin ones (Unicode TR 39, in small).
_LOOKALIKE = str.maketrans(
    {
        "\u0430": "a",
        "\u0435": "e",
        "\u043e": "o",
        "\u0440": "p",
        "\u0441": "c",
        "\u0443": "y",
        "\u0445": "x",
        "\u0456": "i",
        "\u0458": "j",
        "\u0455": "s",
        "\u0501": "d",
        "\u051b": "q",
        "\u04bb": "h",
        "\u043a": "k",
        "\u043c": "m",
        "\u0442": "t",
        "\u03b1": "a",
        "\u03bf": "o",
        "\u03c1": "p",
        "\u03bd": "v",
        "\u03b9": "i",
        "\u03ba": "k",
        "\u03c4": "t",
        "\u03c5": "u",
        "\u03c7": "x",
        "\u03b5": "e",
    }
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{24,4096}={0,2}(?![A-Za-z0-9+/_=-])")
_ROLES = frozenset({"user", "tool"})


@dataclass(frozen=True, slots=True)
class Injection:
    """Checks what users wrote and what tools returned."""

    name: str = "injection"
    version: str = "1"
    side: str = "in"

    def check(self, exchange: Exchange) -> Verdict:
        found: list[Evidence] = []
        for index, message in enumerate(exchange.prompt.messages):
            if message.role in _ROLES and message.content:
                found.extend({"message": index, **hit} for hit in hits(message.content))
        codes = sorted({str(each["rule"]) for each in found})
        return verdict(self.name, codes[0] if len(codes) == 1 else "several", found)


def hits(text: str) -> Iterator[dict[str, object]]:
    """Every rule that a text meets, with offsets (code points) into it."""
    for rule, start, end in _search(text):
        yield {"rule": rule, "start": start, "end": end}
    for match in _BASE64.finditer(text):
        hidden = _decoded(match.group())
        for rule in sorted({rule for rule, _, _ in _search(hidden)}):
            yield {"rule": rule, "start": match.start(), "end": match.end(), "wrapped": "base64"}


def _search(text: str) -> Iterator[tuple[str, int, int]]:
    plain = text.lower() if text.isascii() else normalise(text)[0]
    plain = " ".join(plain.split())
    rules = [(name, rule) for name, rule in _RULES if rule.search(plain)]
    if not rules:
        return
    # Offsets cost a walk over every character: only where there is something to point at.
    normal, places = normalise(text)
    for name, rule in rules:
        for match in rule.finditer(normal):
            yield name, places[match.start()], places[match.end() - 1] + 1


def normalise(text: str) -> tuple[str, list[int]]:
    """The text as the rules read it, and for each of its characters the offset it came from."""
    out: list[str] = []
    places: list[int] = []
    for index, character in enumerate(text):
        folded = character.lower() if character.isascii() else _fold(character)
        for each in folded:
            if each.isspace():
                if out and out[-1] != " ":
                    out.append(" ")
                    places.append(index)
            else:
                out.append(each)
                places.append(index)
    return "".join(out), places


def _fold(character: str) -> str:
    """Lower case, compatibility forms resolved; marks and invisible characters vanish."""
    decomposed = unicodedata.normalize("NFKD", character).lower().translate(_LOOKALIKE)
    return "".join(each for each in decomposed if unicodedata.category(each) not in {"Mn", "Cf"})


def _decoded(blob: str) -> str:
    """The text inside a base64 run, or nothing where it is no text."""
    body = blob.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        return data.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
