"""The header check: what is corrupt is named before native code sees it."""

from __future__ import annotations

import ctypes
import importlib.util
import io
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from gateway.engine.gguf_header import read_header
from gateway.engine.gguf_reader import MAX_HEADER, MAX_STRINGS
from gateway.engine.gguf_types import KNOWN, PLAIN, TENSOR_TYPES
from gateway.engine.model_file import check_file
from gateway.errors import ModelFileError
from tests.tinymodel import TEMPLATE, gguf_bytes, write_tiny_gguf

MATRIX = {
    "token_embd.weight": np.zeros((2, 32), np.float32),
    "blk.0.attn_k.weight": np.zeros((16, 32), np.float32),
}
FIELDS = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "llama.block_count": 1,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b"],
}
GOOD = gguf_bytes(FIELDS, MATRIX)


def without(*keys: str) -> dict[str, object]:
    return {key: value for key, value in FIELDS.items() if key not in keys}


def read(data: bytes):
    return read_header(io.BytesIO(data), len(data))


def patched(offset: int, layout: str, value: int) -> bytes:
    return GOOD[:offset] + struct.pack(layout, value) + GOOD[offset + struct.calcsize(layout) :]


def test_a_sound_file_gives_what_the_engine_relies_on(tmp_path: Path):
    """Architecture, context, template, metadata and size come from the file itself."""
    path = write_tiny_gguf(tmp_path / "m.gguf", context=777, metadata={"cloister.label": "x"})
    header = read(path.read_bytes())
    assert (header.version, header.architecture, header.context) == (3, "llama", 777)
    assert header.template == TEMPLATE
    assert header.metadata["cloister.label"] == "x"
    assert header.size_bytes == path.stat().st_size


