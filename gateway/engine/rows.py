"""The batch that llama.cpp evaluates. Child only."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama

from gateway.engine.batch import Row


class NativeError(Exception):
    """llama.cpp refused. It says why only to its log, which is off."""


class Rows:
    """The arrays of one llama_batch, filled anew for every step and never reallocated."""

    def __init__(self, size: int) -> None:
        self._tokens = (llama.llama_token * size)()
        self._positions = (llama.llama_pos * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        self._streams = (llama.llama_seq_id * size)()
        width = ctypes.sizeof(llama.llama_seq_id)
        pointer = ctypes.POINTER(llama.llama_seq_id)
        start = ctypes.addressof(self._streams)
        self._lists = (pointer * size)(
            *(ctypes.cast(start + place * width, pointer) for place in range(size))
        )
        self._scored = (ctypes.c_int8 * size)()

    def fill(self, rows: Sequence[Row]) -> llama.llama_batch:
        count = len(rows)
        self._tokens[:count] = [row.token for row in rows]
        self._positions[:count] = [row.position for row in rows]
        self._streams[:count] = [row.stream for row in rows]
        self._scored[:count] = [row.scored for row in rows]
        return llama.llama_batch(
            n_tokens=count,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._lists,
            logits=self._scored,
        )
