"""The first schema: what key stores without a number have."""

from __future__ import annotations

revision = "keys1"
down_revision = None


def upgrade() -> None:
    """Nothing: there was never a key store before it."""