KEYS = MATRIX["blk.0.attn_k.weight"]
TENSOR_INFO = GOOD.index(b"token_embd.weight") + 17  # just behind its name
CORRUPT = {
    "empty": b"",
    "not a GGUF": b"GGML" + GOOD[4:],
    "version 1": patched(4, "<I", 1),
    "version 4": patched(4, "<I", 4),
    "big-endian version": patched(4, ">I", 3),
    "no tensors": patched(8, "<Q", 0),
    "too many tensors": patched(8, "<Q", 2**63),
    "more tensors than there are": patched(8, "<Q", 3),
    "too many fields": patched(16, "<Q", 2**63),
    "a key as long as the address space": patched(24, "<Q", 2**64 - 1),
    "a field of unknown type": GOOD.replace(
        b"general.architecture\x08", b"general.architecture\x63"
    ),
    "a field twice": gguf_bytes({**FIELDS, "a.b": 1, "a.c": 1}, MATRIX).replace(b"a.c", b"a.b"),
    "a key that is not UTF-8": GOOD.replace(b"llama.context", b"\xff\xfe\xfda.context"),
    "an alignment that is no power of two": gguf_bytes({**FIELDS, "general.alignment": 24}, MATRIX),
    "an alignment of zero": gguf_bytes({**FIELDS, "general.alignment": 0}, MATRIX),
    "no architecture": gguf_bytes(without("general.architecture"), MATRIX),
    "no context": gguf_bytes(without("llama.context_length"), MATRIX),
    "a context of another type": gguf_bytes({**FIELDS, "llama.context_length": 64.0}, MATRIX),
    "a template that is a number": gguf_bytes({**FIELDS, "tokenizer.chat_template": 1}, MATRIX),
    "a context of zero": gguf_bytes({**FIELDS, "llama.context_length": 0}, MATRIX),
    "no tokens": gguf_bytes(without("tokenizer.ggml.tokens"), MATRIX),
    "five dimensions": patched(TENSOR_INFO, "<I", 5),
    "no dimension": patched(TENSOR_INFO, "<I", 0),
    "a dimension of zero": patched(TENSOR_INFO + 4, "<Q", 0),
    "a shape that overflows": patched(TENSOR_INFO + 4, "<Q", 2**63),
    "a tensor of unknown type": patched(TENSOR_INFO + 20, "<I", 999),
    "a removed tensor type": patched(TENSOR_INFO + 20, "<I", 4),
    "a row that fills no block": patched(TENSOR_INFO + 20, "<I", 12),
    "an offset beyond the file": patched(TENSOR_INFO + 24, "<Q", 2**40),
    "an offset off the alignment": patched(TENSOR_INFO + 24, "<Q", 1),
    "two tensors of one name": gguf_bytes(FIELDS, {**MATRIX, "blk.0.attn_v.weight": KEYS}).replace(
        b"attn_v", b"attn_k"
    ),
    "no layers": gguf_bytes({**FIELDS, "llama.block_count": 0}, MATRIX),
    "more layers than llama.cpp has room for": gguf_bytes(
        {**FIELDS, "llama.block_count": 513}, MATRIX
    ),
    "fewer layers than tensors": gguf_bytes(FIELDS, {**MATRIX, "blk.1.attn_k.weight": KEYS}),
    "more layers than tensors": gguf_bytes({**FIELDS, "llama.block_count": 2}, MATRIX),
    "a negative width": gguf_bytes(FIELDS, MATRIX).replace(
        b"embedding_length\x04\x00\x00\x00\x20\x00\x00\x00",
        b"embedding_length\x05\x00\x00\x00\xff\xff\xff\xff",
    ),
    "another width than the tensors have": gguf_bytes(
        {**FIELDS, "llama.embedding_length": 64}, MATRIX
    ),
    "more words than rows": gguf_bytes(
        {**FIELDS, "tokenizer.ggml.tokens": ["a", "b", "c"]}, MATRIX
    ),
    "no embedding": gguf_bytes(FIELDS, {"blk.0.attn_k.weight": KEYS}),
    "other heads than the keys have": gguf_bytes(
        {**FIELDS, "llama.attention.head_count_kv": 4}, MATRIX
    ),
    "heads for too few layers": gguf_bytes(
        {**FIELDS, "llama.block_count": 3, "llama.attention.head_count": [4, 4]}, MATRIX
    ),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_file_is_refused(name: str):
    """Each corruption alone makes the file unusable."""
    assert CORRUPT[name] != GOOD
    read(GOOD)
    with pytest.raises(ModelFileError):
        read(CORRUPT[name])


def test_every_truncation_is_refused():
    """A file that was cut anywhere is not taken for a whole one."""
    whole = gguf_bytes(FIELDS, MATRIX)
    for length in range(len(whole)):
        with pytest.raises(ModelFileError):
            read(whole[:length])


def test_tensors_that_overlap_are_refused():
    """Two tensors never share bytes."""
    place = GOOD.index(b"attn_k.weight") + 13 + 24
    assert struct.unpack_from("<Q", GOOD, place) == (256,)
    for other in (224, 0, 288):
        with pytest.raises(ModelFileError, match="outside its place"):
            read(patched(place, "<Q", other) + bytes(64))


REFUSED = {
    "an unknown architecture": ({"general.architecture": "oracle"}, "architecture"),
    "one that needs another model": ({"general.architecture": "eagle3"}, "architecture"),
    "one that is split": ({"split.count": 2}, "split"),
    "a projector": ({"general.type": "mmproj"}, "neither"),
    "a ranker": ({"llama.pooling_type": 4}, "ranks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_sound_file_that_cannot_serve_is_told_why(name: str):
    """What is wrong is said in words, before native code sees the file."""
    change, word = REFUSED[name]
    with pytest.raises(ModelFileError, match=word):
        read(gguf_bytes(FIELDS | change, MATRIX))


def test_what_a_file_is_comes_from_its_header():
    """Vectors only for encoders and files with a pooling; states cannot be cut; types are named."""
    assert not read(GOOD).embeds
    assert read(gguf_bytes({**FIELDS, "llama.pooling_type": 1}, MATRIX)).embeds
    as_bert = {key.replace("llama.", "bert."): value for key, value in FIELDS.items()}
    assert read(gguf_bytes({**as_bert, "general.architecture": "bert"}, MATRIX)).embeds
    as_mamba = {key.replace("llama.", "mamba."): value for key, value in FIELDS.items()}
    assert read(gguf_bytes({**as_mamba, "general.architecture": "mamba"}, MATRIX)).recurrent
    assert read(GOOD).quantization == "F32"
    for number, name in ((15, "Q4_K_M"), (7, "Q8_0"), (1 | 1024, "F16"), (5, "F32"), (99, "F32")):
        assert (
            read(gguf_bytes({**FIELDS, "general.file_type": number}, MATRIX)).quantization == name
        )
    assert (read(GOOD).parameters, read(GOOD).weights_bytes) == (64 + 512, 4 * (64 + 512))


def test_heads_may_differ_by_layer():
    """One number for all layers or one for each; the cache follows each."""
    heads = {"llama.attention.head_count_kv": [2, 1], "llama.block_count": 2}
    tensors = {**MATRIX, "blk.1.attn_k.weight": KEYS[:8]}
    assert read(gguf_bytes({**FIELDS, **heads}, tensors)).dimensions.kv_heads == (2, 1)
    with pytest.raises(ModelFileError):
        read(gguf_bytes({**FIELDS, **heads}, {**tensors, "blk.1.attn_k.weight": KEYS}))


# --- the tables, against the library that is installed --------------------------------------------


def library(name: str) -> Path:
    spec = importlib.util.find_spec("llama_cpp")
    return Path(spec.submodule_search_locations[0]) / "lib" / name


def test_the_table_of_tensor_types_is_the_librarys():
    """Names and sizes of every type, and no type that the library does not have."""
    ggml = ctypes.CDLL(str(library("libggml-base.so")))
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    for kind, known in TENSOR_TYPES.items():
        assert ggml.ggml_type_name(kind).decode().upper() == known.name
        assert ggml.ggml_type_size(kind) == known.size_bytes
        assert ggml.ggml_blck_size(kind) == known.elements
    assert max(TENSOR_TYPES) == 42


def test_every_architecture_that_may_enter_is_one_of_the_librarys():
    """A release of llama.cpp that drops one makes this fail, not a user's request."""
    data = library("libllama.so").read_bytes()
    assert len(KNOWN) > 100
    assert {name for name in KNOWN if name.encode() + b"\0" not in data} == set()
    assert b"no-such-model\0" not in data
    assert PLAIN <= KNOWN


# --- bounds ---------------------------------------------------------------------------------------


def hostile(kind: int, count: int, item: bytes) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"a"
    return head + struct.pack("<IIQ", 9, kind, count) + item * min(count, 6_000_000)


HOSTILE = {
    "16 million empty strings": hostile(8, 16_000_000, bytes(8)),
    "as many strings as are allowed": hostile(8, MAX_STRINGS, bytes(8)),
    "a huge array of numbers": hostile(10, 2**60, bytes(8)),
    "a header beyond the bound": hostile(0, MAX_HEADER, bytes(24)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_in_bounded_time(name: str):
    """Seconds at most, whatever the counts say; the work is bounded, not only the memory."""
    started = time.process_time()
    with pytest.raises(ModelFileError):
        read(HOSTILE[name])
    assert time.process_time() - started < 5


def test_only_the_recorded_file_passes(tmp_path: Path):
    """A sound file with another digest, or none recorded, is refused."""
    path = write_tiny_gguf(tmp_path / "m.gguf")
    with path.open("rb") as file:
        header, digest = check_file(file, None)
        assert file.tell() == 0
        assert check_file(file, digest.upper()) == (header, digest)
        for other in ("", "0" * 64):
            with pytest.raises(ModelFileError):
                check_file(file, other)


def test_a_pipe_is_no_model(tmp_path: Path):
    """What cannot be read twice is not read at all."""
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as file, pytest.raises(ModelFileError):
        check_file(file, None)
