"""What of the log is shown, and what proves it: read in one snapshot, in a thread.

Proofs are those of RFC 6962 §2.1, over trees that the log has signed, and are checked before they
are handed out. Hashes are in base64, as in checkpoints and receipts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

import msgspec

from audit.chain import Chain
from audit.checkpoint import Checkpoint
from audit.errors import LedgerError
from audit.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from audit.record import Record, parse
from audit.store import Reader, Row
from audit.vkey import to_base64
from gateway.api.auditor.query import Cursor, Listing
from gateway.errors import NotFoundError, RequestError

_MOST_SCANNED = 4096  # records that one answer looks at
_MOST_BYTES = 8 << 20  # of records that one answer holds
_AT_ONCE = 16


def head(reader: Reader) -> Checkpoint:
    """The newest checkpoint.

    Raises:
        LedgerError: there is none yet.
    """
    newest = reader.newest_checkpoint()
    if newest is None:
        raise LedgerError("the ledger has no checkpoint")
    return _open(reader, newest[1])


def _open(reader: Reader, note: str) -> Checkpoint:
    return Chain.stored(reader).open(note)


def checkpoint(reader: Reader, size: int | None) -> Checkpoint:
    """The checkpoint of ``size``, or the newest.

    Raises:
        NotFoundError: none was signed at this size.
    """
    if size is None:
        return head(reader)
    note = reader.checkpoint_at(size)
    if note is None:
        raise NotFoundError
    return _open(reader, note)


def described(reader: Reader, size: int | None) -> dict[str, object]:
    """As ``checkpoint``, for who does not read notes. The note is what counts.

    ``vkey`` signed this note; ``keys`` are all up to it, with the first record that each signs.
    """
    found = checkpoint(reader, size)
    chain = Chain.stored(reader)
    keys = [(start, key) for start, key in chain.keys if start <= found.size]
    return {
        "origin": found.origin,
        "size": found.size,
        "root_hash": to_base64(found.root),
        "vkey": keys[-1][1].vkey(),
        "note": found.note,
        "keys": [{"from": start, "vkey": key.vkey()} for start, key in keys],
    }


# --- records ----------------------------------------------------------------------------------


def _shown(row: Row, record: Record, *, sealed: bool) -> dict[str, object]:
    """A record's readable part as stored, where it stands, and the log's signed word for it."""
    shown: dict[str, object] = {
        "index": row.index,
        "header": msgspec.Raw(record.bound),
        "leaf_hash": to_base64(leaf_hash(row.body)),
        "receipt": row.receipt,
    }
    if sealed:
        shown["record"] = to_base64(row.body)
    return shown


def listed(reader: Reader, asked: Listing) -> dict[str, object]:
    """A page of records, and the cursor of the next one while there may be more.

    One answer looks at so many records and no more: it may hold few, or none, and a cursor.

    Raises:
        RequestError: the cursor is of a longer log.
    """
    signed = head(reader).size
    start = asked.cursor or Cursor(0, signed)
    if start.size > signed:
        raise RequestError("cursor is not one that was given out here.", param="cursor")
    found: list[dict[str, object]] = []
    index, held = start.index, 0
    with closing(_candidates(reader, asked.rid, start)) as rows:
        for looked, row in enumerate(rows, 1):
            index, record = row.index + 1, parse(row.body)
            if asked.selection.takes_header(record.header):
                found.append(_shown(row, record, sealed=asked.sealed))
                held += len(row.body) if asked.sealed else 0
            if len(found) >= asked.limit or looked >= _MOST_SCANNED or held >= _MOST_BYTES:
                break
        else:
            index = start.size
    more = str(Cursor(index, start.size)) if index < start.size else None
    return {"object": "list", "size": start.size, "records": found, "next_cursor": more}


def _candidates(reader: Reader, rid: str | None, start: Cursor) -> Generator[Row, None, None]:
    rows: Iterable[Row] = reader.rows(start.index, _AT_ONCE) if rid is None else reader.by_rid(rid)
    for row in rows:
        if row.index >= start.size:
            return
        if row.index >= start.index:
            yield row


def covered(reader: Reader, index: int) -> bool:
    """Whether a checkpoint is over record ``index``.

    Raises:
        NotFoundError: there is no such record.
    """
    if index >= reader.last()[0]:
        raise NotFoundError
    newest = reader.newest_checkpoint()
    return newest is not None and index < newest[0]


def one(reader: Reader, index: int, *, sealed: bool) -> dict[str, object]:
    """One record with its proof under the newest checkpoint."""
    row = reader.row(index)
    shown = _shown(row, parse(row.body), sealed=sealed)
    return {**shown, "proof": inclusion(reader, index, None)}


# --- proofs -----------------------------------------------------------------------------------


def inclusion(reader: Reader, index: int, size: int | None) -> dict[str, object]:
    """That record ``index`` stands in the tree of ``size``, or of the newest checkpoint.

    Raises:
        RequestError: the tree is larger than what was signed, or the index is not in it.
        ProofError, LedgerError: the log contradicts itself.
    """
    size, root, note = _tree(reader, "size", size)
    if index >= size:
        raise RequestError("index is not below size.", param="index")
    leaf = leaf_hash(reader.row(index).body)
    path = inclusion_proof(index, size, reader.node)
    verify_inclusion(leaf, index, size, path, root)
    return {
        "index": index,
        "size": size,
        "leaf_hash": to_base64(leaf),
        "root_hash": to_base64(root),
        "hashes": list(map(to_base64, path)),
        "checkpoint": note,
    }


def consistency(reader: Reader, first: int, second: int | None) -> dict[str, object]:
    """That the tree of ``second`` records extends that of ``first``.

    Raises:
        RequestError: a tree is larger than what was signed, or they are in the wrong order.
        ProofError, LedgerError: the log contradicts itself.
    """
    second, new, note = _tree(reader, "second", second)
    if first > second:
        raise RequestError("first is not second or below.", param="first")
    _, old, _ = _tree(reader, "first", first)
    path = consistency_proof(first, second, reader.node)
    verify_consistency(first, second, old, new, path)
    return {
        "first": first,
        "second": second,
        "first_root_hash": to_base64(old),
        "second_root_hash": to_base64(new),
        "hashes": list(map(to_base64, path)),
        "checkpoint": note,
    }


def _tree(reader: Reader, param: str, size: int | None) -> tuple[int, bytes, str | None]:
    """A tree's size, its root as stored, and the checkpoint of just this size, if there is one."""
    signed = head(reader)
    size = signed.size if size is None else size
    if size > signed.size:
        raise RequestError(f"{param} is more than the log has signed.", param=param)
    root = Frontier.load(size, reader.node).root()
    note = reader.checkpoint_at(size)
    if note is not None and _open(reader, note).root != root:
        raise LedgerError("the ledger contradicts its checkpoint")
    return size, root, note
