"""Llama GGUFs of any size, with random half-precision weights, and LoRA adapters for them.

Unlike ``tinymodel`` they are written tensor by tensor, so that a large one takes no memory.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.tinymodel import Value, _padded, _string, _value, byte_alphabet

F32, F16 = 0, 1


@dataclass(frozen=True)
class Shape:
    """The sizes of a llama model. ``words`` is the vocabulary, the bytes included."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    words: int
    context: int = 4096

    @property
    def head(self) -> int:
        return self.width // self.heads


ABOUT_1M = Shape(4, 128, 4, 2, 384, 1024)
ABOUT_10M = Shape(8, 288, 6, 6, 768, 4096)
ABOUT_125M = Shape(12, 768, 12, 12, 2048, 32768)


def metadata(shape: Shape) -> dict[str, Value]:
    filler = [f"w{number}" for number in range(shape.words - 257)]
    return {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.head,
        "llama.vocab_size": shape.words,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [*byte_alphabet(), "<|end|>", *filler],
        "tokenizer.ggml.token_type": [1] * 256 + [3] + [1] * len(filler),
        "tokenizer.ggml.merges": ["Ġ t", "h e"],
        "tokenizer.ggml.eos_token_id": 256,
    }


def tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes, the slowest dimension first, as numpy has them."""
    keys = shape.kv_heads * shape.head
    named: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.words, shape.width)}
    for layer in range(shape.layers):
        block = {
            "attn_norm": (shape.width,),
            "attn_q": (shape.width, shape.width),
            "attn_k": (keys, shape.width),
            "attn_v": (keys, shape.width),
            "attn_output": (shape.width, shape.width),
            "ffn_norm": (shape.width,),
            "ffn_gate": (shape.feed_forward, shape.width),
            "ffn_up": (shape.feed_forward, shape.width),
            "ffn_down": (shape.width, shape.feed_forward),
        }
        named |= {f"blk.{layer}.{part}.weight": sizes for part, sizes in block.items()}
    return named | {
        "output_norm.weight": (shape.width,),
        "output.weight": (shape.words, shape.width),
    }


def write_model(path: Path, shape: Shape, **more: Value) -> Path:
    """Write a model of this shape; ``more`` are fields of its metadata."""
    return write_gguf(path, metadata(shape) | more, tensors(shape))


def write_gguf(
    path: Path, fields: Mapping[str, Value], named: Mapping[str, tuple[int, ...]]
) -> Path:
    """Write a GGUF: vectors of ones in single precision, matrices of noise in half."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(named), len(fields))]
    head += [_string(key) + _value(value) for key, value in fields.items()]
    place = 0
    for name, sizes in named.items():
        head.append(_string(name) + struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes[::-1]))
        head.append(struct.pack("<IQ", F32 if len(sizes) == 1 else F16, place))
        place += len(_padded(bytes(_size(sizes))))
    with path.open("wb") as file:
        file.write(_padded(b"".join(head)))
        for data in _data(named):
            file.write(_padded(data))
    return path


def _size(sizes: Sequence[int]) -> int:
    return math.prod(sizes) * (4 if len(sizes) == 1 else 2)


def _data(named: Mapping[str, tuple[int, ...]]) -> Iterator[bytes]:
    source = np.random.default_rng(7)
    for sizes in named.values():
        if len(sizes) == 1:
            yield np.ones(sizes, np.float32).tobytes()
        else:
            values = source.standard_normal(sizes, np.float32) * np.float32(0.02)
            yield values.astype(np.float16).tobytes()


def write_adapter(
    path: Path, shape: Shape, *, rank: int = 4, parts: Sequence[str] = ("attn_q", "ffn_down"),
    **more: Value,
) -> Path:  # fmt: skip
    """Write a LoRA adapter for some matrices of every layer of a model of this shape."""
    fields: dict[str, Value] = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    base, named = tensors(shape), {}
    for layer in range(shape.layers):
        for part in parts:
            name = f"blk.{layer}.{part}.weight"
            out, into = base[name]
            named[f"{name}.lora_a"], named[f"{name}.lora_b"] = (rank, into), (out, rank)
    return write_gguf(path, fields | more, named)
