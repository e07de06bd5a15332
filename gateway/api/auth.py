"""Who may: the key of a request, and what its holder may ask for.

The guard and the checks decide; nothing switches them off. Failures without a valid key are not
recorded one by one, so that a flood cannot fill the disk: they are summed to one record a minute.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from gateway.api.keyfile import PREFIX, KeyFile, KeyRefusedError, Refusal
from gateway.domain import Principal, Purpose, Role
from gateway.errors import PermissionDeniedError, RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar.connection import ASGIConnection
    from litestar.handlers.base import BaseRouteHandler

    from gateway.api.wire import PurposeMetadata

    Connection = ASGIConnection[Any, Any, Any, Any]
    Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

log = structlog.get_logger()

PURPOSE_HEADER = "X-Purpose"
_SCHEME = "bearer"

# Duties exclude each other (DESIGN §3): those who write policy or read the log send no prompts.
PROMPTING_ROLES = frozenset({Role.CLINICIAN, Role.LAWYER, Role.RESEARCHER})


class AuthFailures:
    """Counts requests without a valid key and puts the sums on record.

    ``record`` gets the count per reason; while it fails the counts are kept.
    """

    def __init__(
        self, record: Callable[[Mapping[str, int]], Awaitable[object]], every_s: float = 60.0
    ) -> None:
        self._record = record
        self._every_s = every_s
        self._counts: Counter[str] = Counter()

    def note(self, reason: Refusal) -> None:
        self._counts[reason.value] += 1

    async def flush(self) -> None:
        """Put the failures since the last record on record, if there are any."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await self._record(dict(counts))
        except BaseException:
            self._counts.update(counts)
            raise

    async def run(self) -> None:
        """Flush once a minute until cancelled. A ledger that is down is tried again."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - the counts are kept; the loop must live
                # Not log.exception: a traceback could carry values.
                log.error(  # noqa: TRY400
                    "auth_failures_not_recorded", error=type(error).__name__
                )


def require_key(keys: KeyFile, refused: Callable[[Refusal], None]) -> Guard:
    """Return the guard that lets only the holders of valid keys in and says who they are.

    ``refused`` is told the reason of each refusal.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        try:
            secret = bearer_key(connection.headers.getall("authorization", []))
            connection.scope["user"] = keys.authenticate(secret)
        except KeyRefusedError as refusal:
            refused(refusal.reason)
            raise

    return guard


def bearer_key(headers: list[str]) -> str:
    """Return the key of the ``Authorization`` header, of which there must be exactly one.

    Raises:
        KeyRefusedError: none, several, another scheme, or not a key of this gateway's form.
    """
    if len(headers) != 1:
        raise KeyRefusedError(Refusal.NO_KEY)
    scheme, _, key = headers[0].strip().partition(" ")
    if scheme.lower() != _SCHEME or not key.strip():
        raise KeyRefusedError(Refusal.NO_KEY)
    if not key.strip().startswith(PREFIX):
        raise KeyRefusedError(Refusal.UNKNOWN)
    return key.strip()


def wanted_purpose(headers: list[str], metadata: PurposeMetadata | None) -> Purpose | None:
    """Return the purpose a request names in ``X-Purpose`` or ``metadata.purpose``, if any.

    Raises:
        RequestError: not a purpose, or the two differ.
    """
    named = metadata.purpose if metadata else None
    for text in headers:
        try:
            purpose = Purpose(text.strip())
        except ValueError:
            raise RequestError("X-Purpose names no purpose.", param=PURPOSE_HEADER) from None
        if named not in (None, purpose):
            raise RequestError("X-Purpose and metadata.purpose differ.", param=PURPOSE_HEADER)
        named = purpose
    return named


def check_grant(principal: Principal, purpose: Purpose, matter: str | None) -> None:
    """Check that the key allows a prompt for this purpose and matter.

    Raises:
        PermissionDeniedError: it does not. A matter that does not exist is one not granted.
    """
    if principal.role not in PROMPTING_ROLES:
        raise PermissionDeniedError("A key of this role may not send prompts.")
    if purpose not in principal.purposes:
        raise PermissionDeniedError("This key is not granted this purpose.", param="purpose")
    if matter is not None and matter not in principal.matters:
        raise PermissionDeniedError("This key is not granted this matter.", param="matter")
