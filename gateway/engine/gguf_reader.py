"""The bytes of a GGUF header: taken off the front, within bounds of size and number.

Whatever stands in a file, no more than ``MAX_HEADER`` bytes and ``MAX_STRINGS`` strings of it are
looked at, so that a hostile one costs seconds and megabytes at most.

Source: the GGUF specification, ggml docs/gguf.md, versions 2 and 3 (little-endian).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from gateway.engine.gguf_types import TENSOR_TYPES
from gateway.errors import ModelFileError

Number = bool | int | float
Value = Number | str | tuple[Number, ...]
"""A scalar of the metadata, or a short array of numbers, such as one for each layer."""

MAX_HEADER: Final = 128 * 1024 * 1024  # bytes; vocabulary and merges of 262,144 tokens take 15 MB
MAX_STRINGS: Final = 2 * 1024 * 1024  # of all arrays together; those of 262,144 tokens have 0.8 M
_MAX_STRING = 8 * 1024 * 1024  # bytes; chat templates are the longest strings there are
_MAX_KEPT = 1024  # items of an array of numbers that is kept; llama.cpp knows at most 512 layers
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 2**48
_MAX_NAME = 64  # bytes, GGML_MAX_NAME
_BLOCK = 1 << 20
STRING, ARRAY, BOOL, UINT32, FLOAT32 = 8, 9, 7, 4, 6
_SCALARS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    UINT32: "<I",
    5: "<i",
    FLOAT32: "<f",
    BOOL: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_LENGTH: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Tensor:
    """``shape`` names the fastest dimension first, as the file does."""

    shape: tuple[int, ...]
    type: str
    size_bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True, slots=True)
class Metadata:
    """``kinds`` has the type of every field; ``counts`` the length of each array of strings."""

    values: Mapping[str, Value] = field(repr=False)
    kinds: Mapping[str, int] = field(repr=False)
    counts: Mapping[str, int] = field(repr=False)


class Reader:
    """Takes bytes off the front, and never beyond the end or the bound."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._strings = 0
        self.size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > self.size - self.position:
            raise ModelFileError("The model file is truncated.")
        if count > MAX_HEADER - self.position:
            raise ModelFileError("The model file has a header that is too long.")
        data = self._file.read(count)
        if len(data) != count:
            raise ModelFileError("The model file is truncated.")
        self.position += count
        return data

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def raw_string(self) -> bytes:
        (length,) = _LENGTH.unpack(self.take(_LENGTH.size))
        if length > _MAX_STRING:
            raise ModelFileError("The model file has a string that is too long.")
        return self.take(length)

    def text(self) -> str:
        try:
            return self.raw_string().decode()
        except UnicodeDecodeError:
            raise ModelFileError("The model file has text that is not UTF-8.") from None

    def skip_strings(self, count: int) -> None:
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise ModelFileError("The model file has too many strings.")
        read, unpack, free = self._file.read, _LENGTH.unpack, min(self.size, MAX_HEADER)
        for _ in range(count):  # a vocabulary is most of a header: without the calls it is quick
            prefix = read(_LENGTH.size)
            if len(prefix) != _LENGTH.size:
                raise ModelFileError("The model file is truncated.")
            (length,) = unpack(prefix)
            self.position += _LENGTH.size + length
            if length > _MAX_STRING or self.position > free or len(read(length)) != length:
                raise ModelFileError("The model file has strings that do not fit it.")

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.take(min(count, _BLOCK)))


def read_metadata(reader: Reader, fields: int) -> Metadata:
    """Read ``fields`` fields, checking all and keeping what is small.

    Raises:
        ModelFileError: a field is malformed, of an unknown type, or there twice.
    """
    values: dict[str, Value] = {}
    kinds: dict[str, int] = {}
    counts: dict[str, int] = {}
    for _ in range(fields):
        key, kind = reader.text(), reader.number("<I")
        if not key or key in kinds:
            raise ModelFileError("The model file names a field twice, or not at all.")
        kinds[key] = kind
        if kind == STRING:
            values[key] = reader.text()
        elif kind != ARRAY:
            (values[key],) = _numbers(reader, kind, 1)
        else:
            _read_array(reader, key, values, counts)
    return Metadata(values, kinds, counts)


def _numbers(reader: Reader, kind: int, count: int) -> tuple[Number, ...]:
    layout = _SCALARS.get(kind)
    if layout is None:
        raise ModelFileError("The model file has a field of an unknown type.")
    shape = f"<{count}{layout[1]}"
    numbers: tuple[Number, ...] = struct.unpack(shape, reader.take(struct.calcsize(shape)))
    if kind != BOOL:
        return numbers
    if any(number > 1 for number in numbers):
        raise ModelFileError("The model file has a truth value that is neither.")
    return tuple(map(bool, numbers))


def _read_array(reader: Reader, key: str, values: dict[str, Value], counts: dict[str, int]) -> None:
    """Check an array; keep a short one of numbers, and how long one of strings is."""
    kind, count = reader.number("<I"), reader.number("<Q")
    if kind == STRING:
        counts[key] = count
        reader.skip_strings(count)
    elif kind not in _SCALARS:  # arrays of arrays are unknown to ggml, too
        raise ModelFileError("The model file has an array of an unknown type.")
    elif count <= _MAX_KEPT:
        values[key] = _numbers(reader, kind, count)
    else:
        reader.skip(struct.calcsize(_SCALARS[kind]) * count)


def read_tensors(reader: Reader, count: int, alignment: int) -> dict[str, Tensor]:
    """Read where the tensors lie: one behind the other, each whole in the data after the header.

    Raises:
        ModelFileError: a tensor of impossible name, shape, type or place.
    """
    tensors: dict[str, Tensor] = {}
    offsets: list[int] = []
    for _ in range(count):
        name = reader.raw_string()
        if len(name) >= _MAX_NAME or not name.isascii() or name.decode() in tensors:
            raise ModelFileError("The model file has a tensor with an impossible name.")
        tensors[name.decode()] = _tensor(reader)
        offsets.append(reader.number("<Q"))
    start = _aligned(reader.position, alignment)
    free = 0
    for offset, tensor in zip(offsets, tensors.values(), strict=True):
        if offset != free or start + offset + tensor.size_bytes > reader.size:
            raise ModelFileError("The model file has a tensor outside its place.")
        free = _aligned(offset + tensor.size_bytes, alignment)
    return tensors


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _tensor(reader: Reader) -> Tensor:
    dimensions = reader.number("<I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise ModelFileError("The model file has a tensor of impossible shape.")
    shape = tuple(reader.number("<Q") for _ in range(dimensions))
    elements = 1
    for extent in shape:
        elements *= extent
        if not 0 < elements <= _MAX_ELEMENTS:
            raise ModelFileError("The model file has a tensor of impossible shape.")
    kind = TENSOR_TYPES.get(reader.number("<I"))
    if kind is None:
        raise ModelFileError("The model file has a tensor of an unknown type.")
    if shape[0] % kind.elements:
        raise ModelFileError("The model file has a tensor of impossible shape.")
    return Tensor(shape, kind.name, elements // kind.elements * kind.size_bytes)
