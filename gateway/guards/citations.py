"""Citations: authorities in an answer that stand in neither the prompt nor its documents.

Nothing is looked up, for there is nothing to look it up in: a citation that the prompt does not
contain is *unverified*, which is a reason to check it and no proof that it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain import Verdict
from gateway.guards.port import Exchange
from gateway.guards.text import Evidence, strings, verdict

UNVERIFIED = "unverified"
CASE_NAME = "case-name"

_PARTY = r"(?:[A-Z][\w.'\u2019&-]{0,40}|<[A-Z_]{2,41}[0-9_]{1,14}(?::[a-z0-9]{1,16})?>)"
_PARTIES = rf"{_PARTY}(?: (?:{_PARTY}|of|the|and|de|van|von|&)){{0,6}}"
_VERSUS = re.compile(r" vs?\.? ")
_LEFT = re.compile(rf"(?<!\w){_PARTIES}\Z")
_RIGHT = re.compile(_PARTIES)
_LOOK_BACK = 160
"""Characters before "v." in which the first party is looked for."""

_US_REPORTERS = (
    r"U\. ?S\.|S\. ?Ct\.|L\. ?Ed\.(?: ?2d)?|F\.(?: ?(?:2d|3d|4th))?|F\. ?Supp\.(?: ?[23]d)?"
    r"|[AP]\.(?: ?[23]d)|N\. ?[EWY]\.(?: ?[23]d)?|S\. ?[EW]\.(?: ?[23]d)?|So\.(?: ?[23]d)?"
    r"|Cal\.(?: ?(?:2d|3d|4th|5th))?"
)
_UK_REPORTERS = r"(?:UKSC|UKHL|EWCA|EWHC|AC|QB|WLR|All ER)(?: Civ| Crim)?"

# Every repetition is bounded: time is linear in the length of the answer.
_KINDS = (
    ("ecli", re.compile(r"\bECLI:[A-Z]{2}:[A-Z0-9]{1,12}:[0-9]{4}:[A-Z0-9.]{1,25}\b")),
    (
        "application-number",
        re.compile(r"\b(?:nos?\.|applications?|appl\.) ?[0-9]{1,6}/[0-9]{2}\b", re.IGNORECASE),
    ),
    (
        "docket-number",
        re.compile(
            r"\b[0-9]{1,2}:[0-9]{2}-(?:cv|cr|mc|md|bk|ap|mj)-[0-9]{3,6}\b"
            r"|\b(?:case|docket|cause|nos?\.) ?(?:no\. ?)?(?:[A-Z]{1,4}[ -]?)?"
            r"[0-9]{2,4}-[0-9]{2,6}\b"
            r"|\b[CT][-\u2011][0-9]{1,4}/[0-9]{2}\b",
            re.IGNORECASE,
        ),
    ),
    (
        "reporter",
        re.compile(
            rf"\b[0-9]{{1,4}} (?:{_US_REPORTERS}) [0-9]{{1,4}}\b"
            rf"|\[[0-9]{{4}}\] (?:[0-9] )?{_UK_REPORTERS} [0-9]{{1,4}}\b"
        ),
    ),
    (
        "statute",
        re.compile(
            r"(?:\b[0-9]{1,2} (?:U\. ?S\. ?C\.|USC|C\. ?F\. ?R\.|CFR)"
            r"(?: (?:\u00a7{1,2}|sec\.|section|part))?|\u00a7{1,2}"
            r"|\b(?:article|art\.|section|sec\.|rule)) ?"
            r"[0-9]{1,5}[a-z]?(?:[.:-][0-9]{1,5}[a-z]?){0,3}(?:\([0-9a-z]{1,4}\)){0,4}",
            re.IGNORECASE,
        ),
    ),
)
_ONE_SPELLING = (
    ("vs.", "v."),
    ("article", "art."),
    ("section", "sec."),
    ("\u00a7\u00a7", "sec."),
    ("\u00a7", "sec."),
)
_OPENER = re.compile(r"(?:In|See|Under|Per|And|But|As|The|Cf\.|Like) (?=\S)")
"""A word that opens a sentence and is no part of the name that follows."""

_BLANKS = {ord(each): " " for each in "\n\r\t\v\f\u00a0\u2009\u202f"}


@dataclass(frozen=True, slots=True)
class Citations:
    """Checks that every authority the answer names is in the prompt."""

    name: str = "citations"
    version: str = "1"
    side: str = "out"

    def check(self, exchange: Exchange) -> Verdict:
        prompt = "\n".join(strings(exchange.prompt))
        return verdict(self.name, UNVERIFIED, _unverified(exchange.answer or "", prompt))


def _unverified(answer: str, prompt: str) -> Iterator[Evidence]:
    known: dict[str, set[str]] = {}
    shortened: dict[str, set[str]] = {}
    for kind, start, end in _citations(prompt):
        parts = _parts(kind, prompt[start:end])
        known.setdefault(kind, set()).add(_join(parts))
        shortened.setdefault(kind, set()).update(_shorter(kind, parts))
    for kind, start, end in _citations(answer):
        parts = _parts(kind, answer[start:end])
        # The answer may cite less of it than the prompt ("Article 6" for "Article 6(1)"); of a
        # name it may also hold more, where a capitalised word stands before or after it.
        more = kind == CASE_NAME and not known.get(kind, set()).isdisjoint(_shorter(kind, parts))
        if not more and _join(parts) not in shortened.get(kind, ()):
            yield {"kind": kind, "start": start, "end": end}


def _citations(text: str) -> Iterator[tuple[str, int, int]]:
    """Every citation of a text: its kind and where it stands."""
    # A line may end inside of one; blanks for line ends keep the offsets.
    flat = text.translate(_BLANKS)
    for kind, pattern in _KINDS:
        for match in pattern.finditer(flat):
            yield kind, match.start(), match.end()
    for versus in _VERSUS.finditer(flat):
        before = flat[max(0, versus.start() - _LOOK_BACK) : versus.start()]
        left, right = _LEFT.search(before), _RIGHT.match(flat, versus.end())
        if left and right:
            opener = _OPENER.match(left.group())
            start = versus.start() - len(left.group()) + (opener.end() if opener else 0)
            yield CASE_NAME, start, versus.end() + len(right.group().rstrip("."))


_Parts = tuple[tuple[str, ...], tuple[str, ...]]


def _parts(kind: str, citation: str) -> _Parts:
    """A citation in one spelling: the words of either party of a name, or head and subsections."""
    if kind == CASE_NAME:
        left, right = _VERSUS.split(citation.translate(_BLANKS).casefold(), maxsplit=1)
        return tuple(left.split()), tuple(right.split())
    spelled = "".join(citation.split()).casefold()
    for variant, spelling in _ONE_SPELLING:
        spelled = spelled.replace(variant, spelling)
    head, *subsections = spelled.split("(")
    return (head,), tuple(subsections)


def _join(parts: _Parts) -> str:
    return " ".join(parts[0]) + "|" + " ".join(parts[1])


def _shorter(kind: str, parts: _Parts) -> Iterator[str]:
    """Every form that cites the same with less: fewer subsections, or fewer words of a party."""
    left, right = parts
    lefts = [left[skip:] for skip in range(len(left))] if kind == CASE_NAME else [left]
    for head in lefts:
        for keep in range(1 if kind == CASE_NAME else 0, len(right) + 1):
            yield _join((head, right[:keep]))
