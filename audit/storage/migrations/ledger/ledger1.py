"""The first schema: what ledgers without a number have."""

from __future__ import annotations

revision = "ledger1"
down_revision = None


def upgrade() -> None:
    """Nothing: there was never a ledger before it."""
