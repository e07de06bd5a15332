"""From the bytes of tokens to the text of an answer. Pure.

A token is bytes, not characters: one emoji may take four tokens, and a stop string may begin in one
token and end in the next. ``AnswerText`` gives out only what can no longer change: whole
characters that no stop string can still swallow. For every split of the same bytes the
concatenated output is the same.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class AnswerText:
    """One answer. Feed bytes with ``feed``, end with ``close``; ``stopped`` tells of a stop string.

    A stop string is not part of the text; nothing after it is given out. Bytes that are no UTF-8
    become U+FFFD, as the whole would when decoded at once.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(text for text in stop if text)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """Return the text that ``data`` settles; empty once stopped."""
        return self._advance(self._decode(data), final=False)

    def close(self) -> str:
        """Return what was held back."""
        return self._advance(self._decode(b"", True), final=True)

    def _advance(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        cut = _first_stop(self._held, self._stop)
        if cut is not None:
            self.stopped = True
            ready, self._held = self._held[:cut], ""
            return ready
        keep = 0 if final else _open_stop(self._held, self._stop)
        split = len(self._held) - keep
        ready, self._held = self._held[:split], self._held[split:]
        return ready


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Return where the stop string begins that is complete first, or None.

    Complete first, not beginning first: the earlier one must win whether or not the rest of the
    text has arrived. Of those that end together the longest wins.
    """
    hits = [(found + len(one), found) for one in stop if (found := text.find(one)) >= 0]
    return min(hits)[1] if hits else None


def _open_stop(text: str, stop: Sequence[str]) -> int:
    """Return how many trailing characters may be the beginning of a stop string."""
    longest = 0
    for one in stop:
        for length in range(min(len(one) - 1, len(text)), longest, -1):
            if text.endswith(one[:length]):
                longest = length
                break
    return longest
