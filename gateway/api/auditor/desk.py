"""Where auditors are served: threads of their own that read, and one export for each key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog

from audit.errors import AuditError
from audit.ledger import Ledger
from audit.store import Reader
from audit.subjects import EXPORT
from gateway.domain import Principal
from gateway.errors import BusyError, LedgerUnavailableError
from gateway.recorder import Recorder

T = TypeVar("T")

log = structlog.get_logger()

_THREADS = 2
_EXPORTS = 4  # at once, of all keys together
_AGAIN_S = 30


def unreadable(error: AuditError) -> LedgerUnavailableError:
    """What a client is told of a log that cannot be read, or that contradicts itself."""
    log.error("ledger_not_read", code=error.code)
    return LedgerUnavailableError("The log cannot be read, or contradicts itself.")


class Desk:
    """For one event loop. Close it before the ledger.

    Reading has threads of its own: it blocks neither the loop nor the threads that mask. So have
    exports (``exporting``), so that short answers do not wait for long ones.
    """

    def __init__(
        self,
        ledger: Ledger,
        record: Recorder,
        new_id: Callable[[], str],
        policies: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        """``policies``: the texts that a bundle may hold, read when one is made."""
        self.policies = policies
        self._ledger, self._record, self._new_id = ledger, record, new_id
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="auditor")
        self.exporting = ThreadPoolExecutor(_EXPORTS, thread_name_prefix="export")
        self._busy: set[str] = set()

    @property
    def reading(self) -> Callable[[], AbstractContextManager[Reader]]:
        """Opens a snapshot; MUST be called in one of the threads."""
        return self._ledger.reading

    async def read(self, work: Callable[..., T], *args: object, **named: object) -> T:
        """Do ``work`` with one snapshot of the log, in a thread.

        Raises:
            LedgerUnavailableError: the log cannot be read, or contradicts itself.
        """

        def reading() -> T:
            with self._ledger.reading() as reader:
                return work(reader, *args, **named)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, reading)
        except AuditError as error:
            raise unreadable(error) from None

    async def sign(self) -> None:
        """Have a checkpoint over all that is durable now.

        Raises:
            LedgerUnavailableError: it could not be written.
        """
        try:
            await asyncio.wrap_future(self._ledger.publish())
        except AuditError as error:
            raise unreadable(error) from None

    async def exported(self, principal: Principal, kind: str, filters: Mapping[str, object]) -> str:
        """Put on record, before anything leaves, who is given what; return the receipt's id.

        Raises:
            LedgerUnavailableError: it is not durable: nothing MUST leave.
        """
        rid = self._new_id()
        sealed = {
            "principal": principal.id,
            "key": principal.key_id,
            "format": kind,
            "filters": filters,
            "opened": False,
        }
        await self._record.event(EXPORT, {"role": principal.role.value}, sealed, rid)
        return self._record.owned_id(rid, principal)

    def begin_export(self, principal: Principal) -> Callable[[], None]:
        """Take the place of a key's only export; call what is returned at its end.

        Raises:
            BusyError: another one runs, or as many as there may be under other keys.
        """
        key = principal.key_id or principal.id
        if key in self._busy:
            raise BusyError("An export runs under this key already.", retry_after_s=_AGAIN_S)
        if len(self._busy) >= _EXPORTS:
            raise BusyError("As many exports run as may run at once.", retry_after_s=_AGAIN_S)
        self._busy.add(key)
        return lambda: self._busy.discard(key)

    def close(self) -> None:
        """Wait for what is being read."""
        self._pool.shutdown()
        self.exporting.shutdown()
