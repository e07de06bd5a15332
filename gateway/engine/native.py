"""llama.cpp through its low-level interface: one model, one context, one sequence. Child only.

Importing this module loads the native library; nothing of it is imported by the gateway itself.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence

import llama_cpp.llama_cpp as llama

from gateway.engine.extractive import Scores
from gateway.engine.template import Piece

BATCH = 256
"""Tokens of a prompt that are read at once; between two batches the child listens."""


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
    """A loaded model. ``context`` is in tokens, prompt and answer together."""

    def __init__(self, stream: int, *, context: int, threads: int) -> None:
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        self._model = llama.llama_model_load_from_file_ptr(ctypes.c_void_p(stream), parameters)
        if not self._model:
            raise NativeError
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._words = llama.llama_vocab_n_tokens(self._vocab)
        self.context = min(context, llama.llama_model_n_ctx_train(self._model))
        wanted = llama.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = self.context, BATCH, BATCH
        wanted.n_seq_max = 1
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.no_perf = True
        self._context = llama.llama_init_from_model(self._model, wanted)
        if not self._context:
            raise NativeError

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
        return tuple(t for t in range(self._words) if is_end(self._vocab, t))

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
        size = 256
        while True:
            room = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, room, size, 0, False)
            if count >= 0:
                return room.raw[:count]
            size = -count

    def is_end(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    # --- evaluation ------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the last sequence, its data included."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def feed(self, tokens: Sequence[int], between: Callable[[], None]) -> None:
        """Evaluate tokens behind those fed before; ``between`` runs after each batch."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            room = (llama.llama_token * len(part))(*part)
            batch = llama.llama_batch_get_one(room, len(part))
            if llama.llama_decode(self._context, batch) != 0:
                raise NativeError
            between()

    def scores(self) -> Scores:
        """Return the logits behind the last token; valid until the next ``feed``."""
        logits = llama.llama_get_logits_ith(self._context, -1)
        return lambda token: float(logits[token])

    def sampler(self, *, temperature: float, top_p: float, seed: int) -> Callable[[], int]:
        """Return a draw from the logits: the likeliest for temperature 0, else tempered nucleus."""
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        if temperature <= 0:
            llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_greedy())
        else:
            llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(temperature))
            llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_p(top_p, 1))
            llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(seed))
        return _Sampler(chain, self._context)


class _Sampler:
    def __init__(self, chain: llama.llama_sampler_p, context: llama.llama_context_p) -> None:
        self._chain = chain
        self._context = context

    def __call__(self) -> int:
        return int(llama.llama_sampler_sample(self._chain, self._context, -1))

    def __del__(self) -> None:
        llama.llama_sampler_free(self._chain)
