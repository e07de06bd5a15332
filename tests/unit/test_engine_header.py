"""The header check: what is corrupt is named before native code sees it."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from gateway.engine.gguf_header import read_header
from gateway.engine.model_file import check_file
from gateway.errors import ModelFileError
from tests.tinymodel import TEMPLATE, gguf_bytes, write_tiny_gguf

MATRIX = {"w": np.zeros((2, 32), np.float32)}
FIELDS = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "tokenizer.ggml.tokens": ["a", "b"],
}
GOOD = gguf_bytes(FIELDS, MATRIX)


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


TENSOR_INFO = GOOD.index(b"\x01\x00\x00\x00\x00\x00\x00\x00w") + 9  # just behind its name
CORRUPT = {
    "empty": b"",
    "not a GGUF": b"GGML" + GOOD[4:],
    "version 1": patched(4, "<I", 1),
    "version 4": patched(4, "<I", 4),
    "big-endian version": patched(4, ">I", 3),
    "no tensors": patched(8, "<Q", 0),
    "too many tensors": patched(8, "<Q", 2**63),
    "more tensors than there are": patched(8, "<Q", 2),
    "too many fields": patched(16, "<Q", 2**63),
    "a key as long as the address space": patched(24, "<Q", 2**64 - 1),
    "a field of unknown type": GOOD.replace(
        b"general.architecture\x08", b"general.architecture\x63"
    ),
    "a field twice": gguf_bytes({**FIELDS, "a.b": 1, "a.c": 1}, MATRIX).replace(b"a.c", b"a.b"),
    "a key that is not UTF-8": GOOD.replace(b"llama.context", b"\xff\xfe\xfda.context"),
    "an alignment that is no power of two": gguf_bytes({**FIELDS, "general.alignment": 24}, MATRIX),
    "an alignment of zero": gguf_bytes({**FIELDS, "general.alignment": 0}, MATRIX),
    "no architecture": gguf_bytes(
        {k: v for k, v in FIELDS.items() if k != "general.architecture"}, MATRIX
    ),
    "no context": gguf_bytes({**FIELDS, "general.architecture": "other"}, MATRIX),
    "a context of zero": gguf_bytes({**FIELDS, "llama.context_length": 0}, MATRIX),
    "no tokens": gguf_bytes({k: v for k, v in FIELDS.items() if "tokens" not in k}, MATRIX),
    "five dimensions": patched(TENSOR_INFO, "<I", 5),
    "no dimension": patched(TENSOR_INFO, "<I", 0),
    "a dimension of zero": patched(TENSOR_INFO + 4, "<Q", 0),
    "a shape that overflows": patched(TENSOR_INFO + 4, "<Q", 2**63),
    "a tensor of unknown type": patched(TENSOR_INFO + 20, "<I", 999),
    "a removed tensor type": patched(TENSOR_INFO + 20, "<I", 4),
    "a row that fills no block": patched(TENSOR_INFO + 20, "<I", 12),
    "an offset beyond the file": patched(TENSOR_INFO + 24, "<Q", 2**40),
    "an offset off the alignment": patched(TENSOR_INFO + 24, "<Q", 1),
    "two tensors of one name": gguf_bytes(FIELDS, {**MATRIX, "v": MATRIX["w"]}).replace(
        b"\x01\x00\x00\x00\x00\x00\x00\x00v", b"\x01\x00\x00\x00\x00\x00\x00\x00w"
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
    both = gguf_bytes(FIELDS, {"a": MATRIX["w"], "b": MATRIX["w"]})
    place = both.rindex(b"\x01\x00\x00\x00\x00\x00\x00\x00b") + 9 + 24
    assert struct.unpack_from("<Q", both, place) == (256,)
    read(both)
    with pytest.raises(ModelFileError):
        read(both[:place] + struct.pack("<Q", 224) + both[place + 8 :])


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
