"""The wall clock and random ids, for entry points to hand to everything that takes them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """128 random bits, hex: the id of a receipt."""
    return secrets.token_hex(16)
