"""The tagger's network in plain numpy, and the one file it is kept in.

Tables of hashed features are summed per token; then convolutions over three tokens each, at
growing distances, so that a token sees ``REACH`` tokens to either side. A token's result depends
on those alone. Each layer goes over the text block by block, so that its weights stay in the cache.

The file: ``MAGIC``, the length of the header (8 bytes, little-endian), the header (JSON: name,
type, shape and offset of each array), the arrays. Tables are int8 with one scale per row, the
rest float16. There is no pickle in it and no word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gateway.pii.ner.features import GRAM_ROWS, SMALL_ROWS, WORD_ROWS, Features

MAGIC = b"CLNER001"
DISTANCES = (1, 1, 2, 4, 8)
"""How far to either side each layer looks, in tokens; the first reads the tables."""
REACH = sum(DISTANCES)
WINDOW = 256  # tokens of a block
EPSILON = 1e-6

LABELS = (
    "PERSON", "LOCATION", "REGION", "ORGANIZATION", "AUTHORITY", "DATE_TIME", "YEAR", "AGE",
    "DEMOGRAPHIC", "PHONE_NUMBER", "EMAIL_ADDRESS", "URL", "ZIP_CODE", "ID_NUMBER",
)  # fmt: skip
"""Tag 0 is outside; tags 1 + 2n and 2 + 2n begin and continue label n."""
TAGS = 1 + 2 * len(LABELS)

Floats = NDArray[np.float32]


def pack(arrays: Mapping[str, Floats]) -> bytes:
    """The file for ``arrays``: those named ``table_*`` as int8 rows, the rest as float16."""
    header: dict[str, dict[str, object]] = {}
    body = bytearray()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], np.float32)
        parts = {name: array.astype("<f2")}
        if name.startswith("table_"):
            scale = np.maximum(np.abs(array).max(1, keepdims=True) / 127, 1e-8).astype("<f2")
            scaled = np.round(array / scale.astype(np.float32))
            parts = {name: np.clip(scaled, -127, 127).astype("i1"), f"scale_{name}": scale}
        for part, values in parts.items():
            header[part] = {
                "type": values.dtype.str, "shape": list(values.shape), "at": len(body),
            }  # fmt: skip
            body += values.tobytes()
    head = json.dumps(header, sort_keys=True).encode()
    return MAGIC + len(head).to_bytes(8, "little") + head + bytes(body)


def unpack(data: bytes) -> dict[str, Floats]:
    """Undo ``pack``.

    Raises:
        ValueError: the bytes are no such file.
    """
    if data[:8] != MAGIC:
        raise ValueError("not a tagger's file")
    size = int.from_bytes(data[8:16], "little")
    header = json.loads(data[16 : 16 + size])
    body = memoryview(data)[16 + size :]
    raw = {}
    for name, entry in header.items():
        shape, kind = tuple(entry["shape"]), np.dtype(entry["type"])
        count = int(np.prod(shape))
        raw[name] = np.frombuffer(body, kind, count, entry["at"]).reshape(shape)
    arrays = {}
    for name, values in raw.items():
        if name.startswith("scale_"):
            continue
        floats = values.astype(np.float32)
        if name.startswith("table_"):
            floats *= raw[f"scale_{name}"].astype(np.float32)
        floats.setflags(write=False)
        arrays[name] = floats
    return arrays


@dataclass(frozen=True, slots=True)
class Network:
    """Weights, read-only and shared by threads."""

    arrays: Mapping[str, Floats] = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Network:
        """The network in a file.

        Raises:
            ValueError: the bytes are no such file, or its tables are not those of ``features``.
        """
        arrays = unpack(data)
        rows = [len(arrays[f"table_{name}"]) for name in ("words", "grams", "small")]
        if rows != [WORD_ROWS, GRAM_ROWS, SMALL_ROWS]:
            raise ValueError("tables of another size")
        return cls(MappingProxyType(arrays))

    def forms(self, features: Features) -> Floats:
        """One vector for each distinct form: its word's row and the sum of its n-grams' rows."""
        total: Floats = self.arrays["table_words"].take(features.words, axis=0)
        table, starts = self.arrays["table_grams"], features.gram_starts
        counts = np.diff(starts, append=len(features.grams))
        for count in np.unique(counts):  # summed together where as many
            which = np.flatnonzero(counts == count)
            rows = features.grams[starts[which][:, None] + np.arange(count)]
            total[which] += np.add.reduce(table.take(rows, axis=0), axis=1)
        return total

    def tags(self, forms: Floats, numbers: NDArray[np.int64], small: NDArray[np.int64]) -> Floats:
        """Probabilities of the tags, shape (tokens, ``TAGS``), of the consecutive tokens of a text.

        ``numbers``: for each token the row of ``forms``; ``small``: its rows of the small table.
        """
        arrays, count = self.arrays, len(numbers)
        out = np.empty((count, TAGS), np.float32)
        hidden = self._first(forms, numbers, small)
        other = np.empty_like(hidden)
        for layer, distance in enumerate(DISTANCES[1:], 1):
            shift, weight = arrays[f"shift_{layer - 1}"], arrays[f"weight_{layer}"]
            for wide, start, stop, left, right in _blocks(hidden, distance):
                active = hidden[left:right] * _scale(hidden[left:right])
                active += shift
                np.maximum(active, 0, out=active)
                _spread(wide, active, start - left, distance)
                np.matmul(wide, weight, out=other[start:stop])
                other[start:stop] += hidden[start:stop]
            hidden, other = other, hidden
        for start in range(0, count, WINDOW):
            rows = hidden[start : start + WINDOW]
            scores = (rows * _scale(rows)) @ arrays["weight_out"]
            scores += arrays["bias_out"]
            scores -= scores.max(1, keepdims=True)
            np.exp(scores, out=scores)
            np.divide(scores, scores.sum(1, keepdims=True), out=out[start : start + WINDOW])
        return out

    def _first(self, forms: Floats, numbers: NDArray[np.int64], small: NDArray[np.int64]) -> Floats:
        """The first layer, which reads the tables."""
        arrays = self.arrays
        tokens: Floats = forms.take(numbers, axis=0)
        for start in range(0, len(numbers), WINDOW):
            rows = tokens[start : start + WINDOW]
            for column in range(small.shape[1]):
                rows += arrays["table_small"].take(small[start : start + WINDOW, column], axis=0)
            rows *= _scale(rows)
        hidden = np.empty((len(numbers), len(arrays["bias_0"])), np.float32)
        for wide, start, stop, left, right in _blocks(tokens, DISTANCES[0]):
            _spread(wide, tokens[left:right], start - left, DISTANCES[0])
            np.matmul(wide, arrays["weight_0"], out=hidden[start:stop])
            hidden[start:stop] += arrays["bias_0"]
        return hidden


def _blocks(values: Floats, distance: int) -> Iterator[tuple[Floats, int, int, int, int]]:
    """Room to work in, first and last row of each block, and of what it sees."""
    count, width = values.shape
    room = np.empty((min(count, WINDOW), 3 * width), np.float32)
    for start in range(0, count, WINDOW):
        stop = min(count, start + WINDOW)
        yield (
            room[: stop - start],
            start,
            stop,
            max(0, start - distance),
            min(count, stop + distance),
        )


def _scale(values: Floats) -> Floats:
    """What brings the mean square of each row to one, as a column."""
    square = np.einsum("ij,ij->i", values, values) / np.float32(values.shape[1])
    scale: Floats = (1 / np.sqrt(square + np.float32(EPSILON)))[:, None]
    return scale


def _spread(wide: Floats, seen: Floats, first: int, distance: int) -> None:
    """Fill ``wide`` with rows of ``seen``, from ``first`` on, between those ``distance`` away."""
    count, width = len(wide), seen.shape[1]
    missing = min(count, distance - first)
    wide[:missing, :width] = 0
    wide[missing:, :width] = seen[: count - missing]
    wide[:, width : 2 * width] = seen[first : first + count]
    there = min(count, max(0, len(seen) - first - distance))
    wide[:there, 2 * width :] = seen[first + distance : first + distance + there]
    wide[there:, 2 * width :] = 0
