"""``/v1/receipts/{id}``: what is on record of a request, and what its owner says of it."""

from __future__ import annotations

import re

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from gateway.api.problems import RECEIPT_HEADER
from gateway.api.schemas_deidentify import decode_report
from gateway.api.services import ApiRequest, Given, read_body
from gateway.errors import NotFoundError
from gateway.recorder import Complaint

_RECEIPT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@get("/receipts/{receipt_id:str}", opt={"route": "/v1/receipts/{id}"})
async def receipt(request: ApiRequest, services: Given, receipt_id: FromPath[str]) -> ASGIResponse:
    """Show a receipt.

    Raises:
        NotFoundError: there is none of this id, or it is somebody else's.
    """
    if not _RECEIPT_ID.fullmatch(receipt_id):
        raise NotFoundError
    found = await services.pipeline.receipt(receipt_id, request.user)
    return ASGIResponse(body=msgspec.json.encode(found), headers={RECEIPT_HEADER: receipt_id})


@post(
    "/receipts/{receipt_id:str}/report", status_code=202, opt={"route": "/v1/receipts/{id}/report"}
)
async def report(request: ApiRequest, services: Given, receipt_id: FromPath[str]) -> ASGIResponse:
    """Put on record that something was missed or found wrongly; its text is sealed.

    Raises:
        NotFoundError: there is no receipt of this id, or it is somebody else's.
        RequestError: the body is no report, or the receipt has as many as it may.
    """
    if not _RECEIPT_ID.fullmatch(receipt_id):
        raise NotFoundError
    body = decode_report(
        await read_body(request, services.limits), depth_limit=services.limits.depth
    )
    await services.pipeline.report(
        receipt_id,
        request.user,
        Complaint(
            kind=body.kind,
            text=body.text,
            entity_type=body.entity_type,
            note=body.note,
            subject=body.subject,
        ),
    )
    return ASGIResponse(
        body=msgspec.json.encode({"id": receipt_id, "kind": body.kind}),
        status_code=202,
        headers={RECEIPT_HEADER: receipt_id},
    )
