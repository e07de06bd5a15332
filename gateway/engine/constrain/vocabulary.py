"""The child's side: a model's vocabulary, and one answer held to a grammar. No state is shared.

Nothing here raises on any token or any text of a grammar, and everything fails closed: what cannot
be parsed, grows too complex or was fed a token that it did not allow is ``failed``, allows nothing
more, not even an end, and so ends the answer as one that was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.engine.constrain.envelope import Envelope, EnvelopeError, read, resolve, source
from gateway.engine.constrain.library import LLMatcher, LLTokenizer, limits
from gateway.engine.constrain.nesting import Nesting

_WORD_BITS: Final = 32


class _Tokens:
    """What ``LLTokenizer`` reads of a tokenizer, by these names."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(
        self,
        tokens: Sequence[bytes],
        special: Sequence[int],
        end: int,
        tokenize: Callable[[bytes], Sequence[int]],
    ) -> None:
        self.tokens = tokens
        self.special_token_ids = special
        self.eos_token_id = end
        self._tokenize = tokenize

    def __call__(self, text: str | bytes) -> list[int]:
        return list(self._tokenize(text.encode() if isinstance(text, str) else text))


class Vocabulary:
    """The tokens of one model, made once; building it costs about a second for 128k tokens.

    ``pieces[t]``: the bytes of token ``t``; of a control token its name, such as ``<|im_end|>``.
    ``control``: those that no text spells. ``ends``: those that end an answer; at least one.
    ``tokenize``: how the model itself cuts bytes (without control tokens), for ``forced``.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        *,
        control: Collection[int],
        ends: Collection[int],
        tokenize: Callable[[bytes], Sequence[int]],
    ) -> None:
        self.size = len(pieces)
        self.mask_bytes = -(-self.size // _WORD_BITS) * (_WORD_BITS // 8)
        self.pieces = tuple(pieces)
        self.ends = frozenset(ends)
        special = sorted({*control, *ends})
        self._names = {self.pieces[token]: token for token in special if self.pieces[token]}
        wrapped = _Tokens(self.pieces, special, min(self.ends), tokenize)
        self.native = LLTokenizer(wrapped, eos_token=sorted(self.ends))  # type: ignore[arg-type]

    def control(self, name: str) -> int | None:
        """The control token of this name, if the model has one."""
        return self._names.get(name.encode())

    def constraint(self, grammar: str) -> Constraint:
        """A new answer under ``grammar``, as ``Grammar.text`` came over the pipe.

        Takes 1 to 100 ms and leaves the interpreter's lock to others meanwhile: call it from a
        thread where other sequences run.
        """
        try:
            return Constraint(self, read(grammar))
        except EnvelopeError:
            return Constraint(self, None)


class Constraint:
    """One answer. Not safe for use from two threads at once.

    ``shown``: control tokens that are part of this answer's text, and the text they stand for.
    """

    def __init__(self, vocabulary: Vocabulary, envelope: Envelope | None) -> None:
        self._vocabulary = vocabulary
        lark, shown = ("", {}) if envelope is None else resolve(envelope, vocabulary.control)
        self.shown: Mapping[int, bytes] = shown
        self._nesting = Nesting(0 if envelope is None else envelope.depth)
        bounds = limits(large=envelope is not None and envelope.large)
        self._matcher = LLMatcher(vocabulary.native, source(lark), log_level=0, limits=bounds)
        self._failed = envelope is None or self._matcher.is_error()

    @property
    def failed(self) -> bool:
        """Whether the answer cannot go on: it MUST NOT be told as complete."""
        return self._failed

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return not self._failed and self._matcher.is_stopped()

    @property
    def may_end(self) -> bool:
        """Whether the answer is whole as it stands."""
        return not self._failed and self._matcher.is_accepting()

    def allows(self, token: int) -> bool:
        """Whether ``token`` may come next. Microseconds; the state stays as it was."""
        if self._failed or not 0 <= token < self._vocabulary.size:
            return False
        if token in self._vocabulary.ends:
            return self.may_end
        return not self.complete and self._matcher.validate_tokens([token]) == 1

    def mask(self) -> bytes:
        """Which tokens may come next: bit ``t % 8`` of byte ``t // 8``, ``mask_bytes`` of them.

        All zero when none may: the answer is over, and ``failed``. Where only one text can follow,
        only the model's own way of cutting it is in the mask.
        """
        nothing = bytes(self._vocabulary.mask_bytes)
        if self._failed:
            return nothing
        if self.complete:
            return _bits(self._vocabulary.ends, len(nothing))
        mask = self._matcher.compute_bitmask()[: len(nothing)]  # it may have a word more
        if self._matcher.is_error() or len(mask) != len(nothing) or not any(mask):
            self._failed = True
            return nothing
        return mask

    def accept(self, token: int) -> bool:
        """Take ``token`` as the next one; False, and ``failed``, where it was not allowed."""
        if not self.allows(token) or not self._matcher.consume_token(token):
            self._failed = True
        elif token not in self._vocabulary.ends:
            self._failed = not self._nesting.take(self._vocabulary.pieces[token])
        return not self._failed

    def forced(self) -> tuple[int, ...]:
        """The tokens that must follow, perhaps none. They are not accepted yet."""
        if self._failed or self._matcher.is_stopped():
            return ()
        return tuple(self._matcher.compute_ff_tokens())


def _bits(tokens: Collection[int], length: int) -> bytes:
    mask = bytearray(length)
    for token in tokens:
        mask[token // 8] |= 1 << token % 8
    return bytes(mask)
