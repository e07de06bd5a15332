"""The wire format of Cloister's own requests: de-identification, and reports on a receipt."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.api.decode import decode_body, published_names
from gateway.api.wire import PurposeMetadata, ShortText, Wire
from gateway.errors import RequestError
from gateway.pii.languages import LANGUAGE
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES

_ReportText = Annotated[str, Meta(min_length=1, max_length=2000)]


class DeidentifyBody(Wire, frozen=True):
    """``policy`` names policies to add to those in force."""

    text: str
    language: Annotated[str, Meta(pattern=LANGUAGE)] | None = None
    policy: ShortText | Annotated[list[ShortText], Meta(max_length=16)] | None = None
    metadata: PurposeMetadata | None = None


class ReportBody(Wire, frozen=True):
    """What was missed or found wrongly under a receipt; ``subject`` as the request named it."""

    kind: Literal["missed", "wrong"]
    text: _ReportText | None = None
    entity_type: Annotated[str, Meta(pattern=r"\A[A-Z][A-Z0-9_]{1,39}\Z")] | None = None
    note: _ReportText | None = None
    subject: ShortText | None = None


PUBLISHED = published_names((PurposeMetadata, DeidentifyBody, ReportBody))

_DEIDENTIFY = msgspec.json.Decoder(DeidentifyBody)
_REPORT = msgspec.json.Decoder(ReportBody)


def decode_deidentify(raw: bytes, *, depth_limit: int) -> DeidentifyBody:
    """Read a request for de-identification.

    Raises:
        RequestError: not JSON, or not of this format.
    """
    return decode_body(raw, _DEIDENTIFY, PUBLISHED, depth_limit=depth_limit)


def decode_report(raw: bytes, *, depth_limit: int) -> ReportBody:
    """Read a report of a missed or a wrong finding.

    Raises:
        RequestError: not JSON, not of this format, or of an entity type that there is not.
    """
    body = decode_body(raw, _REPORT, PUBLISHED, depth_limit=depth_limit)
    if body.entity_type is not None and body.entity_type not in ENTITY_TYPES:
        raise RequestError("There is no such entity type.", param="entity_type")
    return body
