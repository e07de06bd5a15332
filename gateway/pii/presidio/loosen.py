"""Loosening: from a pattern of ``regex`` to one of RE2 that matches wherever the first does.

RE2 has no lookaround and no backreference. Taking an assertion away, or letting a backreference
match anything short, only makes a pattern match more: what the loose one misses, the strict one
cannot match. That is all a prefilter needs.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:<?[=!])|\(|\)|[^\\\[()]+|.", re.DOTALL)
_ESCAPES = {
    r"\b": "",
    r"\B": "",
    r"\w": r"[\w\x{80}-\x{10ffff}]",
    r"\W": r"(?s:.)",
    r"\s": r"[\s\x0b\x1c-\x1f\x{80}-\x{3000}]",
    r"\D": r"(?s:.)",
    r"\S": r"(?s:.)",
}
_IN_CLASS = {r"\w": r"\w\x{80}-\x{10ffff}", r"\s": r"\s\x0b\x1c-\x1f\x{80}-\x{3000}"}
_BACKREFERENCE = re.compile(r"\\[1-9]")
_CLASS_ESCAPE = re.compile(r"\\[ws]")


def loosen(pattern: str) -> str:
    """Return an RE2 pattern that matches in every text in which ``pattern`` does.

    Raises:
        ValueError: the parentheses do not balance.
    """
    pattern = pattern.replace("(?i)", "")
    out: list[str] = []
    depth, skipping = 0, 0  # ``skipping``: the depth at which a lookaround opened, else 0
    for token in _TOKEN.findall(pattern):
        if token.startswith("("):
            depth += 1
            if not skipping and token != "(":  # noqa: S105
                skipping = depth
                continue
        if not skipping:
            out.append(_loose(token))
        if token == ")":  # noqa: S105
            if skipping == depth:
                skipping = 0
            depth -= 1
    if depth:
        raise ValueError("unbalanced pattern")
    return "".join(out)


def _loose(token: str) -> str:
    if _BACKREFERENCE.fullmatch(token):
        return r"(?s:.){0,4}"
    if token.startswith("["):
        return _CLASS_ESCAPE.sub(lambda m: _IN_CLASS[m[0]], token)
    return _ESCAPES.get(token, token)
