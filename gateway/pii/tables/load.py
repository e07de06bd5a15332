"""The tables beside this module: plain data, versioned with the code, digested into each record.

Each has its source and its recipe in README.md. Raises ``SettingsError`` for one that is missing:
a table that silently is empty loosens what depends on it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from gateway.errors import SettingsError

NAMES = (
    "common_words",
    "eponyms",
    "function_words",
    "heads",
    "regions",
    "terms",
    "titles",
    "zip3_2000",
    "zip3_2010",
    "zip3_2020",
)


def words(name: str) -> frozenset[str]:
    """The lines of a table that is a list of words; ``#`` begins a comment line."""
    found = frozenset(_lines(name))
    if not found:
        raise SettingsError(f"The table {name} is empty.")
    return found


def pairs(name: str) -> dict[str, str]:
    """A table of two columns with a tab between them, the first one unique."""
    rows = [line.split("\t") for line in _lines(name)]
    found = {row[0]: row[1] for row in rows if len(row) == 2}  # noqa: PLR2004 (two columns)
    if not found or len(found) != len(rows):
        raise SettingsError(f"The table {name} is empty or has a row that is not a pair.")
    return found


@cache
def digest() -> str:
    """SHA-256 (hex) over all tables."""
    total = hashlib.sha256()
    for name in sorted(NAMES):
        raw = f"{name}\n{_text(name)}".encode()
        total.update(len(raw).to_bytes(8, "big") + raw)
    return total.hexdigest()


def _lines(name: str) -> list[str]:
    return [line for line in _text(name).split("\n") if line and not line.startswith("#")]


@cache
def _text(name: str) -> str:
    try:
        return (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8")
    except OSError:
        raise SettingsError(f"The table {name} is missing.") from None
