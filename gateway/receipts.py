"""Receipts as their owners see them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Stored(Protocol):
    """A record as the ledger shows it; ``audit.ledger.StoredRecord`` is one."""

    @property
    def index(self) -> int: ...
    @property
    def event(self) -> str: ...
    @property
    def minute(self) -> str: ...
    @property
    def features(self) -> Mapping[str, object]: ...
    @property
    def leaf_hash(self) -> bytes: ...
    @property
    def receipt(self) -> str: ...
    @property
    def proof(self) -> tuple[bytes, ...]: ...
    @property
    def checkpoint(self) -> str: ...


def receipt(
    receipt_id: str, records: Sequence[Stored], explained: Mapping[str, object] | None
) -> dict[str, object]:
    """A receipt as its owner sees it: records, proofs, and the explanation while it is in memory.

    ``explanation`` is null once the gateway has forgotten it: on disk it is sealed to auditors.
    """
    return {
        "id": receipt_id,
        "records": [
            {
                "index": record.index,
                "event": record.event,
                "minute": record.minute,
                "features": record.features,
                "leaf_hash": record.leaf_hash.hex(),
                "signed_receipt": record.receipt,
                "inclusion_proof": [node.hex() for node in record.proof],
                "checkpoint": record.checkpoint,
            }
            for record in records
        ],
        "explanation": explained,
    }
