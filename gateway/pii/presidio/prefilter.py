"""Which recognizers can match in a text at all: a few passes of RE2 sets over it.

An RE2 set builds its automaton while it reads. The states of patterns that have nothing in common
multiply, so one set of all cues would go on building for thousands of texts; in sets of neighbours
(rules of one file are alike) they stay few. Measured on unseen notes, 2,000 characters, 469
cues: one set 30 ms and more, ``SETS`` sets 5 ms falling below 2, and half a millisecond when warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import re2

SETS = 32
_MEMORY = 4 << 20  # bytes an automaton may grow to before it starts over
_ALWAYS = ""  # matches every text: if a set does not report it, the set gave up


class Prefilter:
    """Immutable for its callers, safe in threads."""

    def __init__(self, cues: Sequence[str]) -> None:
        size = max(1, -(-len(cues) // SETS))
        self._parts = [
            (first, len(cues[first : first + size]), _set(cues[first : first + size]))
            for first in range(0, len(cues), size)
        ]

    def possible(self, data: bytes) -> list[int]:
        """Numbers of the cues that match in UTF-8 ``data``, in order; too many, never too few."""
        found: list[int] = []
        for first, count, automaton in self._parts:
            hits = automaton.Match(data) or []
            if count not in hits:  # out of memory: every one of them may match
                found += range(first, first + count)
            elif len(hits) > 1:
                found += sorted(first + hit for hit in hits if hit != count)
        return found


def _set(cues: Sequence[str]) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    automaton = re2.Set.SearchSet(options)
    for cue in (*cues, _ALWAYS):
        automaton.Add(cue)
    automaton.Compile()
    automaton.Match(b"")  # builds its start now rather than in the first request
    return automaton
