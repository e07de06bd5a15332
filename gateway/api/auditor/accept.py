"""Which of two forms a client would rather have (RFC 9110 §12.5.1). Pure."""

from __future__ import annotations

import re

_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def prefers_json(accept: str) -> bool:
    """Whether JSON is named and plain text is not wanted more. Ranges with a star name neither."""
    wanted = {"application/json": 0.0, "text/plain": 0.0}
    for item in accept.split(","):
        kind, *params = (part.strip() for part in item.split(";"))
        if kind.lower() in wanted:
            wanted[kind.lower()] = _quality(params)
    return 0 < wanted["application/json"] >= wanted["text/plain"]


def _quality(params: list[str]) -> float:
    for param in params:
        if match := _QUALITY.fullmatch(param):
            return float(match[1])
    return 1.0
