"""``llguidance`` without its package's ``__init__``: one native module, no threads, no files.

The package would bring metadata readers and, through them, sockets and zip files into the child.
Importing this module opens the library: it MUST happen before the wall stands.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Final

_NAME: Final = "llguidance"

if _NAME not in sys.modules:
    _found = importlib.util.find_spec(_NAME)
    if _found is None or _found.submodule_search_locations is None:
        raise ModuleNotFoundError(_NAME)
    _package = types.ModuleType(_NAME)
    _package.__path__ = list(_found.submodule_search_locations)
    sys.modules[_NAME] = _package

from llguidance._lib import LLMatcher, LLParserLimits, LLTokenizer  # noqa: E402

__all__ = ["LLMatcher", "LLTokenizer", "limits"]


def limits(*, large: bool = False) -> LLParserLimits:
    """What any one grammar may cost, in the throwaway process and in the child alike.

    ``large``: for grammars of our own form that grow with the prompt. At the first quotation mark
    of a prompt of 60,000 characters a mask takes 140 ms; what a user's schema makes takes 30.
    """
    return LLParserLimits(
        initial_lexer_fuel=20_000_000 if large else 4_000_000,
        step_lexer_fuel=4_000_000 if large else 400_000,
        step_max_items=50_000,
        max_items_in_row=2_000,
        max_lexer_states=100_000 if large else 50_000,  # 1 to 2 kB each
        max_grammar_size=200_000,
        verbose_errors=False,  # they would hold text of the schema
    )
