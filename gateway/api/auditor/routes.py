"""The addresses under ``/audit/v1`` and who may ask at them: keys of the role auditor only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation
from litestar.response.base import ASGIResponse

from audit import streaming
from audit.errors import AuditError, NothingChosenError
from gateway.api.auditor import proofs, query
from gateway.api.auditor.accept import prefers_json
from gateway.api.auditor.desk import Desk, unreadable
from gateway.api.auditor.export import ExportStream, Stepped, file_name, media_type
from gateway.api.problems import RECEIPT_HEADER
from gateway.api.services import ApiRequest, Given
from gateway.domain import Role
from gateway.errors import GatewayError, NotFoundError, PermissionDeniedError, RequestError

if TYPE_CHECKING:
    from litestar.handlers.base import BaseRouteHandler

    from gateway.api.auth import Connection, Guard
    from gateway.pipeline import Pipeline

SIZE_HEADER = "X-Tree-Size"
_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")

GivenDesk = NamedDependency[SkipValidation[Desk]]


def auditor_router(require_key: Guard, pipeline: Pipeline, desk: Desk) -> Router:
    """The addresses over ``desk``. A key of another role is refused, on record."""
    return Router(
        "/audit/v1",
        guards=[require_key, _require_auditor(pipeline)],
        dependencies={"desk": Provide(lambda: desk, sync_to_thread=False)},
        route_handlers=[records, record, checkpoint, proof, export],
    )


def _require_auditor(pipeline: Pipeline) -> Guard:
    """Return the guard that lets auditors in.

    Raises:
        PermissionDeniedError: another role; the refusal is on record.
        LedgerUnavailableError: another role, and the refusal could not be put on record.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        principal = connection.user
        if principal.role is Role.AUDITOR:
            return
        error = PermissionDeniedError("Only a key of the role auditor may read the log.")
        error.receipt_id = await pipeline.refuse(error, principal, None)
        raise error

    return guard


def _raw(request: Request[Any, Any, Any]) -> bytes:
    return bytes(request.scope["query_string"])


def _json(value: object, receipt_id: str | None = None) -> ASGIResponse:
    headers = {RECEIPT_HEADER: receipt_id} if receipt_id else {}
    return ASGIResponse(body=msgspec.json.encode(value), headers=headers)


@contextmanager
def _naming(receipt_id: str) -> Iterator[None]:
    """Let an error name the record that was made before it."""
    try:
        yield
    except GatewayError as error:
        error.receipt_id = receipt_id
        raise


@get("/records", opt={"route": "/audit/v1/records"})
async def records(request: ApiRequest, desk: GivenDesk) -> ASGIResponse:
    """List records; with their sealed parts only after that is on record.

    Raises:
        RequestError: a parameter is unknown or out of its shape.
    """
    asked = query.listing(_raw(request))
    if asked.rid is not None and asked.cursor is None:
        await desk.sign()  # who asks about one receipt has just been given it
    found = await desk.read(proofs.listed, asked)
    if not asked.sealed:
        return _json(found)
    cursor = str(asked.cursor) if asked.cursor else None
    told = query.filters(asked.selection, rid=asked.rid, cursor=cursor, limit=asked.limit)
    return _json(found, await desk.exported(request.user, "records", told))


@get("/records/{index:str}", opt={"route": "/audit/v1/records/{index}"})
async def record(request: ApiRequest, desk: GivenDesk, index: FromPath[str]) -> ASGIResponse:
    """Show one record with its proof; where no checkpoint is over it yet, one is signed.

    Raises:
        NotFoundError: there is no such record.
    """
    sealed = query.Query(_raw(request), ("sealed",)).flag("sealed")
    if not _INDEX.fullmatch(index):
        raise NotFoundError
    place = int(index)
    if not await desk.read(proofs.covered, place):
        await desk.sign()
    found = await desk.read(proofs.one, place, sealed=sealed)
    if not sealed:
        return _json(found)
    return _json(found, await desk.exported(request.user, "record", {"index": place}))


@get("/checkpoint", opt={"route": "/audit/v1/checkpoint"})
async def checkpoint(request: ApiRequest, desk: GivenDesk) -> ASGIResponse:
    """Give the newest checkpoint, or that of ``size``: the note as it was signed, or JSON.

    Raises:
        NotFoundError: none was signed at this size.
    """
    size = query.Query(_raw(request), ("size",)).number("size")
    if prefers_json(",".join(request.headers.getall("accept", []))):
        return _json(await desk.read(proofs.described, size))
    found = await desk.read(proofs.checkpoint, size)
    return ASGIResponse(body=found.note.encode(), media_type="text/plain")


@get("/proof", opt={"route": "/audit/v1/proof"})
async def proof(request: ApiRequest, desk: GivenDesk) -> ASGIResponse:
    """Prove that a record is in a tree (``index``), or that one tree extends another (``first``).

    Raises:
        RequestError: both or neither is asked for, or a tree that the log has not signed.
    """
    asked = query.Query(_raw(request), ("index", "size", "first", "second"))
    index, first = asked.number("index"), asked.number("first", least=1)
    size, second = asked.number("size", least=1), asked.number("second", least=1)
    if index is not None and first is None and second is None:
        return _json(await desk.read(proofs.inclusion, index, size))
    if first is not None and index is None and size is None:
        return _json(await desk.read(proofs.consistency, first, second))
    raise RequestError("Ask with index and size, or with first and second.")


@get("/export", opt={"route": "/audit/v1/export"})
async def export(request: ApiRequest, services: Given, desk: GivenDesk) -> ASGIResponse:
    """Hand the log out in one of the formats. On record before its first byte leaves.

    The log as it is then, the record of the export included, and a checkpoint over it.

    Raises:
        BusyError: an export runs under this key already.
        LedgerUnavailableError: it could not be put on record.
    """
    asked = query.export(_raw(request), streaming.kinds())
    close = desk.begin_export(request.user)
    try:
        receipt_id = await desk.exported(request.user, asked.kind, query.filters(asked.selection))
        with _naming(receipt_id):
            await desk.sign()
            size = (await desk.read(proofs.head)).size
            pieces = await _begun(desk, asked, size)
    except BaseException:
        close()
        raise
    name = file_name(asked.kind, size)
    return ExportStream(
        pieces,
        close=close,
        failed=services.metrics.failed,
        media_type=media_type(asked.kind),
        headers={
            RECEIPT_HEADER: receipt_id,
            SIZE_HEADER: str(size),
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )


async def _begun(desk: Desk, asked: query.Export, size: int) -> Stepped:
    """The pieces of an export, the first of which is there.

    Raises:
        NotFoundError: no record is chosen; a bundle of none would prove nothing.
        LedgerUnavailableError: the log cannot be read.
    """
    made = streaming.pieces(desk.reading, asked.kind, size, asked.selection, desk.policies())
    pieces = Stepped(made, desk.exporting)
    try:
        await pieces.begin()
    except NothingChosenError:
        raise NotFoundError("No record is chosen.") from None
    except AuditError as error:
        raise unreadable(error) from None
    return pieces
