"""Erasures, as a key store that was restored from a backup learns of them (audit-format.md §11.4).

An erasure's record names the keys it destroyed by tags that only their ids give. Whoever opens a
key store beside the ledger destroys what such a record names, before anything else is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from audit.keys import KeyStore
from audit.record import parse
from audit.store import LedgerStore

ERASED = "subject.erased"
_MARK = "erasures-replayed"
_TAG_BYTES = 16
_MENTION = json.dumps(ERASED).encode()


def tag(key_id: bytes) -> str:
    """What an erasure's record shows of a key: 128 bits of a digest of its random id."""
    return hashlib.sha256(b"cloister/erased/1\n" + key_id).hexdigest()[: 2 * _TAG_BYTES]


def tags_of(bodies: Iterable[bytes]) -> frozenset[str]:
    """The tags in those of these records that are erasures."""
    found: set[str] = set()
    for body in bodies:
        if _MENTION in body:
            header = parse(body).header
            if header.event == ERASED:
                listed = header.features.get("erased", ())
                found.update(map(str, listed if isinstance(listed, list) else ()))
    return frozenset(found)


def replay(store: LedgerStore, keys: KeyStore) -> int:
    """Destroy what erasures on record destroyed, and this key store still has; how many that was.

    Cheap where nothing is new: the key store remembers the newest erasure it has replayed, by
    position and leaf, so that another ledger's (a restored one) is not taken for it.

    Raises:
        KeyStoreError: not done to the end. The key store MUST NOT be used.
    """
    mark = keys.note(_MARK)
    with store.reading() as reader:
        acts = reader.acts(ERASED)
        marks = {index: b"%d %b" % (index, reader.row(index).leaf) for index in acts}
        done = next((index for index in acts if marks[index] == mark), -1)
        new = [index for index in acts if index > done]
        tags = tags_of(reader.row(index).body for index in new)
    if not new:
        return 0
    left = [key_id for key_id in keys.ids() if tag(key_id) in tags]
    gone = keys.destroy(left)  # of none, too: what an interrupted run left in the store's log goes
    keys.set_note(_MARK, marks[new[-1]])
    return gone


def spared(
    key: Callable[[bytes], bytes | None], tags: frozenset[str]
) -> Callable[[bytes], bytes | None]:
    """``key`` without the keys that are erased: for a copy that was made before the erasure."""
    return lambda key_id: None if tag(key_id) in tags else key(key_id)
