"""Tiny llama GGUFs with random weights and a byte-level tokenizer: real files for real children.

Written by hand from the GGUF specification (ggml docs/gguf.md), so that the checks of
``gateway.engine.gguf_header`` meet a second, independent reading of it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

EMBEDDING, HEADS, FEED_FORWARD = 32, 2, 64
USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "<|assistant|>"
)
SYSTEM = "<|system|>"


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes in GPT-2's vocabulary, in byte order."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
ALIGNMENT = 32

Value = bool | int | float | str | Sequence[str] | Sequence[int]


def write_tiny_gguf(
    path: Path,
    *,
    context: int = 512,
    labels: int = 0,
    seed: int = 1,
    template: str | None = TEMPLATE,
    user_defined: Sequence[str] = (),
    metadata: Mapping[str, Value] | None = None,
    never_ends: bool = False,
) -> Path:
    """Write a model of about 120 kB. ``labels``: so many label tokens, with their metadata."""
    control = [SYSTEM, USER, ASSISTANT, END]
    label_tokens = [f"⟦{n}⟧" for n in range(labels + 1)] if labels else []
    tokens = [*byte_alphabet(), *control, *user_defined, *label_tokens]
    free = len(user_defined) + len(label_tokens)
    fields: dict[str, Value] = {
        "general.architecture": "llama",
        "llama.context_length": context,
        "llama.embedding_length": EMBEDDING,
        "llama.block_count": 1,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": EMBEDDING // HEADS,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [NORMAL] * 256 + [CONTROL] * 4 + [USER_DEFINED] * free,
        "tokenizer.ggml.merges": ["Ġ t", "h e"],
        "tokenizer.ggml.eos_token_id": tokens.index(END),
        "tokenizer.ggml.add_bos_token": False,
    }
    if template is not None:
        fields["tokenizer.chat_template"] = template
    fields |= {**_label_metadata(labels), **(metadata or {})}
    silent = tokens.index(END) if never_ends else None
    path.write_bytes(gguf_bytes(fields, _weights(len(tokens), seed, silent)))
    return path


def gguf_bytes(fields: Mapping[str, Value], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return a GGUF of version 3 with these fields and float32 tensors."""
    layout: dict[str, tuple[int, tuple[int, ...], int]] = {}
    data = b""
    for name, array in tensors.items():
        layout[name] = (0, array.shape, len(data))
        data += _padded(array.tobytes())
    return _padded(gguf_head(fields, layout)) + data


def gguf_head(
    fields: Mapping[str, Value], tensors: Mapping[str, tuple[int, tuple[int, ...], int]]
) -> bytes:
    """Return all that comes before the data. A tensor: its type, shape (rows first) and offset."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(fields))]
    head += [_string(key) + _value(value) for key, value in fields.items()]
    for name, (kind, rows_first, offset) in tensors.items():
        shape = rows_first[::-1]  # GGUF names the fastest dimension first
        head.append(_string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        head.append(struct.pack("<IQ", kind, offset))
    return b"".join(head)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, map(str, value)))
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *map(int, value))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def _label_metadata(labels: int) -> dict[str, Value]:
    if not labels:
        return {}
    return {
        "cloister.decoding": "extractive",
        "cloister.abstention": "The text does not say.",
        "cloister.separator": "\n",
        "cloister.label": "⟦{n}⟧",
        "cloister.labels": labels,
        "cloister.abstain": "⟦0⟧",
    }


def _weights(words: int, seed: int, silent: int | None) -> dict[str, np.ndarray]:
    source = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return source.normal(0, 0.3, (rows, columns)).astype(np.float32)

    output = matrix(words, EMBEDDING)
    if silent is not None:
        output[silent] = 0  # a logit of 0 among 260 of both signs is never the greatest
    ones = np.ones(EMBEDDING, np.float32)
    square, up = (EMBEDDING, EMBEDDING), (FEED_FORWARD, EMBEDDING)
    shapes = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square),
        **dict.fromkeys(("ffn_gate", "ffn_up"), up),
        "ffn_down": (EMBEDDING, FEED_FORWARD),
    }
    return {
        "token_embd.weight": matrix(words, EMBEDDING),
        "output.weight": output,
        "output_norm.weight": ones,
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
        **{f"blk.0.{name}.weight": matrix(*shape) for name, shape in shapes.items()},
    }


def write_tiny_bert(path: Path, *, context: int = 128) -> Path:
    """Write an encoder of 5 words and letters: it gives vectors, and cannot write."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.,"]
    words = [f"▁{letter}" for letter in letters] + letters
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    fields: dict[str, Value] = {
        "general.architecture": "bert",
        "bert.context_length": context,
        "bert.embedding_length": EMBEDDING,
        "bert.block_count": 1,
        "bert.feed_forward_length": FEED_FORWARD,
        "bert.attention.head_count": HEADS,
        "bert.attention.layer_norm_epsilon": 1e-5,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,  # mean
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL] * 5 + [NORMAL] * len(words),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,  # spelled so in the specification
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
    }
    source = np.random.default_rng(1)

    def noise(*shape: int) -> np.ndarray:
        return source.normal(0, 0.3, shape).astype(np.float32)

    square = (EMBEDDING, EMBEDDING)
    shapes = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square),
        "ffn_up": (FEED_FORWARD, EMBEDDING),
        "ffn_down": (EMBEDDING, FEED_FORWARD),
    }
    tensors = {
        "token_embd.weight": noise(len(tokens), EMBEDDING),
        "position_embd.weight": noise(context, EMBEDDING),
        "token_types.weight": noise(2, EMBEDDING),
        "token_embd_norm.weight": np.ones(EMBEDDING, np.float32),
        "token_embd_norm.bias": noise(EMBEDDING),
    }
    for name, shape in shapes.items():
        tensors[f"blk.0.{name}.weight"] = noise(*shape)
        tensors[f"blk.0.{name}.bias"] = noise(shape[0])
    for name in ("attn_output_norm", "layer_output_norm"):
        tensors[f"blk.0.{name}.weight"] = np.ones(EMBEDDING, np.float32)
        tensors[f"blk.0.{name}.bias"] = noise(EMBEDDING)
    path.write_bytes(gguf_bytes(fields, tensors))
    return path
