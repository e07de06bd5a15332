"""Compliance: the stated purpose against what the prompt reads like, and leaks in the answer.

The model saw masked text only. An identifier in its answer that the prompt did not contain, or a
placeholder that was never issued, is therefore a leak from training or an invention; both are
reported by shape and place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain import Purpose, Verdict
from gateway.guards.port import Exchange
from gateway.guards.text import Evidence, last_user_text, strings, verdict

UNKNOWN_PLACEHOLDER = "unknown-placeholder"
NEW_IDENTIFIER = "new-identifier"
MARKETING = "reads-like-marketing"

# docs/spec/placeholders.md; with a tag for roles that do not see the values.
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]{0,39}_[0-9]{1,6}(?:_[0-9]{1,6})?(?::[a-z0-9]{1,16})?>")

_SHAPES = (
    ("us-ssn", re.compile(r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])")),
    (
        "email",
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}(?![\w-])"),
    ),
    (
        "phone",
        re.compile(
            r"(?<![\w(+-])(?:\+[0-9]{1,3}[ .-]?)?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])"
            r"[0-9]{3}[ .-][0-9]{4}(?![\w-])"
            r"|(?<![\w+])\+[0-9]{1,3}(?:[ .-]?[0-9]{2,4}){2,5}(?![\w-])"
        ),
    ),
    ("card-number", re.compile(r"(?<![\w-])[0-9]{4}(?:[ -]?[0-9]{4}){3}(?![\w-])")),
    (
        "iban",
        re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"),
    ),
)

_MARKETING = re.compile(
    r"\b(?:marketing|promotional|advertising|sales) (?:campaign|e-?mails?|mailing|newsletter|letter"
    r"|flyers?|brochure|message|text|offer|copy|slogan)s?\b"
    r"|\b(?:advertise|promote|upsell|cross-sell)\b[^.\n]{0,60}\b(?:patients?|clients?|customers?)\b"
    r"|\b(?:newsletter|discount|special offer|loyalty programme?)\b[^.\n]{0,60}"
    r"\b(?:to|for) (?:all |our |my |the |former |these ){0,3}(?:patients?|clients?|customers?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StatedPurpose:
    """Checks that the user's last message does not read like marketing under another purpose."""

    name: str = "purpose"
    version: str = "1"
    side: str = "in"

    def check(self, exchange: Exchange) -> Verdict:
        if exchange.purpose is Purpose.MARKETING:
            return verdict(self.name, MARKETING, ())
        text = last_user_text(exchange.prompt)
        found = ({"start": m.start(), "end": m.end()} for m in _MARKETING.finditer(text))
        return verdict(self.name, MARKETING, found)


@dataclass(frozen=True, slots=True)
class Compliance:
    """Checks the answer for placeholders that were never issued and for new identifiers."""

    name: str = "compliance"
    version: str = "1"
    side: str = "out"

    def check(self, exchange: Exchange) -> Verdict:
        answer = exchange.answer or ""
        prompt = "\n".join(strings(exchange.prompt))
        unknown = list(_unknown_placeholders(answer, prompt, exchange.placeholders))
        new = list(_new_identifiers(answer, prompt))
        code = NEW_IDENTIFIER if new else UNKNOWN_PLACEHOLDER
        return verdict(self.name, code, [*new, *unknown])


def _unknown_placeholders(answer: str, prompt: str, issued: frozenset[str]) -> Iterator[Evidence]:
    known = issued.union(_PLACEHOLDER.findall(prompt))
    for match in _PLACEHOLDER.finditer(answer):
        if match.group() not in known:
            yield {"kind": UNKNOWN_PLACEHOLDER, "start": match.start(), "end": match.end()}


def _new_identifiers(answer: str, prompt: str) -> Iterator[Evidence]:
    for shape, pattern in _SHAPES:
        # Spelling may differ between prompt and answer: letters and digits decide.
        known = {_bare(match.group()) for match in pattern.finditer(prompt)}
        for match in pattern.finditer(answer):
            if _bare(match.group()) not in known:
                yield {"kind": shape, "start": match.start(), "end": match.end()}


def _bare(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
