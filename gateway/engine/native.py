"""llama.cpp through its low-level interface: one model, one context, many sequences. Child only.

Importing this module loads the native library; nothing of it is imported by the gateway itself.

The context is cut into *streams*, one for each sequence, each with room of its own for ``context``
tokens. In one buffer for all, every token would attend over the cells of all sequences; measured on
eight of 1,000 tokens that makes a step several times slower (docs/adr/0014).
"""

from __future__ import annotations

import array
import ctypes
import math
import re
from collections.abc import Callable, Iterator, Sequence

import llama_cpp.llama_cpp as llama

from gateway.engine import wire
from gateway.engine.batch import BATCH, Row
from gateway.engine.extractive import Scores
from gateway.engine.template import Piece

_EMBEDDED = 2048
"""Tokens of a text that becomes a vector, at most: they are evaluated in one go."""


class NativeError(Exception):
    """llama.cpp refused. It says why only to its log, which is off."""


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _discard(_level: int, _text: bytes, _data: object) -> None:
    """Native logs can hold text of prompts: none of them is kept."""


def silence() -> None:
    llama.llama_log_set(_discard, ctypes.c_void_p(0))


def open_stream(descriptor: int) -> int:
    """Return a C FILE pointer for an open descriptor. MUST be called before the wall stands."""
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    pointer = libc.fdopen(descriptor, b"rb")
    if not pointer:
        raise NativeError
    return int(pointer)


