"""``GET /v1/receipts/{id}``: what is on record of a request, for its owner or an auditor."""

from __future__ import annotations

import re

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from gateway.api.problems import RECEIPT_HEADER
from gateway.api.services import ApiRequest, Given
from gateway.errors import NotFoundError

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
