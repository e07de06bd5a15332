"""The tree against the published vectors of Certificate Transparency (RFC 6962's test data)."""

from __future__ import annotations

import pytest

from audit.errors import ProofError
from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(data)
    for data in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (index, size) to the path, as published.
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): INCLUSION[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def tree(leaves):
    """A frontier over the leaves and a reader of all its perfect subtrees."""
    frontier, nodes = Frontier(), {}
    for index, data in enumerate(leaves):
        nodes[0, index] = leaf_hash(data)
        nodes |= {(level, i): value for level, i, value in frontier.append(nodes[0, index])}
    return frontier, lambda level, index: nodes[level, index]


def path(hashes):
    return tuple(bytes.fromhex(value) for value in hashes)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    """The root over the first n test leaves is the one RFC 6962's authors published."""
    frontier, node = tree(LEAVES[:size])
    assert frontier.root().hex() == ROOTS[size]
    assert Frontier.load(size, node).root() == frontier.root()
    assert size or frontier.root() == EMPTY_ROOT


@pytest.mark.parametrize(("place", "expected"), INCLUSION.items())
def test_inclusion_proofs_are_the_published_ones(place, expected):
    """PATH(m, D[n]) equals the published path and verifies under the published root."""
    index, size = place
    _, node = tree(LEAVES)
    proof = inclusion_proof(index, size, node)
    assert proof == path(expected)
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("sizes", "expected"), CONSISTENCY.items())
def test_consistency_proofs_are_the_published_ones(sizes, expected):
    """PROOF(m, D[n]) equals the published path and verifies between the published roots."""
    old, new = sizes
    _, node = tree(LEAVES)
    proof = consistency_proof(old, new, node)
    assert proof == path(expected)
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    verify_consistency(old, new, *roots, proof)


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (8, 8, INCLUSION[0, 8]),  # at the size
        (9, 8, INCLUSION[0, 8]),  # beyond it
        (-1, 8, INCLUSION[0, 8]),
        (0, 0, []),
        (0, 8, INCLUSION[0, 8][:-1]),
        (0, 8, [*INCLUSION[0, 8], ROOTS[1]]),
        (1, 8, INCLUSION[0, 8]),
        (0, 9, INCLUSION[0, 8]),
        (0, 8, [INCLUSION[0, 8][0][:-2], *INCLUSION[0, 8][1:]]),  # a hash of 31 bytes
    ],
)
def test_a_wrong_inclusion_proof_raises(index, size, proof):
    """Another index, another size, too many or too few hashes: nothing is included by chance."""
    with pytest.raises(ProofError):
        verify_inclusion(leaf_hash(LEAVES[0]), index, size, path(proof), bytes.fromhex(ROOTS[8]))


@pytest.mark.parametrize(
    ("old", "new", "old_root", "new_root", "proof"),
    [
        (0, 8, ROOTS[0], ROOTS[8], []),  # from an empty tree everything would be consistent
        (8, 6, ROOTS[8], ROOTS[6], CONSISTENCY[6, 8]),
        (6, 6, ROOTS[6], ROOTS[8], []),
        (6, 6, ROOTS[6], ROOTS[6], [ROOTS[1]]),
        (6, 8, ROOTS[6], ROOTS[8], []),
        (6, 8, ROOTS[6], ROOTS[8], CONSISTENCY[6, 8][:-1]),
        (6, 8, ROOTS[6], ROOTS[8], [*CONSISTENCY[6, 8], ROOTS[1]]),
        (6, 8, ROOTS[5], ROOTS[8], CONSISTENCY[6, 8]),
        (6, 8, ROOTS[6], ROOTS[7], CONSISTENCY[6, 8]),
        (6, 16, ROOTS[6], ROOTS[8], CONSISTENCY[6, 8]),  # the second size is not consumed
        (4, 8, ROOTS[4], ROOTS[8], []),
    ],
)
def test_a_wrong_consistency_proof_raises(old, new, old_root, new_root, proof):
    """A proof that does not use up both sizes, or leads to other roots, proves nothing."""
    roots = bytes.fromhex(old_root), bytes.fromhex(new_root)
    with pytest.raises(ProofError):
        verify_consistency(old, new, *roots, path(proof))


def test_proofs_that_cannot_exist_are_not_made():
    """There is no proof for a leaf outside the tree, nor from an empty tree."""
    _, node = tree(LEAVES)
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ProofError):
            inclusion_proof(index, size, node)
    for old, new in ((0, 8), (8, 7), (-1, 3)):
        with pytest.raises(ProofError):
            consistency_proof(old, new, node)
