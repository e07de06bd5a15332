"""A detector that knows a list of words: pure per text, so promises can be tested against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from gateway.domain import Finding, Message, Operator, Prompt, Ruling
from gateway.pii.locate import locate, queries
from gateway.pii.mask import Apply, Masked, mask, splice
from gateway.pii.segments import Segment, collect

TODAY = date(2026, 11, 22)

Rule = Callable[[Finding], Ruling]


def pseudonym(_finding: Finding) -> Ruling:
    return Ruling(Operator.PSEUDONYM, restore=True)


def detect(words: Mapping[str, str], text: str) -> tuple[Finding, ...]:
    """Every word of the list in the text, longest first, wherever it stands."""
    ordered = sorted((word for word in words if word), key=lambda w: (-len(w), w))
    if not ordered:
        return ()
    pattern = re.compile("|".join(map(re.escape, ordered)))
    return tuple(
        Finding(words[m.group()], m.start(), m.end(), 0.9, "words") for m in pattern.finditer(text)
    )


def mask_segments(
    segments: Sequence[Segment],
    words: Mapping[str, str],
    rule: Rule = pseudonym,
    apply: Apply = splice,
) -> Masked:
    found = locate(segments, [detect(words, query) for query in queries(segments)])
    rulings = [[rule(finding) for finding in findings] for findings in found]
    return mask(segments, found, rulings, today=TODAY, apply=apply)


def mask_prompt(prompt: Prompt, words: Mapping[str, str], rule: Rule = pseudonym) -> Masked:
    return mask_segments(collect(prompt), words, rule)


def users(*texts: str) -> Prompt:
    """A conversation of user messages."""
    return Prompt(tuple(Message("user", text) for text in texts))
