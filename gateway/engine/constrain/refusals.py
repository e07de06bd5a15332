"""What is said of a schema that is refused: published keywords at most, never a user's text."""

from __future__ import annotations

from gateway.engine.constrain.keywords import PUBLISHED
from gateway.errors import RequestError


def refused(param: str, message: str) -> RequestError:
    return RequestError(message, param=param)


def malformed(param: str, keyword: str) -> RequestError:
    """``keyword`` is one of ``PUBLISHED``."""
    return refused(param, f"The schema is malformed at {keyword}.")


def cannot(param: str, keyword: str = "") -> RequestError:
    if keyword in PUBLISHED:
        return refused(param, f"The schema cannot be enforced: {keyword} as it is used here.")
    return refused(param, "The schema cannot be enforced.")


def contradiction(param: str) -> RequestError:
    return refused(param, "No value satisfies the schema.")
