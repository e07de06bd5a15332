"""LoRA adapters: whether one fits the model it is added for, before native code sees the two.

llama.cpp checks the same and throws; but it looks at values whose type it only assumes, and what
it refuses there is refused to the first user instead of the operator.
Source: llama.cpp, src/llama-adapter.cpp, ``llama_adapter_lora_init_impl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.engine.gguf_header import GgufHeader, Kind
from gateway.engine.gguf_reader import Tensor
from gateway.errors import ModelFileError

_A, _B = ".lora_a", ".lora_b"
_EMBEDDING = "token_embd.weight"
_MATRIX: Final = 2  # dimensions; those of experts have a third
_FLOATS: Final = frozenset({"F32", "F16", "BF16", "Q8_0"})


def check_adapter(adapter: GgufHeader, base: GgufHeader) -> None:
    """Refuse an adapter that is not one of ``base``.

    Raises:
        ModelFileError: another architecture, a matrix the base does not have or that has another
            shape there, half a pair, or tensors that are no LoRA.
    """
    if adapter.kind is not Kind.ADAPTER or base.kind is not Kind.MODEL:
        raise ModelFileError("An adapter is added for a whole model, and for one only.")
    if adapter.architecture != base.architecture:
        raise ModelFileError("The adapter is for another architecture than its base has.")
    pairs = _pairs(adapter.tensors)
    if not pairs:
        raise ModelFileError("The adapter changes nothing.")
    for name, (a, b) in pairs.items():
        target = base.tensors.get(name)
        if target is None or not _fits(name, a, b, target):
            raise ModelFileError("The adapter changes tensors that its base does not have.")


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the pairs by the tensor that each changes.

    Raises:
        ModelFileError: half a pair, a tensor of neither half, or quantized beyond use.
    """
    ends = {_A: {}, _B: {}}  # type: dict[str, dict[str, Tensor]]
    for name, tensor in tensors.items():
        end = name[-len(_A) :]
        if end not in ends or tensor.type not in _FLOATS:
            raise ModelFileError("The adapter has tensors that are no part of a LoRA.")
        ends[end][name[: -len(end)]] = tensor
    if ends[_A].keys() != ends[_B].keys():
        raise ModelFileError("The adapter has half a pair of tensors.")
    return {name: (a, ends[_B][name]) for name, a in ends[_A].items()}


def _fits(name: str, a: Tensor, b: Tensor, target: Tensor) -> bool:
    """Whether B x A has the shape of what it changes; an embedding's halves are the other way."""
    if not len(a.shape) == len(b.shape) == len(target.shape) >= _MATRIX:
        return False
    if a.shape[_MATRIX:] != target.shape[_MATRIX:] or b.shape[_MATRIX:] != target.shape[_MATRIX:]:
        return False
    into, out = target.shape[:_MATRIX]
    if name == _EMBEDDING:
        return (b.shape[1], a.shape[1]) == (into, out) and a.shape[0] == b.shape[0]
    return (a.shape[0], b.shape[1]) == (into, out) and a.shape[1] == b.shape[0]
