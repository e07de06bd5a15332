"""The Merkle tree of RFC 6962 §2.1 (proofs verified as RFC 9162 §2.1.3.2 and §2.1.4.2 write it).

Pure: hashes in, hashes out. A tree is known by the roots of its perfect subtrees: ``node(level,
index)`` is the root over leaves ``[index << level, (index + 1) << level)``. Checks return None
or raise ProofError. Indexes and sizes count leaves from 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from audit.errors import ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""``(level, index)`` to the root of that perfect subtree."""


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 §2.1: leaves are hashed under the prefix 0x00, so no leaf is ever a node."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: the roots of its perfect subtrees, largest first.

    Enough to append and to know the root, in memory of O(log n).
    """

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, node: NodeReader) -> Frontier:
        """The frontier of a stored tree, read from its perfect subtrees."""
        hashes, low = [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                hashes.append(node(level, low >> level))
                low += 1 << level
        return cls(size, hashes)

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf hash; yield ``(level, index, hash)`` of every subtree it completes.

        The caller MUST exhaust the iterator. Level 0, the leaf itself, is not among them.
        """
        index, level, current = self.size, 0, leaf
        while index & 1:
            current = node_hash(self.hashes.pop(), current)
            index >>= 1
            level += 1
            yield level, index, current
        self.hashes.append(current)
        self.size += 1

    def add(self, leaf: bytes) -> None:
        """Append where nobody stores the subtrees."""
        for _ in self.append(leaf):
            pass

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        result = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            result = node_hash(left, result)
        return result

    def copy(self) -> Frontier:
        return Frontier(self.size, list(self.hashes))


def _split(width: int) -> int:
    """The largest power of two smaller than ``width`` (RFC 6962 §2.1)."""
    return 1 << (width - 1).bit_length() - 1


def subtree_root(low: int, high: int, node: NodeReader) -> bytes:
    """MTH(D[low:high]) for a range that RFC 6962's recursion reaches."""
    width = high - low
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(width)
    return node_hash(subtree_root(low, middle, node), subtree_root(middle, high, node))


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """PATH(index, D[size]), RFC 6962 §2.1.1: from the leaf's sibling up."""
    if not 0 <= index < size:
        raise ProofError("the index is not in the tree")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(subtree_root(middle, high, node))
            high = middle
        else:
            path.append(subtree_root(low, middle, node))
            low = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """PROOF(old, D[new]), RFC 6962 §2.1.2. From size 0 it would prove nothing: refused."""
    if not 0 < old <= new:
        raise ProofError("the sizes are not those of a grown tree")
    low, high, path, whole = 0, new, [], True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(subtree_root(middle, high, node))
            high = middle
        else:
            path.append(subtree_root(low, middle, node))
            low, whole = middle, False
    if not whole:
        path.append(subtree_root(low, high, node))
    return tuple(reversed(path))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """RFC 9162 §2.1.3.2. Raises ProofError unless ``leaf`` is leaf ``index`` under ``root``."""
    if not 0 <= index < size:
        raise ProofError("the index is not in the tree")
    _check_lengths(leaf, root, *proof)
    current = leaf
    for sibling, on_left in _steps(index, size - 1, proof):
        current = node_hash(sibling, current) if on_left else node_hash(current, sibling)
    if current != root:
        raise ProofError("the proof leads to another root")


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """RFC 9162 §2.1.4.2. Raises ProofError unless the new tree extends the old one."""
    if not 0 < old <= new:
        raise ProofError("the sizes are not those of a grown tree")
    _check_lengths(old_root, new_root, *proof)
    if old == new:
        if proof or old_root != new_root:
            raise ProofError("two roots for one size, or a proof where none is needed")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise ProofError("the proof is too short")
    shared = (old & -old).bit_length() - 1  # levels that the old tree's last subtree spans
    from_old = from_new = path[0]
    for sibling, on_left in _steps(old - 1 >> shared, new - 1 >> shared, path[1:]):
        if on_left:
            from_old, from_new = node_hash(sibling, from_old), node_hash(sibling, from_new)
        else:
            from_new = node_hash(from_new, sibling)
    if from_old != old_root or from_new != new_root:
        raise ProofError("the proof leads to another root")


def _check_lengths(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError("a hash is not 32 bytes long")


def _steps(position: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Walk up from a node: each sibling, and whether it stands on the left.

    Raises:
        ProofError: the proof has not exactly as many hashes as the way up has siblings.
    """
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        on_left = bool(position & 1) or position == last
        yield sibling, on_left
        while on_left and position and not position & 1:
            position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
