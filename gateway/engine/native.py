"""llama.cpp through its low-level interface: one model, one context, many sequences. Child only.

Importing this module loads the native library; nothing of it is imported by the gateway itself.

The context is cut into *streams*, one for each sequence, each with room of its own for ``context``
tokens. In one buffer for all, every token would attend over the cells of all sequences; measured on
eight of 1,000 tokens that nearly halves the speed (docs/adr/0014).
"""

from __future__ import annotations

import array
import ctypes
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import llama_cpp.llama_cpp as llama

from gateway.engine import wire
from gateway.engine.batch import BATCH, Row
from gateway.engine.extractive import Scores
from gateway.engine.rows import NativeError, Rows
from gateway.engine.sampler import Sampler
from gateway.engine.template import Piece

_PART: Final = 2000  # bytes
_ABANDONED: Final = 2  # what llama_decode returns
_MIDDLE: Final = range(0x80, 0xC0)  # bytes that begin no character of UTF-8


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

    def __init__(self, files: Sequence[int], load: wire.Load) -> None:
        """``files``: the model's, then those of its adapters.

        A model that does not write has no sequences: it is there for vectors (``embedder``).
        """
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        self._model = llama.llama_model_load_from_file_ptr(ctypes.c_void_p(files[0]), parameters)
        if not self._model:
            raise NativeError
        self._vocab = llama.llama_model_get_vocab(self._model)
        self.words: int = llama.llama_vocab_n_tokens(self._vocab)
        self.context: int = min(load.context, llama.llama_model_n_ctx_train(self._model))
        self._adapters = [
            (self._load_adapter(file), scale)
            for file, scale in zip(files[1:], load.adapters, strict=True)
        ]
        self._adapter = -1
        wanted = llama.llama_context_default_params()
        wanted.n_ctx, wanted.n_seq_max = self.context * load.streams, load.streams
        wanted.n_batch = wanted.n_ubatch = BATCH
        wanted.n_outputs_max = load.streams  # one of each sequence is scored at most
        wanted.n_threads = wanted.n_threads_batch = load.threads
        wanted.kv_unified = False
        # On processors flash attention reads prompts a little quicker, and writes behind 1,000
        # tokens at less than half the speed (docs/adr/0014).
        wanted.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        wanted.no_perf = True
        self.writes = load.writes
        self._stop = (ctypes.c_byte * 2)()
        if load.writes:
            self._context = self.open(wanted)
            self._memory = llama.llama_get_memory(self._context)
            # Asked before each of the hundreds of operations of a step. A function of Python's
            # would take the interpreter's lock each time; strlen() is one of C's that tells of
            # a byte whether it is set: the length of the string "" is 0, that of "\1" is 1.
            self._asks = ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)
            llama.llama_set_abort_callback(self._context, self._asks, self._stop)
        self._rows = Rows(BATCH)
        self._pieces: dict[int, bytes] = {}

    @property
    def width(self) -> int:
        """How many numbers a vector of a text has."""
        return int(llama.llama_model_n_embd_out(self._model))

    def open(self, wanted: llama.llama_context_params) -> llama.llama_context_p:
        """Return a new context of this model. Raises NativeError: it does not fit the memory."""
        context: llama.llama_context_p = llama.llama_init_from_model(self._model, wanted)
        if not context:
            raise NativeError
        return context

    def _load_adapter(self, file: int) -> llama.llama_adapter_lora_p:
        stream = ctypes.c_void_p(file)
        adapter: llama.llama_adapter_lora_p = llama.llama_adapter_lora_init_from_file_ptr(
            self._model, stream
        )
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

    def tokens(self, text: str, *, special: bool = False, framed: bool = False) -> list[int]:
        """Tokenize; control tokens are parsed only where ``special``.

        ``framed``: between the tokens that the model wants around a text.
        """
        raw = text.encode("utf-8", "replace")
        return self._cut(raw, special, framed) if special or framed else self.cut_bytes(raw)

    def cut_bytes(self, raw: bytes) -> list[int]:
        """Tokenize bytes, which need not be whole characters, of any length, in parts.

        llama.cpp splits words with recursive regular expressions: a run of some ten thousand
        letters overflows the stack, and the process is gone.
        """
        return [token for part in _parts(raw) for token in self._cut(part, False, False)]

    def _cut(self, raw: bytes, special: bool, framed: bool) -> list[int]:
        size = len(raw) + 8
        while True:
            room = (llama.llama_token * size)()
            count = llama.llama_tokenize(self._vocab, raw, len(raw), room, size, framed, special)
            if count >= 0:
                return list(room[:count])
            if -count <= size:  # no room was not what it lacked
                raise NativeError
            size = -count

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

    def vocabulary(self) -> tuple[list[bytes], set[int]]:
        """Return the bytes of every token by its id, of control tokens their names; and those."""
        flag = llama.LLAMA_TOKEN_ATTR_CONTROL
        every = range(self.words)
        control = {t for t in every if llama.llama_vocab_get_attr(self._vocab, t) & flag}
        return [self._read_piece(token, special=token in control) for token in every], control

    # --- sequences ---------------------------------------------------------------------------

    def evaluate(self, rows: Sequence[Row], adapter: int) -> bool:
        """Evaluate tokens of any sequences; those of one sequence in the order of positions.

        ``adapter`` counts from 0, -1 is none. The logits of a scored row are read with its place in
        ``rows``, until the next call. False: it was abandoned, and some of it is in the streams.

        Raises:
            NativeError: llama.cpp refused, or its backend failed.
        """
        if adapter != self._adapter:
            self._use(adapter)
        self._stop[0] = 0
        status: int = llama.llama_decode(self._context, self._rows.fill(rows))
        if status not in (0, _ABANDONED):
            raise NativeError
        return status == 0

    def abandon(self) -> None:
        """End the ``evaluate`` that another thread is in, if any, before its next operation."""
        self._stop[0] = 1

    def _use(self, adapter: int) -> None:
        chosen = self._adapters[adapter : adapter + 1] if adapter >= 0 else []
        handles = (llama.llama_adapter_lora_p_ctypes * len(chosen))()
        for place, (adapter_handle, _) in enumerate(chosen):
            handles[place] = adapter_handle  # type: ignore[call-overload]
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

    def logits(self, row: int) -> tuple[array.array[float], float]:
        """Return the logits of the vocabulary, and what to take from one for its log-probability.

        Pure Python, some milliseconds for 32,000 tokens: numpy would bring threads into the child.
        """
        address = ctypes.addressof(llama.llama_get_logits_ith(self._context, row).contents)
        found = array.array("f", ctypes.string_at(address, self.words * 4))
        best = max(found)
        return found, math.log(math.fsum([math.exp(logit - best) for logit in found])) + best

    def keep_only(self, row: int, mask: bytes) -> None:
        """Make every token impossible at a scored row whose bit is not set."""
        found = llama.llama_get_logits_ith(self._context, row)
        address = ctypes.addressof(found.contents)
        logits = array.array("f", ctypes.string_at(address, self.words * 4))
        bits = bin(int.from_bytes(mask, "little"))[:1:-1].ljust(self.words, "0")
        kept = array.array(
            "f", [x if bit == "1" else -math.inf for x, bit in zip(logits, bits, strict=False)]
        )
        ctypes.memmove(address, kept.tobytes(), self.words * 4)

    def forbid(self, row: int, token: int) -> None:
        """Make a token impossible at a scored row."""
        llama.llama_get_logits_ith(self._context, row)[token] = -math.inf

    def sampler(self, ask: wire.Generate, seed: int) -> Sampler:
        return Sampler(self._context, self.words, ask, seed, self.context)


def _parts(raw: bytes) -> Iterator[bytes]:
    """Cut before a space where there is one, so that words and their tokens stay what they are.

    Elsewhere never inside a character.
    """
    start = 0
    while len(raw) - start > _PART:
        end = raw.rfind(b" ", start + 1, start + _PART)
        if end < 0:
            end = start + _PART
            while end > start + 1 and raw[end] in _MIDDLE:
                end -= 1
        yield raw[start:end]
        start = end
    yield raw[start:]
