"""Regular expressions of a schema, where both dialects read them alike. Pure."""

from __future__ import annotations

import re
from typing import Final

_SYMBOL: Final = re.compile(
    r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[pP]\{\w+\}|[dDwWsSnrtfv]|[^\w\s])"
    r"|(?P<stays>\[\^?(?=[^\]]))"
    r"|\((?:\?:|\?<[A-Za-z_]\w*>|(?!\?))"
    r"|[^\\\[\](]"
)
_IN_CLASS: Final = re.compile(
    r"(?P<stays>\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[pP]\{\w+\}|[dDwWsSnrtfv]|[^\w\s])"
    r"|(?!&&|--|~~)[^\\\[\]])|\]"
)


def is_common(pattern: str) -> bool:
    """Whether ECMA-262 and the grammar's regular expressions read ``pattern`` alike.

    Look-around, back-references, flags, boundaries of words, and the set operations that only the
    grammar's dialect knows inside brackets do not mean the same in both.
    """
    position, in_class = 0, False
    while position < len(pattern):
        match = (_IN_CLASS if in_class else _SYMBOL).match(pattern, position)
        if match is None:
            return False
        in_class = match["stays"] is not None
        position = match.end()
    return not in_class
