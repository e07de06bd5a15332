"""What a running gateway does by itself now and then."""

from __future__ import annotations

import asyncio

import structlog

from audit.errors import AuditError
from audit.ledger import Ledger
from audit.retention import Expirer
from audit.unfinished import complete
from gateway.engine.tally import SAVE_S, Tally

log = structlog.get_logger()

_EXPIRY_S = 24 * 3600.0


async def saved(tally: Tally) -> None:
    """Save what models were used for, now and then."""
    while True:
        await asyncio.sleep(SAVE_S)
        await asyncio.to_thread(tally.save)


async def expired(ledger: Ledger, expirer: Expirer) -> None:
    """Destroy the keys of past months once a day."""
    while True:
        await asyncio.sleep(_EXPIRY_S)
        await asyncio.to_thread(expire, ledger, expirer)


def expire(ledger: Ledger, expirer: Expirer) -> None:
    """Complete erasures that were killed, then destroy the keys of past months.

    What fails is tried again a day later.
    """
    try:
        completed = complete(ledger)
        done = expirer.run()
    except AuditError as error:
        log.error("expiry_failed", code=error.code)  # noqa: TRY400 - for machines
        return
    if completed:
        log.info("erasure_completed", count=completed)
    if done is None:
        log.warning("expiry_awaits_a_person", code="clock_jumped")
    elif done.waiting:
        log.warning("expiry_awaits_a_person", code="hold_to_refresh")
