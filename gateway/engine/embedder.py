"""Vectors of texts, from a second context of a loaded model. Child only."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Final

import llama_cpp.llama_cpp as llama

from gateway.engine.batch import Row
from gateway.engine.native import Model
from gateway.engine.rows import NativeError, Rows
from gateway.engine.tokenizing import UnfitError

_LIMIT: Final = 2048
"""Tokens of a text, at most: they are evaluated in one go."""


class Embedder:
    """A second context of a loaded model, for vectors of texts. ``limit`` is in tokens of one text.

    Mean pooling where the model's file names none.
    """

    def __init__(self, model: Model, threads: int) -> None:
        self._model = model
        self.limit = min(model.context, _LIMIT)
        wanted = llama.llama_context_default_params()
        wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = self.limit
        wanted.n_seq_max = 1
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.embeddings = wanted.no_perf = True
        self._context = model.open(wanted)
        if llama.llama_pooling_type(self._context) == llama.LLAMA_POOLING_TYPE_NONE:
            llama.llama_free(self._context)
            wanted.pooling_type = llama.LLAMA_POOLING_TYPE_MEAN
            self._context = model.open(wanted)
        self._rows = Rows(self.limit)

    def embed(self, tokens: Sequence[int]) -> array.array[float]:
        """Return the vector of a text, of length 1 (L2).

        Raises:
            UnfitError: more than ``limit`` tokens.
            NativeError: llama.cpp refused, or the vector has no length.
        """
        if len(tokens) > self.limit:
            raise UnfitError("context")
        if memory := llama.llama_get_memory(self._context):
            llama.llama_memory_clear(memory, True)
        rows = [Row(token, place, 0, scored=True) for place, token in enumerate(tokens)]
        if llama.llama_decode(self._context, self._rows.fill(rows)) != 0:
            raise NativeError
        found = llama.llama_get_embeddings_seq(self._context, 0)
        if not found:
            raise NativeError
        vector = found[: self._model.width]
        norm = math.sqrt(math.fsum(x * x for x in vector))
        if not (math.isfinite(norm) and norm > 0):
            raise NativeError
        return array.array("f", (x / norm for x in vector))
