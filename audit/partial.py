"""What a partial bundle proves (audit-format.md §10.2): places of records, and a log that grew.

Pure. A proof is the hashes of RFC 6962 §2.1.1 or §2.1.2, one after the other, in base64.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from audit.checkpoint import Checkpoint
from audit.errors import FormatError, NoteError, ProofError
from audit.merkle import HASH_BYTES, verify_consistency, verify_inclusion
from audit.vkey import unbase64


def check_growth(heads: Sequence[Checkpoint], proofs: Sequence[str]) -> None:
    """Raise FormatError unless each checkpoint is proven to extend the one before it."""
    if len(proofs) != max(len(heads) - 1, 0):
        raise FormatError("there is not one proof for each step from checkpoint to checkpoint")
    for (old, new), proof in zip(pairwise(heads), proofs, strict=True):
        try:
            verify_consistency(old.size, new.size, old.root, new.root, _hashes(proof))
        except (ProofError, NoteError):
            raise FormatError(f"checkpoint {new.size} is not proven to extend {old.size}") from None


def check_place(leaf: bytes, index: int, head: Checkpoint, proof: str) -> None:
    """Raise FormatError unless the leaf is proven to be the one of this index under ``head``."""
    try:
        verify_inclusion(leaf, index, head.size, _hashes(proof), head.root)
    except (ProofError, NoteError):
        raise FormatError(f"record {index} is not proven to be in the log") from None


def _hashes(proof: str) -> list[bytes]:
    data = unbase64(proof)
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
