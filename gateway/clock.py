"""The wall clock, for entry points to hand to everything that takes a ``Clock``."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
