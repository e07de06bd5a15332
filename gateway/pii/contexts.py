"""Where nothing is restored: places from which a renderer may fetch or send what stands there.

A value inside a URL leaves the building as soon as something loads the link, so a model that was
talked into writing ``![](https://host/?q=<PERSON_1>)`` must not have it filled. The question is
answered from the left context alone, by what stands between the last blank line and the
placeholder; so it has the same answer however a stream was split. It errs towards "closed": a
placeholder that stays is a nuisance, one that is sent away is a breach.
"""

from __future__ import annotations

import re

_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*\n")
# "//" covers every scheme://, addresses without a scheme, and url(//...) in style sheets.
_URL = re.compile(r"//|(?<![^\W_])www\.|\b(?:mailto|data|javascript|vbscript|blob):", re.IGNORECASE)
_LINK = re.compile(r"!?\[[^\[\]]*\]\([^()\s]*\)")  # a whole inline link: its target is over
_PARENS = re.compile(r"\]\(|[()]")
_DEFINITION = re.compile(r"[ \t>*+\-0-9.]*\[[^\]]*\]:")
_TAG = re.compile(
    r"""<[/!?]?[A-Za-z][A-Za-z0-9:-]*(?=[\s/])
        (?:[^>=]|=\s*"[^"]*"|=\s*'[^']*'|=(?!\s*["']))*
        (?:=\s*(?:"[^"]*|'[^']*)?)?\Z""",
    re.VERBOSE,
)


def paragraph(left: str) -> str:
    """The part of the left context that ``closed`` looks at."""
    start = 0
    for match in _BLANK_LINE.finditer(left):
        start = match.end()
    return left[start:]


def closed(left: str) -> bool:
    """Whether nothing may be restored directly after ``left``.

    True inside a URL (up to the next white space), the target of a Markdown link or image, a link
    reference definition, and an HTML tag with its attributes.
    """
    text = paragraph(left)
    return _in_url(text) or _in_target(text) or _in_definition(text) or _in_tag(text)


def _in_url(text: str) -> bool:
    words = text.split()
    if not words or text[-1].isspace():
        return False
    return _URL.search(_LINK.sub("", words[-1])) is not None


def _in_target(text: str) -> bool:
    depth = 0
    for match in _PARENS.finditer(text):
        if match.group() == "](":
            depth += 1
        elif depth:
            depth += 1 if match.group() == "(" else -1
    return depth > 0


def _in_definition(text: str) -> bool:
    """``[label]: target``; the target may also stand on the next line."""
    lines = text.split("\n")
    if _DEFINITION.match(lines[-1]):
        return True
    previous = _DEFINITION.match(lines[-2]) if len(lines) > 1 else None
    return previous is not None and not lines[-2][previous.end() :].strip()


def _in_tag(text: str) -> bool:
    return "<" in text and _TAG.search(text) is not None
