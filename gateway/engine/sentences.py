"""Sentences of a prompt, as slices of its messages, and the question that is asked of them. Pure.

Every word that an extractive answer can hold comes from here, so nothing is rewritten: a
sentence is ``text[start:end]`` and only white space stands between two of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

SUMMARISE: Final = "Summarize the text."
"""Stands in for the question when the user pasted a text and asked nothing."""

# A full stop after these ends no sentence: a name follows, or (the second set) a number.
_TITLES: Final = frozenset(
    [
        *("dr", "mr", "mrs", "ms", "prof", "st", "hon", "rev", "sen", "rep", "gen", "col", "lt"),
        *("capt", "sgt", "messrs", "mme", "mlle", "v", "vs", "e.g", "i.e", "viz", "cf", "approx"),
    ]
)
_NUMBERED: Final = frozenset(
    [
        *("no", "nos", "nr", "art", "arts", "sec", "secs", "para", "paras", "abs", "ziff", "fig"),
        *("p", "pp", "vol", "ed", "dept", "reg", "ch", "cl", "ex", "app", "case", "rm", "ext"),
    ]
)
_ENUMERATOR: Final = re.compile(r"[-*•·(\[]*\s*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})")
_END: Final = re.compile(r"[.!?…。！？]+[\"'”’»)\]*_]*")  # noqa: RUF001 - full-width marks are meant
_LIST_ITEM: Final = re.compile(r"[-*•·–—]|\(?(?:\d{1,3}|[A-Za-z])[.)]\s")  # noqa: RUF001
_WORD_BEFORE: Final = re.compile(r"(\S+)$")
_INITIALS: Final = re.compile(r"[^\W\d_]|[A-Z](?:\.[A-Z])+")
_NEAR: Final = 200  # characters on either side of a mark that decide: more would cost their square
_WRAPPED: Final = 40  # characters; a line at least so long that breaks off mid-sentence was wrapped
_POLITE: Final = (
    r"(?:(?:please|kindly|now|can you|could you|would you|in (?:one|two|three|a few) \w+),?\s+)*"
)
# Verbs that order an answer. "Name: ..." and "List of ..." are headings.
_ORDERS: Final = re.compile(
    _POLITE + r"(?:(?:summari[sz]e|sum up|in short|tl;?dr|question|q)\b"
    r"|(?:list|quote|tell|find|extract|explain|describe|show|name|identify|answer|outline|compare"
    r"|highlight|point out|pick out|look up|give me|write (?:me|a|the)|provide (?:me|a|the))\b"
    r"(?!\s*:|\s+of\b))",
    re.IGNORECASE,
)
# Words that ask without a question mark, when nothing else stands on their line.
_ASKING: Final = re.compile(r"(?:what|which|who|whom|whose|when|where|why|how)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an extractive model may quote, in document order, and what it was asked."""

    question: str = field(repr=False)
    sentences: tuple[str, ...] = field(repr=False)


def read(turns: Sequence[tuple[str, str]]) -> Reading:
    """Read ``turns`` of (role, text): sentences of users and tools, less what asks.

    The last user message holds the question; what earlier ones asked is no document either.
    """
    asked = [index for index, (role, _) in enumerate(turns) if role == "user"]
    question = ""
    quotable: list[str] = []
    for index, (role, text) in enumerate(turns):
        if role not in ("user", "tool"):
            continue
        spans = split(text)
        first = last = 0
        if role == "user":
            first, last = _question(text, spans, only=bool(asked) and index == asked[-1])
            if index == asked[-1] and first < last:
                question = text[spans[first][0] : spans[last - 1][1]]
        quotable += [
            text[start:end]
            for place, (start, end) in enumerate(spans)
            if not first <= place < last and any(map(str.isalnum, text[start:end]))
        ]
    return Reading(question or SUMMARISE, tuple(quotable))


def split(text: str) -> list[tuple[int, int]]:
    """Return the sentences of ``text`` as (start, end), in order, without surrounding white space.

    Only white space is left out: the slices hold every other character once.
    """
    spans: list[tuple[int, int]] = []
    for begin, end in _blocks(text):
        start = begin
        for boundary in _boundaries(text, begin, end):
            spans.append((start, boundary))
            start = boundary
        spans.append((start, end))
    trimmed = (_trim(text, start, end) for start, end in spans)
    return [(start, end) for start, end in trimmed if start < end]


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield runs of lines that belong together: a line, and lines it was wrapped onto."""
    start = position = 0
    for line in text.splitlines(keepends=True):
        after = position + len(line)
        if not _continues(line, text[after : after + 200]):
            yield start, after
            start = after
        position = after
    if start < len(text):
        yield start, len(text)


def _continues(line: str, following: str) -> bool:
    """Tell whether ``line`` was wrapped: long, not ended, and going on in lower case."""
    body = line.rstrip()
    return (
        len(body) >= _WRAPPED
        and line.endswith("\n")
        and body[-1] not in ".!?:;…"
        and following[:1].islower()
        and not _LIST_ITEM.match(following)
    )


def _boundaries(text: str, begin: int, end: int) -> Iterator[int]:
    """Yield the ends of sentences inside ``text[begin:end]``, save the last."""
    start = begin
    for match in _END.finditer(text, begin, end):
        after = match.end()
        before = text[max(start, match.start() - _NEAR) : match.start()]
        if _ends_sentence(before, match.group(), text[after : min(end, after + _NEAR)]):
            yield after
            start = after


def _ends_sentence(before: str, mark: str, after: str) -> bool:
    following = after.lstrip()
    if not following:
        return False
    if not after[0].isspace() and mark[0] not in "。！？":  # noqa: RUF001
        return False  # 3.5, example.org, 10:30.Next: never cut where no space stands
    if following[0].islower():
        return False
    if not mark.startswith(".") or mark.startswith(".."):
        return True
    if _ENUMERATOR.fullmatch(before.strip()):
        return False  # "1. Aspirin", "B. Allergies"
    word = _WORD_BEFORE.search(before)
    last = word.group(1).lstrip("([\"'") if word else ""
    initial = bool(_INITIALS.fullmatch(last))
    last = last.lower()
    numbered = last in _NUMBERED and following[0].isdigit()
    return not (initial or numbered or last in _TITLES)


def _question(text: str, spans: Sequence[tuple[int, int]], *, only: bool) -> tuple[int, int]:
    """Return which sentences ask, as a range of ``spans``; (0, 0) when none does.

    Tried in this order: the sentences at the end, when one has a question mark; those at the
    beginning that ask; those at the end that ask; with ``only``, a message of one sentence.
    """
    marked = [_is_marked(text[start:end]) for start, end in spans]
    asks = [
        mark or bool(_ORDERS.match(text, *span)) or _asks_alone(text, *span)
        for mark, span in zip(marked, spans, strict=True)
    ]
    tail, head = len(spans), 0
    while tail and asks[tail - 1]:
        tail -= 1
    while head < len(spans) and asks[head]:
        head += 1
    if any(marked[tail:]):
        return tail, len(spans)
    if head:
        return 0, head
    if tail < len(spans) or (only and len(spans) == 1):
        return min(tail, len(spans) - 1), len(spans)
    return 0, 0


def _is_marked(sentence: str) -> bool:
    return sentence.rstrip("\"'”’»)*_ ").endswith(("?", "？"))  # noqa: RUF001


def _asks_alone(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rpartition("\n")[2], text[end:].partition("\n")[0]
    alone = not before.strip() and not after.strip()
    return alone and text[end - 1] != "." and bool(_ASKING.match(text, start, end))
