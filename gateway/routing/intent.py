"""What a prompt asks for, by a few cues: small, honest about not knowing, never a gate.

These are rules of thumb for choosing a model, not a classifier: they were written by hand, read
only the last request of the user, and answer ``unsure`` unless exactly one kind of cue is there.
Nothing is denied or permitted by them. English only; any other language is ``unsure``.
"""

from __future__ import annotations

import re

EXTRACT = "extract"
GENERAL = "general"
LETTER = "letter"
QUESTION = "question"
SUMMARIZE = "summarize"
TRANSLATE = "translate"
UNSURE = "unsure"

INTENTS = (EXTRACT, GENERAL, LETTER, QUESTION, SUMMARIZE, TRANSLATE, UNSURE)

_HEAD = 400
_TAIL = 400
"""Characters read from either end: an instruction stands before or after the text it is about."""


def _cue(name: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return name, re.compile(pattern, re.IGNORECASE)


_ASK = r"(?:^|[.!?:;,\n]\s*|\b(?:please|to|and|you|me|us|then)\s+)"
_CUES = (
    _cue(
        SUMMARIZE,
        _ASK + r"(?:summari[sz]e|sum up|condense|recap|abridge)\b|\btl;?dr\b"
        r"|\b(?:give|write|make|need|want|draft)\b[^.\n]{0,30}\b(?:summary|synopsis|abstract)\b",
    ),
    _cue(
        LETTER,
        r"\b(?:write|draft|compose|prepare|create)\b[^.\n]{0,40}"
        r"\b(?:letter|e-?mail|memo|note to|reply|response to|motion|brief|referral)\b",
    ),
    _cue(
        EXTRACT,
        _ASK + r"(?:extract|list|enumerate|pull out|identify|find|highlight|quote)\b",
    ),
    _cue(TRANSLATE, _ASK + r"translate\b|\btranslation (?:in)?to\b"),
    _cue(GENERAL, _ASK + r"(?:explain|compare|rewrite|rephrase|proofread|brainstorm|suggest)\b"),
)
_QUESTION = re.compile(
    r"(?:^|[.!?:\n]\s*)(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|does|do|did"
    r"|has|have|had|can|could|should|would|will)\b[^.\n?]{0,300}\?",
    re.IGNORECASE,
)


def classify(text: str) -> str:
    """Name the intent of a user's last message (masked): one of ``INTENTS``."""
    seen = text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    named = {name for name, cue in _CUES if cue.search(seen)}
    if len(named) == 1:
        return named.pop()
    if not named and _QUESTION.search(seen):
        return QUESTION
    return UNSURE
