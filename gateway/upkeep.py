"""What a running gateway does by itself now and then."""

from __future__ import annotations

import asyncio

import structlog

from audit.errors import AuditError
from audit.retention import Expirer
from gateway.engine.tally import SAVE_S, Tally

log = structlog.get_logger()

_EXPIRY_S = 24 * 3600.0


async def saved(tally: Tally) -> None:
    """Save what models were used for, now and then."""
    while True:
        await asyncio.sleep(SAVE_S)
        await asyncio.to_thread(tally.save)


async def expired(expirer: Expirer) -> None:
    """Destroy the keys of past months once a day."""
    while True:
        await asyncio.sleep(_EXPIRY_S)
        await asyncio.to_thread(expire, expirer)


def expire(expirer: Expirer) -> None:
    """Destroy the keys of past months; what fails is tried again a day later."""
    try:
        done = expirer.run()
    except AuditError as error:
        log.error("expiry_failed", code=error.code)  # noqa: TRY400 - for machines
        return
    if done is None:
        log.warning("expiry_awaits_a_person", code="clock_jumped")
    elif done.waiting:
        log.warning("expiry_awaits_a_person", code="hold_to_refresh")
