"""One string of a prompt, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

SETUP_TURN = 0
"""The turn of all that is set up before the first message: tools, format, stop sequences."""


class Kind(StrEnum):
    TEXT = "text"
    JSON_STRING = "json_string"
    JSON_KEY = "json_key"
    JSON_NUMBER = "json_number"
    NAME = "name"
    """Text that must stay as it is (a tool's name, a pattern): a finding here is refused."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One string. ``path`` is a published parameter; ``label`` is the JSON key in front of it.

    ``forced`` is an entity type that the whole text has by its place, whatever a detector says.
    """

    path: str
    turn: int
    text: str = field(repr=False)
    kind: Kind = Kind.TEXT
    label: str | None = field(repr=False, default=None)
    forced: str | None = None


Visit = Callable[[Segment], str]
"""Sees a segment, returns the text that takes its place."""
