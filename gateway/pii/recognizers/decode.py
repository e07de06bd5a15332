r"""Encoded runs in a text: base64, hexadecimal, ``\xNN``. Only what decodes to a text counts."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

import re2

_MOST_RUNS = 64  # per text
_LONGEST = 200_000  # characters of one run
_HEAD = 64  # a run whose first characters decode to no text is not decoded further
_SHORTEST = 6  # characters of a decoded text that are worth a look
_PRINTABLE = 0.95

_BASE64 = re2.compile(r"[A-Za-z0-9+/_-]{14,}(?:\r?\n[A-Za-z0-9+/]{4,})*={0,2}")
_HEX = re2.compile(
    r"(?:\\x[0-9a-fA-F]{2}){4,}"
    r"|\b(?:0[xX])?(?:[0-9a-fA-F]{2}){7,}\b"
    r"|\b[0-9a-fA-F]{2}(?:[ :][0-9a-fA-F]{2}){6,}\b"
)
_MARK = re.compile(r"\\x|0[xX]|[ :]")
_TELLING = re.compile(r"[A-Z0-9=]")


def encoded_runs(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and the decoded text of each run; at most ``_MOST_RUNS``."""
    count = 0
    for pattern, decode in ((_BASE64, _base64), (_HEX, _hexadecimal)):
        for match in pattern.finditer(text):
            run = match[0]
            if len(run) > _LONGEST or not _TELLING.search(run):
                continue
            plain = decode(run)
            if plain is not None:
                yield match.start(), match.end(), plain
                count += 1
                if count == _MOST_RUNS:
                    return


def _base64(run: str) -> str | None:
    compact = run.replace("\n", "").replace("\r", "").rstrip("=")
    compact = compact.replace("-", "+").replace("_", "/")
    if len(compact) % 4 == 1:
        return None
    if len(compact) > _HEAD and _unpack(compact[:_HEAD], whole=False) is None:
        return None
    return _unpack(compact + "=" * (-len(compact) % 4), whole=True)


def _unpack(run: str, *, whole: bool) -> str | None:
    try:
        raw = binascii.a2b_base64(run)
    except binascii.Error:
        return None
    return _readable(raw, whole=whole)


def _hexadecimal(run: str) -> str | None:
    digits = _MARK.sub("", run)
    return _readable(bytes.fromhex(digits), whole=True) if len(digits) % 2 == 0 else None


def _readable(raw: bytes, *, whole: bool) -> str | None:
    """The text, in UTF-8 or UTF-16, if it is one."""
    wide = len(raw) > 2 and raw[1::2].count(0) * 2 > len(raw[1::2])  # noqa: PLR2004
    try:
        text = raw.decode("utf-16-le" if wide else "utf-8", "strict" if whole else "ignore")
    except UnicodeDecodeError:
        return None
    if len(text) < _SHORTEST:
        return None
    good = sum(c.isprintable() or c in "\n\r\t" for c in text)
    return text if good >= _PRINTABLE * len(text) else None
