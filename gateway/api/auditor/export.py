"""An export on its way: made in a thread while the client reads, a piece at a time.

It ends in one of three ways: whole; cut off, so that the client's transfer fails and nobody takes
a part for all of it; or because the client left. Between two pieces nothing is held open.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from litestar.response.base import ASGIResponse

from audit.errors import AuditError
from gateway.api.stream import ClientGoneError, unless_gone
from gateway.errors import GatewayError, LedgerUnavailableError, RequestTimeoutError

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

log = structlog.get_logger()

_STALL_S = 60.0  # how long a client may take none of a piece
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, RequestTimeoutError.code),
    (AuditError, LedgerUnavailableError.code),
    (Exception, GatewayError.code),
)

_LINES = "application/x-ndjson"
_MEDIA: Mapping[str, tuple[str, str]] = {
    "bundle": ("application/zip", "zip"),
    "jsonl": (_LINES, "jsonl"),
    "csv": ("text/csv", "csv"),
    "syslog": ("text/plain", "log"),
    "cef": ("text/plain", "cef"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "fhir": ("application/fhir+ndjson", "ndjson"),
    "ocsf": (_LINES, "ocsf.jsonl"),
}
_OTHER = ("application/octet-stream", "bin")


def media_type(kind: str) -> str:
    return _MEDIA.get(kind, _OTHER)[0]


def file_name(kind: str, size: int) -> str:
    """A name that says of how many records the log was."""
    return f"cloister-{size}.{_MEDIA.get(kind, _OTHER)[1]}"


class Stepped:
    """An iterator that is taken one piece at a time in threads, whoever stops waiting for one."""

    def __init__(self, pieces: Iterator[bytes], pool: Executor) -> None:
        self._pieces, self._pool = pieces, pool
        self._lock = threading.Lock()
        self._ended = False
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Make the first piece, so that what cannot be begun is told in an answer of its own.

        Raises:
            AuditError: the log cannot be read.
        """
        try:
            self._first = await self.next()
        except BaseException:
            self.end()
            raise

    async def next(self) -> bytes | None:
        """The next piece, or None after the last."""
        first, self._first = self._first, None
        if first is not None:
            return first
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._next)

    def _next(self) -> bytes | None:
        with self._lock:
            return None if self._ended else next(self._pieces, None)

    def end(self) -> None:
        """Make no more pieces. Waits for nothing."""
        with suppress(RuntimeError):  # the gateway ends, and its threads with it
            self._pool.submit(self._end)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            if isinstance(self._pieces, Generator):
                self._pieces.close()


class ExportStream(ASGIResponse):
    """Sends pieces as they come. ``close`` is called at the end, whatever the end is.

    ``failed`` is told the code of what cut it off: the log cannot be read, or the client took
    nothing for ``stall_s``.
    """

    _should_set_content_length = False

    def __init__(  # noqa: PLR0913 - each is one thing that a stream needs, by its name
        self,
        pieces: Stepped,
        *,
        close: Callable[[], None],
        failed: Callable[[str], None],
        media_type: str,
        headers: Mapping[str, str],
        stall_s: float = _STALL_S,
    ) -> None:
        super().__init__(media_type=media_type, headers=dict(headers))
        self._pieces = pieces
        self._close = close
        self._failed = failed
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.end()
            self._close()

    async def send_body(self, send: Send, receive: Receive) -> None:
        with suppress(ClientGoneError):
            await unless_gone(receive, self._pump(send))

    async def _pump(self, send: Send) -> None:
        """Without its last event the server closes the connection in the middle of the body."""
        try:
            while (piece := await self._pieces.next()) is not None:
                if piece:
                    async with asyncio.timeout(self._stall_s):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not leave
            log.error("export_cut", error=type(error).__name__)  # noqa: TRY400
            self._failed(next(code for kind, code in _CODES if isinstance(error, kind)))
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
