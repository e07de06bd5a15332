"""The dimensions of a model, as its metadata says them, and whether its tensors agree.

llama.cpp makes its graph from the metadata and its buffers from the tensors; where the two differ
it stops at best. Source of the keys and their defaults: llama.cpp, src/llama-model.cpp,
``load_hparams``; limits: src/llama-hparams.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.engine.gguf_reader import Tensor, Value
from gateway.engine.gguf_types import PLAIN
from gateway.errors import ModelFileError

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_MAX_WIDTH = 2**17  # of an embedding; the widest models have 2**14
_MAX_HEADS = 2**14
_MAX_HEAD_WIDTH = 2**14
_PREFIX = "blk."


@dataclass(frozen=True, slots=True)
class Dimensions:
    """``heads`` and ``kv_heads`` have one number for each layer: 0 where one has no attention.

    ``key`` and ``value``: width of one head in the cache. ``state``: numbers of a recurrent layer
    for one sequence.
    """

    layers: int = 0
    width: int = 0
    heads: tuple[int, ...] = ()
    kv_heads: tuple[int, ...] = ()
    key: int = 0
    value: int = 0
    feed_forward: int = 0
    state: int = 0


def read_dimensions(architecture: str, metadata: Mapping[str, Value]) -> Dimensions:
    """Read what the metadata says.

    Raises:
        ModelFileError: a number that is missing, of a wrong type, or beyond every model's.
    """
    fields = _Fields(architecture, metadata)
    layers, width = (
        fields.one("block_count", 1, _MAX_LAYERS),
        fields.one("embedding_length", 1, _MAX_WIDTH),
    )
    heads = fields.each("attention.head_count", layers, (0,) * layers)
    most = max(heads)
    share = width // most if most else 0
    key = fields.one("attention.key_length", 0, _MAX_HEAD_WIDTH, share)
    value = fields.one("attention.value_length", 0, _MAX_HEAD_WIDTH, share)
    latent = fields.one("attention.key_length_mla", 0, _MAX_HEAD_WIDTH, 0)
    return Dimensions(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=fields.each("attention.head_count_kv", layers, heads),
        key=max(key, fields.one("attention.key_length_swa", 0, _MAX_HEAD_WIDTH, 0)),
        # Latent attention keeps keys only: values are made of them (llama_kv_cache, is_mla).
        value=0
        if latent
        else max(value, fields.one("attention.value_length_swa", 0, _MAX_HEAD_WIDTH, 0)),
        feed_forward=max(fields.each("feed_forward_length", layers, (0,) * layers, _MAX_WIDTH * 8)),
        state=_state(fields, width, most),
    )


class _Fields:
    """Numbers of one architecture's metadata, within limits."""

    def __init__(self, architecture: str, metadata: Mapping[str, Value]) -> None:
        self._architecture = architecture
        self._metadata = metadata

    def one(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._metadata.get(f"{self._architecture}.{name}", default)
        if type(value) is not int or not low <= value <= high:
            raise ModelFileError("The model file has impossible dimensions.")
        return value

    def each(
        self, name: str, layers: int, default: tuple[int, ...], high: int = _MAX_HEADS
    ) -> tuple[int, ...]:
        """Return one number for each layer, from one for all or from one for each."""
        value = self._metadata.get(f"{self._architecture}.{name}", default)
        numbers = value if isinstance(value, tuple) else (value,) * layers
        found = tuple(n for n in numbers if type(n) is int and 0 <= n <= high)
        if len(found) != len(numbers) or len(found) < layers:
            raise ModelFileError("The model file has impossible dimensions.")
        return found[:layers]


def _state(fields: _Fields, width: int, heads: int) -> int:
    """Source: llama.cpp, src/llama-hparams.cpp, ``n_embd_r`` and ``n_embd_s``."""
    wide = _MAX_WIDTH * 8
    head = fields.one("wkv.head_size", 0, _MAX_HEAD_WIDTH, 0)
    if head:
        return width * (head + fields.one("token_shift_count", 0, 16, 2))
    kernel = fields.one("shortconv.l_cache", 0, 64, 0)
    if kernel:
        return width * kernel
    delta = fields.one("kda.head_dim", 0, _MAX_HEAD_WIDTH, 0)
    if delta:
        return delta * heads * (delta + 9)
    inner, state = (
        fields.one("ssm.inner_size", 0, wide, 0),
        fields.one("ssm.state_size", 0, wide, 0),
    )
    groups, kernel = (
        fields.one("ssm.group_count", 0, wide, 0),
        fields.one("ssm.conv_kernel", 0, 64, 0),
    )
    return inner * state + max(kernel - 1, 0) * (inner + 2 * groups * state)


def check_tensors(
    architecture: str, dimensions: Dimensions, words: int, tensors: Mapping[str, Tensor]
) -> None:
    """Refuse a file whose tensors are not those of its metadata.

    Raises:
        ModelFileError: the vocabulary, the layers or the heads of the two differ.
    """
    embedding = tensors.get("token_embd.weight")
    if embedding is None or embedding.shape != (dimensions.width, words):
        raise ModelFileError("The model file's metadata and tensors contradict each other.")
    blocks = {int(number) for number in map(_block, tensors) if number.isdecimal()}
    plain = architecture in PLAIN
    if max(blocks, default=0) >= dimensions.layers or (plain and len(blocks) != dimensions.layers):
        raise ModelFileError("The model file's metadata and tensors contradict each other.")
    for layer in range(dimensions.layers if plain else 0):
        for part, shape in _plain_shapes(dimensions, layer).items():
            tensor = tensors.get(f"{_PREFIX}{layer}.{part}.weight")
            if tensor is not None and tensor.shape != shape:
                raise ModelFileError("The model file's metadata and tensors contradict each other.")


def _block(name: str) -> str:
    return name[len(_PREFIX) :].partition(".")[0] if name.startswith(_PREFIX) else ""


def _plain_shapes(dimensions: Dimensions, layer: int) -> dict[str, tuple[int, ...]]:
    width, heads, shared = dimensions.width, dimensions.heads[layer], dimensions.kv_heads[layer]
    return {
        "attn_norm": (width,),
        "attn_q": (width, heads * dimensions.key),
        "attn_k": (width, shared * dimensions.key),
        "attn_v": (width, shared * dimensions.value),
        "attn_output": (heads * dimensions.value, width),
        "ffn_up": (width, dimensions.feed_forward),
        "ffn_gate": (width, dimensions.feed_forward),
        "ffn_down": (dimensions.feed_forward, width),
    }
