"""The language that a caller says a text is in, and what was done about it.

Every recognizer reads every text, whatever the language, because an identifier does not change
with the words around it. So a language that is not served costs no finding; the answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence

SERVED = ("en", "es", "fr", "de")
"""The languages of the recognizers that ship."""

LANGUAGE = r"\A[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,8}\Z"
"""The shape of a language tag (BCP 47): a language, and what narrows it."""


def searched(asked: str, served: Sequence[str]) -> dict[str, object]:
    """What an answer says: the language asked for, all searched, and whether it is one of them.

    ``en-GB`` is ``en``.
    """
    primary = asked.partition("-")[0].lower()
    return {"asked": asked, "searched": list(served), "known": primary in served}
