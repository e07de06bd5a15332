"""The tables beside this module: plain data, versioned with the code, digested into each record.

Each has its source and its recipe in README.md. Raises ``SettingsError`` for one that is missing:
a table that silently is empty loosens what depends on it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from gateway.errors import SettingsError

NAMES = ("common_words",)


def words(name: str) -> frozenset[str]:
    """The lines of a table that is a list of words; ``#`` begins a comment line."""
    lines = _text(name).split("\n")
    found = frozenset(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise SettingsError(f"The table {name} is empty.")
    return found


@cache
def digest() -> str:
    """SHA-256 (hex) over all tables."""
    total = hashlib.sha256()
    for name in sorted(NAMES):
        raw = f"{name}\n{_text(name)}".encode()
        total.update(len(raw).to_bytes(8, "big") + raw)
    return total.hexdigest()


@cache
def _text(name: str) -> str:
    try:
        return (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8")
    except OSError:
        raise SettingsError(f"The table {name} is missing.") from None
