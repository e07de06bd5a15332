"""The header of a GGUF file, read and checked in Python before native code sees the file.

``read_header`` takes any bytes and gives a value or ``ModelFileError``. What it promises of an
accepted file: every count, length and offset stays inside the file, types are known, tensors do
not overlap, and the fields the engine relies on are there and of the right type.

Source: the GGUF specification, ggml docs/gguf.md, versions 2 and 3 (little-endian).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from gateway.errors import ModelFileError

Value = bool | int | float | str
"""A scalar of the metadata. Arrays are checked and left out, save short arrays of strings."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_TENSORS = 65_536
_MAX_FIELDS = 65_536
_MAX_STRING = 8 * 1024 * 1024  # bytes; chat templates are the longest strings there are
_MAX_ITEMS = 16 * 1024 * 1024  # of one array; vocabularies are below a million
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 2**48
_MAX_NAME = 64  # bytes, GGML_MAX_NAME
_DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: Final = {
    0: "B",
    1: "b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    _BOOL: "B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
# type id -> (elements per block, bytes per block); ids 4, 5 and 31 to 38 were removed from ggml.
_TENSOR_TYPES: Final = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """``metadata`` holds scalars. ``template`` is "" for a model that has none."""

    version: int
    tensors: int
    size_bytes: int
    architecture: str
    context: int
    template: str = field(repr=False)
    metadata: Mapping[str, Value] = field(repr=False)


def read_header(file: BinaryIO, size: int) -> GgufHeader:
    """Read and check the header at the start of ``file``, which is ``size`` bytes long.

    Raises:
        ModelFileError: the bytes are not a whole, sound GGUF model.
    """
    reader = _Reader(file, size)
    if reader.take(4) != _MAGIC:
        raise ModelFileError("The model file is not a GGUF file.")
    version = reader.number("<I")
    if version not in _VERSIONS:
        raise ModelFileError("The model file has an unknown GGUF version or byte order.")
    tensors, fields = reader.number("<Q"), reader.number("<Q")
    if not 0 < tensors <= _MAX_TENSORS or fields > _MAX_FIELDS:
        raise ModelFileError("The model file has an impossible number of tensors or fields.")
    metadata, strings = _read_metadata(reader, fields)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ModelFileError("The model file has an impossible alignment.")
    _check_tensors(reader, tensors, alignment)
    architecture = metadata.get("general.architecture")
    context = metadata.get(f"{architecture}.context_length")
    template = metadata.get("tokenizer.chat_template", "")
    if (
        not isinstance(architecture, str)
        or not isinstance(context, int)
        or context < 1
        or not isinstance(template, str)
        or "tokenizer.ggml.tokens" not in strings
    ):
        raise ModelFileError("The model file lacks fields that a language model has.")
    return GgufHeader(version, tensors, size, architecture, context, template, metadata)


class _Reader:
    """Takes bytes off the front and never beyond the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > self.size - self.position:
            raise ModelFileError("The model file is truncated.")
        data = self._file.read(count)
        if len(data) != count:
            raise ModelFileError("The model file is truncated.")
        self.position += count
        return data

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def raw_string(self) -> bytes:
        length = self.number("<Q")
        if length > _MAX_STRING:
            raise ModelFileError("The model file has a string that is too long.")
        return self.take(length)

    def text(self) -> str:
        try:
            return self.raw_string().decode()
        except UnicodeDecodeError:
            raise ModelFileError("The model file has text that is not UTF-8.") from None


def _read_metadata(reader: _Reader, fields: int) -> tuple[dict[str, Value], set[str]]:
    """Return the scalars, and the keys of the arrays of strings."""
    scalars: dict[str, Value] = {}
    string_arrays: set[str] = set()
    seen: set[str] = set()
    for _ in range(fields):
        key, kind = reader.text(), reader.number("<I")
        if key in seen:
            raise ModelFileError("The model file names a field twice.")
        seen.add(key)
        if kind == _STRING:
            scalars[key] = reader.text()
        elif kind == _ARRAY:
            if _skip_array(reader) == _STRING:
                string_arrays.add(key)
        else:
            scalars[key] = _scalar(reader, kind)
    return scalars, string_arrays


def _scalar(reader: _Reader, kind: int) -> Value:
    layout = _SCALARS.get(kind)
    if layout is None:
        raise ModelFileError("The model file has a field of an unknown type.")
    (value,) = struct.unpack(layout, reader.take(struct.calcsize(layout)))
    if kind != _BOOL:
        return value  # type: ignore[no-any-return]
    if value > 1:
        raise ModelFileError("The model file has a truth value that is neither.")
    return bool(value)


def _skip_array(reader: _Reader) -> int:
    """Check an array without keeping it; return the type of its items."""
    kind, count = reader.number("<I"), reader.number("<Q")
    if count > _MAX_ITEMS:
        raise ModelFileError("The model file has an array that is too long.")
    if kind == _STRING:
        for _ in range(count):
            reader.raw_string()
        return kind
    layout = _SCALARS.get(kind)  # arrays of arrays are unknown to ggml and refused here
    if layout is None:
        raise ModelFileError("The model file has an array of an unknown type.")
    reader.take(struct.calcsize(layout) * count)
    return kind


def _check_tensors(reader: _Reader, count: int, alignment: int) -> None:
    """Check that every tensor lies whole in the data that follows the header, in order."""
    names: set[bytes] = set()
    extents: list[tuple[int, int]] = []
    for _ in range(count):
        name = reader.raw_string()
        if len(name) >= _MAX_NAME or name in names:
            raise ModelFileError("The model file has a tensor with an impossible name.")
        names.add(name)
        extents.append(_tensor_extent(reader))
    start = -(-reader.position // alignment) * alignment
    free = 0
    for offset, length in extents:
        if offset % alignment or offset < free or start + offset + length > reader.size:
            raise ModelFileError("The model file has a tensor outside its data.")
        free = offset + length


def _tensor_extent(reader: _Reader) -> tuple[int, int]:
    """Return where a tensor begins in the data, and its length, both in bytes."""
    dimensions = reader.number("<I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise ModelFileError("The model file has a tensor of impossible shape.")
    shape = [reader.number("<Q") for _ in range(dimensions)]
    elements = 1
    for extent in shape:
        elements *= extent
        if not 0 < elements <= _MAX_ELEMENTS:
            raise ModelFileError("The model file has a tensor of impossible shape.")
    kind = _TENSOR_TYPES.get(reader.number("<I"))
    if kind is None:
        raise ModelFileError("The model file has a tensor of an unknown type.")
    per_block, block_bytes = kind
    if shape[0] % per_block:
        raise ModelFileError("The model file has a tensor of impossible shape.")
    return reader.number("<Q"), elements // per_block * block_bytes