class Model:
    """A loaded model. ``context`` is in tokens of one sequence, prompt and answer together."""

    def __init__(
        self,
        files: Sequence[int],
        *,
        context: int,
        streams: int,
        threads: int,
        scales: Sequence[float] = (),
    ) -> None:
        """``files``: the model's, then those of its adapters, whose ``scales`` these are."""
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        self._model = llama.llama_model_load_from_file_ptr(ctypes.c_void_p(files[0]), parameters)
        if not self._model:
            raise NativeError
        self._vocab = llama.llama_model_get_vocab(self._model)
        self.words = llama.llama_vocab_n_tokens(self._vocab)
        self.context = min(context, llama.llama_model_n_ctx_train(self._model))
        self._adapters = [
            (self._load_adapter(file), scale) for file, scale in zip(files[1:], scales, strict=True)
        ]
        self._adapter = -1
        wanted = llama.llama_context_default_params()
        wanted.n_ctx, wanted.n_seq_max = self.context * streams, streams
        wanted.n_batch = wanted.n_ubatch = BATCH
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.kv_unified = False
        wanted.no_perf = True
        self._context = self.open(wanted)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = _Batch(BATCH)
        self._pieces: dict[int, bytes] = {}

    @property
    def width(self) -> int:
        """How many numbers a vector of a text has."""
        return int(llama.llama_model_n_embd_out(self._model))

    def open(self, wanted: llama.llama_context_params) -> llama.llama_context_p:
        """Return a new context of this model. Raises NativeError: it does not fit the memory."""
        context = llama.llama_init_from_model(self._model, wanted)
        if not context:
            raise NativeError
        return context

    def _load_adapter(self, file: int) -> llama.llama_adapter_lora_p:
        adapter = llama.llama_adapter_lora_init_from_file_ptr(self._model, ctypes.c_void_p(file))
        if not adapter:
            raise NativeError
        return adapter

    # --- vocabulary ------------------------------------------------------------------------

    @property
    def template(self) -> str:
        raw = llama.llama_model_chat_template(self._model, None)
        return raw.decode(errors="replace") if raw else ""

    def special_text(self, which: str) -> str:
        """Return the text of the ``bos`` or ``eos`` token, "" where the model has none."""
        find = llama.llama_vocab_bos if which == "bos" else llama.llama_vocab_eos
        token = find(self._vocab)
        return self._text(token) if token >= 0 else ""

    def _text(self, token: int) -> str:
        raw = llama.llama_vocab_get_text(self._vocab, token)
        return raw.decode(errors="replace") if raw else ""

    def ends(self) -> tuple[int, ...]:
        """Return the tokens that end an answer, by the model's metadata."""
        is_end = llama.llama_vocab_is_eog
        return tuple(t for t in range(self.words) if is_end(self._vocab, t))

    def is_end(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Tokenize; control tokens are parsed only where ``special``."""
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        room = (llama.llama_token * size)()
        count = llama.llama_tokenize(self._vocab, raw, len(raw), room, size, False, special)
        if count < 0:
            raise NativeError
        return list(room[:count])

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Tokenize a rendered template: control tokens come from its own text only."""
        ours = [self.tokens(p.text, special=True) if p.ours else [] for p in pieces]
        guard = self._forgeable({token for tokens in ours for token in tokens})
        result: list[int] = []
        bos = llama.llama_vocab_bos(self._vocab)
        for piece, tokens in zip(pieces, ours, strict=True):
            result += tokens
            if not piece.ours:
                for part in guard(piece.text):
                    result += self.tokens(part)
        if llama.llama_vocab_get_add_bos(self._vocab) and result[:1] != [bos]:
            result.insert(0, bos)
        return result

    def _forgeable(self, used: set[int]) -> Callable[[str], Iterator[str]]:
        """Return how to cut texts so that they cannot spell the template's own markers.

        Some files mark their control tokens USER_DEFINED, which llama.cpp matches in any text.
        """
        flag = llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        texts = [
            self._text(token)
            for token in used
            if llama.llama_vocab_get_attr(self._vocab, token) & flag
        ]
        pattern = re.compile(
            "|".join(re.escape(text) for text in texts if len(text) > 1) or r"(?!)"
        )

        def cut(text: str) -> Iterator[str]:
            start = 0
            for match in pattern.finditer(text):
                yield text[start : match.start() + 1]
                start = match.start() + 1
            yield text[start:]

        return cut

    def piece(self, token: int) -> bytes:
        """Return the bytes a token stands for; control tokens stand for none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token, special=False)
        return known

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        size = 256
        while True:
            room = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, room, size, 0, special)
            if count >= 0:
                return room.raw[:count]
            size = -count

    def vocabulary(self) -> list[bytes | None]:
        """Return the bytes of every token in the order of their ids; None for control tokens."""
        control = llama.LLAMA_TOKEN_ATTR_CONTROL
        return [
            None
            if llama.llama_vocab_get_attr(self._vocab, token) & control
            else self._read_piece(token, special=False)
            for token in range(self.words)
        ]

    # --- sequences ---------------------------------------------------------------------------

    def evaluate(self, rows: Sequence[Row], adapter: int) -> None:
        """Evaluate tokens of any sequences; those of one sequence in the order of positions.

        ``adapter`` counts from 0, -1 is none. The logits of a scored row are read with its place in
        ``rows``, until the next call.

        Raises:
            NativeError: llama.cpp refused, or its backend failed.
        """
        if adapter != self._adapter:
            self._use(adapter)
        if llama.llama_decode(self._context, self._batch.fill(rows)) != 0:
            raise NativeError

    def _use(self, adapter: int) -> None:
        chosen = self._adapters[adapter : adapter + 1] if adapter >= 0 else []
        handles = (llama.llama_adapter_lora_p_ctypes * len(chosen))(*[a for a, _ in chosen])
        scales = (ctypes.c_float * len(chosen))(*(scale for _, scale in chosen))
        if llama.llama_set_adapters_lora(self._context, handles, len(chosen), scales) != 0:
            raise NativeError
        self._adapter = adapter

    def copy(self, source: int, target: int, count: int) -> bool:
        """Make the first ``count`` tokens of one stream those of another, and all it holds.

        As ``cut`` where that is not possible.
        """
        llama.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        return self.cut(target, count)

    def cut(self, stream: int, count: int) -> bool:
        """Forget all of a stream but its first ``count`` tokens.

        Where the model cannot forget a part (recurrent ones), all is forgotten: False.
        """
        if count and llama.llama_memory_seq_rm(self._memory, stream, count, -1):
            return True
        llama.llama_memory_seq_rm(self._memory, stream, -1, -1)
        return not count

    def wipe(self) -> None:
        """Forget everything, the bytes included."""
        llama.llama_memory_clear(self._memory, True)

    # --- logits ------------------------------------------------------------------------------

    def scores(self, row: int) -> Scores:
        """Return the logits behind a scored row; valid until the next ``evaluate``."""
        logits = llama.llama_get_logits_ith(self._context, row)
        return lambda token: float(logits[token])

    def probabilities(self, row: int) -> array.array[float]:
        """Return the natural logarithm of how likely each token of the vocabulary is.

        Pure Python, about 0.1 ms for 1,000 tokens: numpy would bring threads into the child.
        """
        address = ctypes.addressof(llama.llama_get_logits_ith(self._context, row).contents)
        logits = array.array("f", ctypes.string_at(address, self.words * 4))
        best = max(logits)
        total = math.log(math.fsum(math.exp(logit - best) for logit in logits)) + best
        return array.array("f", (logit - total for logit in logits))

    def forbid(self, row: int, token: int) -> None:
        """Make a token impossible at a scored row."""
        llama.llama_get_logits_ith(self._context, row)[token] = -math.inf

    def sampler(self, ask: wire.Generate, seed: int) -> Sampler:
        return Sampler(self._context, self.words, ask, seed, self.context)


class Embedder:
    """A second context of a loaded model, for vectors of texts. ``limit`` is in tokens of one text.

    Mean pooling where the model's file names none.
    """

    def __init__(self, model: Model, threads: int) -> None:
        self._model = model
        self.limit = min(model.context, _EMBEDDED)
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
        self._batch = _Batch(self.limit)

    def embed(self, tokens: Sequence[int]) -> array.array[float]:
        """Return the vector of a text, of length 1 (L2).

        Raises:
            NativeError: llama.cpp refused, or the vector has no length.
        """
        if memory := llama.llama_get_memory(self._context):
            llama.llama_memory_clear(memory, True)
        rows = [Row(token, place, 0, scored=True) for place, token in enumerate(tokens)]
        if llama.llama_decode(self._context, self._batch.fill(rows)) != 0:
            raise NativeError
        found = llama.llama_get_embeddings_seq(self._context, 0)
        if not found:
            raise NativeError
        vector = found[: self._model.width]
        norm = math.sqrt(math.fsum(x * x for x in vector))
        if not (math.isfinite(norm) and norm > 0):
            raise NativeError
        return array.array("f", (x / norm for x in vector))


class _Batch:
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


class Sampler:
    """Draws tokens of one answer from logits. Its random numbers are its own.

    So the same seed draws the same tokens from the same logits, whatever else is in the batch.
    """

    def __init__(
        self,
        context: llama.llama_context_p,
        words: int,
        ask: wire.Generate,
        seed: int,
        remembered: int,
    ) -> None:
        """``remembered``: tokens of the answer that penalties look at."""
        self._context = context
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())

        def add(sampler: llama.llama_sampler_p) -> None:
            llama.llama_sampler_chain_add(self._chain, sampler)

        if ask.bias:
            pairs = [llama.llama_logit_bias(token, bias) for token, bias in ask.bias]
            room = (llama.llama_logit_bias * len(pairs))(*pairs)
            add(llama.llama_sampler_init_logit_bias(words, len(pairs), room))
        penalised = bool(ask.frequency_penalty or ask.presence_penalty)
        self._copies = penalised and bool(ask.grammar)
        self._before: llama.llama_sampler_p | None = None
        if penalised:
            add(
                llama.llama_sampler_init_penalties(
                    words, remembered, 1.0, ask.frequency_penalty, ask.presence_penalty
                )
            )
        if ask.temperature <= 0:
            add(llama.llama_sampler_init_greedy())
            return
        add(llama.llama_sampler_init_temp(ask.temperature))
        add(llama.llama_sampler_init_top_p(ask.top_p, 1))
        add(llama.llama_sampler_init_dist(seed))

    def draw(self, row: int) -> int:
        """Draw from the logits of a scored row."""
        if self._copies:
            self._free(self._before)
            self._before = llama.llama_sampler_clone(self._chain)
        return int(llama.llama_sampler_sample(self._chain, self._context, row))

    def retract(self) -> None:
        """Take back the last draw: penalties do not count it."""
        if self._before is not None:
            self._free(self._chain)
            self._chain, self._before = self._before, None

    def draw_among(self, row: int, allowed: Sequence[int]) -> int:
        """Draw from the logits of a scored row as if there were no other tokens than ``allowed``."""
        logits = llama.llama_get_logits_ith(self._context, row)
        data = (llama.llama_token_data * len(allowed))(
            *(llama.llama_token_data(token, logits[token], 0.0) for token in allowed)
        )
        candidates = llama.llama_token_data_array(data, len(allowed), -1, False)
        llama.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        token = int(candidates.data[candidates.selected].id)
        llama.llama_sampler_accept(self._chain, token)
        return token

    @staticmethod
    def _free(chain: llama.llama_sampler_p | None) -> None:
        if chain is not None:
            llama.llama_sampler_free(chain)

    def __del__(self) -> None:
        self._free(self._before)
        self._free(self._chain)
