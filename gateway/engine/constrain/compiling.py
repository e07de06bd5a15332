"""The throwaway process: compiles grammars once, says one word, and ends. Started by exec.

It takes the shape of whatever a schema drives it into: it has bounds on memory and processor time,
the wall around it, an empty environment, and nobody else's data. What it accepts the child of a
model compiles again, under the same limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
from typing import Final, Literal

Verdict = Literal["ok", "contradiction", "cannot", "oneOf", "pattern", "properties", "patterns"]

READY: Final = b"+"
NO_WALL: Final = b"!"
_MEMORY: Final = 1024 * 1024 * 1024  # bytes of addresses: the interpreter alone takes a tenth
_PROCESSOR_S: Final = 3  # whole seconds; starting takes a tenth of one
_BYTES: Final = 256
# Does once what every grammar needs, before one comes.
_FIRST: Final = '{"grammars": [{"lark_grammar": "start: %json {}"}]}'

_PLACE: Final = re.compile(r"\A\s*at \d+\(\d+\): (?:failed to compile JSON schema: )?")
# How llguidance's messages begin. They go on with texts of the schema, so none leaves this process.
_WHY: Final[tuple[tuple[str, Verdict], ...]] = (
    ("Unsatisfiable schema", "contradiction"),
    ("oneOf constraints", "oneOf"),
    ("regex parse error", "pattern"),
    ("lookarounds", "pattern"),
    ("Unable to determine if regex", "pattern"),
    ("min/maxProperties", "properties"),
    ("patternProperties", "patterns"),
)


def verdict(grammars: list[str]) -> Verdict:
    """Compile each of ``grammars`` and make its first mask."""
    from gateway.engine.constrain.library import LLMatcher, limits  # noqa: PLC0415 - see main
    from gateway.engine.constrain.vocabulary import Vocabulary  # noqa: PLC0415

    pieces = [*(bytes([byte]) for byte in range(_BYTES)), b"<end>"]
    vocabulary = Vocabulary(pieces, control=(), ends=(_BYTES,), tokenize=list)
    for grammar in grammars:
        matcher = LLMatcher(vocabulary.native, grammar, log_level=0, limits=limits())
        error = matcher.get_error()
        if error:
            why = _PLACE.sub("", error, count=1)
            return next((word for start, word in _WHY if why.startswith(start)), "cannot")
        if not any(matcher.compute_bitmask()) or matcher.is_error():
            return "contradiction" if not matcher.is_error() else "cannot"
    return "ok"


def main() -> None:
    """Arguments: root, isolation. Reads a JSON list of grammars up to the end of standard input."""
    from gateway.engine import wall  # noqa: PLC0415 - the path is set by then
    from gateway.engine.constrain import vocabulary  # noqa: F401, PLC0415 - opens the library

    wall.die_first()
    wall.harden_process()
    wall.die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_S, _PROCESSOR_S))
    if sys.argv[2] != wall.NONE:
        try:
            wall.raise_wall()
        except wall.WallError:
            os.write(1, NO_WALL)
            return
    verdict([_FIRST])
    os.write(1, READY)
    grammars = json.loads(sys.stdin.buffer.read())
    os.write(1, verdict(grammars).encode())
