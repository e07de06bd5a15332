"""What a model takes of the machine's memory, told from its header before it is loaded.

The rules were measured: ``docs/models.md`` has them beside what real loads took. The estimate
is meant to be too high rather than too low; it leaves out what the kernel can drop at any moment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.engine.batch import BATCH, EMBEDDED
from gateway.engine.gguf_header import GgufHeader, Kind
from gateway.engine.shelf import MemoryRefusedError

MIB: Final = 1 << 20
UBATCH: Final = BATCH
"""Tokens that are evaluated at once at most."""

_PROCESS: Final = 40 * MIB
"""The child before it has a model: Python, the binding and llama.cpp."""

_WORD: Final = 512  # bytes: a token of the vocabulary, its merges included
_CELL: Final = 64  # bytes: whose a cell of the cache is
_HALF, _SINGLE = 2, 4  # bytes of a number in the cache and in the graph
_REPACKED: Final = frozenset({"Q4_0", "Q2_K", "Q4_K", "IQ4_NL"})
"""Matrices of these types are copied into another order at load (ggml-cpu/repack.cpp, AVX2); the
mapped original stays resident as long as nobody else needs the memory."""

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes. ``weights``: the file's and the copies of some; ``other``: process and vocabulary.

    ``vectors``: the context that is opened when somebody first asks for vectors of texts.
    """

    weights: int
    kv: int
    compute: int
    other: int = _PROCESS
    vectors: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.other + self.vectors

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.weights + other.weights,
            self.kv + other.kv,
            self.compute + other.compute,
            self.other + other.other,
            self.vectors + other.vectors,
        )


def estimate(
    header: GgufHeader, context: int, ubatch: int, *, sequences: int = 1, outputs: int = 0
) -> Estimate:
    """Estimate what the child of a model takes.

    ``context``: tokens of one sequence; each has a stream of its own. ``ubatch``: tokens evaluated
    at once. ``outputs``: of them, those with logits (``n_outputs_max``); 0: all.
    An adapter takes its weights, in the child of its base.
    """
    if header.kind is Kind.ADAPTER:
        return Estimate(header.weights_bytes, 0, 0, 0)
    size = header.dimensions
    cell = sum(size.kv_heads) * (size.key + size.value) * _HALF + _CELL
    state = size.layers * size.state * _SINGLE
    one = 0 if header.embeds and not sum(size.kv_heads) else cell * context + state
    return Estimate(
        weights=header.weights_bytes + _copies(header),
        kv=one * sequences,
        compute=_compute(header, context, ubatch, outputs or ubatch) + _logits(header, sequences),
        other=_PROCESS + header.words * _WORD,
        vectors=cell * min(context, EMBEDDED),
    )


def _copies(header: GgufHeader) -> int:
    return sum(
        tensor.size_bytes
        for name, tensor in header.tensors.items()
        if tensor.type in _REPACKED and name != "token_embd.weight"
    )


def _compute(header: GgufHeader, context: int, ubatch: int, outputs: int) -> int:
    """The graph's buffer: the largest of its layers, or its last step, whichever is wider."""
    size = header.dimensions
    experts = header.metadata.get(f"{header.architecture}.expert_used_count", 0)
    expert = header.metadata.get(f"{header.architecture}.expert_feed_forward_length", 0)
    wide = size.feed_forward
    if isinstance(experts, int) and isinstance(expert, int):
        wide = max(wide, min(experts, 1024) * expert)
    heads = max(size.heads, default=0)
    scores = context * (heads + 1)  # how much each token looks at each, and the mask
    layer = ubatch * (scores + 4 * max(size.width, heads * size.key) + 3 * wide) * _SINGLE
    last = (outputs * header.words + ubatch * 2 * size.width) * _SINGLE
    # What the right side of a product is turned into.
    work = ubatch * max(max(size.width, wide) * _SINGLE, context * heads * _HALF)
    return max(layer, last) + work


def _logits(header: GgufHeader, sequences: int) -> int:
    return header.words * sequences * _SINGLE


def budget_bytes(setting_mib: int, *, machine: Callable[[], int] | None = None) -> int:
    """Return how much all models together may take; 0: three quarters of the machine's memory."""
    if setting_mib:
        return setting_mib * MIB
    return (machine or machine_bytes)() * 3 // 4


def machine_bytes(own: Path = _OWN_CGROUP, groups: Path = _CGROUPS) -> int:
    """The machine's memory, or the least that a cgroup (v2) around this process allows.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, memory.max; a parent's limit binds too.
    """
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        line = next(one for one in own.read_text("ascii").splitlines() if one.startswith("0::"))
    except (OSError, ValueError, StopIteration):
        line = "0::/"
    place = groups / line[3:].lstrip("/")
    while place.is_relative_to(groups):
        with contextlib.suppress(OSError, ValueError):  # "max", or no such group
            least = min(least, int((place / "memory.max").read_text("ascii")))
        place = place.parent
    return least


def check_fits(name: str, wanted: Estimate, budget: int) -> None:
    """Refuse a model that does not fit even alone.

    Raises:
        MemoryRefusedError: with the numbers.
    """
    if wanted.total > budget:
        parts = (wanted.weights, wanted.kv + wanted.vectors, wanted.compute, wanted.other)
        weights, kv, compute, other = (_mib(part) for part in parts)
        raise MemoryRefusedError(
            f"The model {name} needs about {_mib(wanted.total)} MiB ({weights} weights, "
            f"{kv} cache, {compute} computing, {other} else) and engine.memory_mib allows "
            f"{budget // MIB}: "
            "raise it, or lower engine.slots or the model's context."
        )


def _mib(count: int) -> int:
    return -(-count // MIB)
