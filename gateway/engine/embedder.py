"""Vectors of texts, from a second context of a loaded model. Child only."""

from __future__ import annotations

import array
import math
from collections.abc import Generator, Sequence
from typing import Final

import llama_cpp.llama_cpp as llama

from gateway.engine.batch import EMBEDDED, Row
from gateway.engine.native import Model
from gateway.engine.rows import NativeError, Rows
from gateway.engine.tokenizing import UnfitError

_AT_ONCE: Final = 32


class Embedder:
    """A second context of a loaded model, for vectors of texts. ``limit`` is in tokens of one text.

    A file that names how vectors are pooled is read in one go, as encoders must be. Of all others
    the mean over the tokens is taken here, a few tokens at a time: a long text holds nobody up.
    """

    def __init__(self, model: Model, threads: int) -> None:
        self._model = model
        self.limit = min(model.context, EMBEDDED)
        wanted = llama.llama_context_default_params()
        wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = self.limit
        wanted.n_seq_max = 1
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.embeddings = wanted.no_perf = True
        if model.writes:
            wanted.pooling_type = llama.LLAMA_POOLING_TYPE_NONE
            wanted.n_batch = wanted.n_ubatch = min(self.limit, _AT_ONCE)
        self._context = model.open(wanted)
        self._rows = Rows(int(wanted.n_batch))

    def embed(self, tokens: Sequence[int]) -> Generator[None, None, array.array[float]]:
        """Return the vector of a text, of length 1 (L2); one step is a few tokens.

        Raises:
            UnfitError: more than ``limit`` tokens.
            NativeError: llama.cpp refused, or the vector has no length.
        """
        if len(tokens) > self.limit:
            raise UnfitError("context")
        if memory := llama.llama_get_memory(self._context):
            llama.llama_memory_clear(memory, True)
        if not self._model.writes:
            self._evaluate(tokens, 0)
            found = llama.llama_get_embeddings_seq(self._context, 0)
            if not found:
                raise NativeError
            return _of_length_one(found[: self._model.width])
        total = [0.0] * self._model.width
        for start in range(0, len(tokens), _AT_ONCE):
            part = tokens[start : start + _AT_ONCE]
            self._evaluate(part, start)
            for place in range(len(part)):
                one = llama.llama_get_embeddings_ith(self._context, place)[: self._model.width]
                total = [a + b for a, b in zip(total, one, strict=True)]
            yield
        return _of_length_one(total)

    def _evaluate(self, tokens: Sequence[int], start: int) -> None:
        rows = [Row(token, start + place, 0, scored=True) for place, token in enumerate(tokens)]
        if llama.llama_decode(self._context, self._rows.fill(rows)) != 0:
            raise NativeError


def _of_length_one(vector: Sequence[float]) -> array.array[float]:
    norm = math.sqrt(math.fsum(x * x for x in vector))
    if not (math.isfinite(norm) and norm > 0):
        raise NativeError
    return array.array("f", (x / norm for x in vector))
