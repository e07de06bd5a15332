"""From a request to tokens and a decoder: the child's desk, where nothing is evaluated yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from gateway.engine.native import Model

from gateway.engine import wire
from gateway.engine.batch import Job
from gateway.engine.constrain.vocabulary import Constraint, Vocabulary
from gateway.engine.decoders import Bounds, Decoder, Quoter, Say, Writer
from gateway.engine.extractive import Budget, Candidate, LabelForm, Options, chooser, quote
from gateway.engine.sentences import Reading, read
from gateway.engine.template import ChatTemplate, Piece, TemplateFailedError

_SEEDS: Final = 1 << 32


class UnfitError(Exception):
    """A request that cannot be answered. ``why`` is a constant of ``wire.Failed``."""

    def __init__(self, why: Literal["context", "template", "grammar", "bias", "native"]) -> None:
        super().__init__(why)
        self.why = why


class Desk:
    """Reads requests for one model.

    Raises:
        TemplateFailedError: the model's chat template does not compile, or a label is no token.
    """

    def __init__(self, model: Model, load: wire.Load) -> None:
        self._model = model
        self._ends = model.ends()
        self._vocabulary: Vocabulary | None = None  # made when an answer is first held to a form
        self._abstention, self._separator = load.abstention, load.separator
        self._form = LabelForm(*load.form) if load.form else None
        self._template = ChatTemplate(
            model.template, bos=model.special_text("bos"), eos=model.special_text("eos")
        )
        if self._form is not None:
            self._labels = [self._label(number) for number in range(self._form.labels + 1)]

    def _label(self, number: int) -> int:
        form = self._form
        assert form is not None  # noqa: S101 - only called with a form
        text = form.label.format(n=number) if number else form.abstain
        tokens = self._model.tokens(text)
        if len(tokens) != 1:
            raise TemplateFailedError  # a label must be one token, or the trie has no meaning
        return tokens[0]

    def job(self, ask: wire.Generate) -> Job:
        """Raises: UnfitError: it does not fit the context, or the model cannot be asked this."""
        return self._quoting(ask) if ask.extractive else self._writing(ask)

    def text(self, text: str) -> list[int]:
        """The tokens of a text that becomes a vector.

        Raises:
            UnfitError: there is none, or they are more than the context.
        """
        frame = self._model.tokens("", framed=True)
        tokens = [*frame[:1], *self._model.tokens(text), *frame[1:]]
        if not text or len(tokens) > self._model.context:
            raise UnfitError("context")
        return tokens

    # --- free --------------------------------------------------------------------------------

    def _writing(self, ask: wire.Generate) -> Job:
        pieces = self._pieces(ask)
        tokens = self._model.prompt(pieces)
        room = self._room(tokens)
        if ask.max_tokens is not None and ask.max_tokens > room:
            raise UnfitError("context")
        if any(not 0 <= token < self._model.words for token, _ in ask.bias):
            raise UnfitError("bias")
        bounds = Bounds(ask.max_tokens or room, ask.stop, ask.logprobs)
        first = _seed(ask.seed)
        held = [self._constraint(ask.grammar) for _ in range(ask.n)] if ask.grammar else []

        def decoder(index: int, say: Say) -> Decoder:
            sampler = self._model.sampler(ask, _seed(first + index))
            return Writer(self._model, sampler, bounds, say, held[index] if held else None)

        return self._job(ask, tokens, decoder, self._shared(ask, pieces, tokens))

    def _constraint(self, grammar: str) -> Constraint:
        """One answer under a grammar. Raises UnfitError: this vocabulary does not take it."""
        if self._vocabulary is None:
            pieces, control = self._model.vocabulary()
            self._vocabulary = Vocabulary(
                pieces, control=control, ends=self._ends, tokenize=self._model.cut_bytes
            )
        constraint = self._vocabulary.constraint(grammar)
        if constraint.failed:
            raise UnfitError("grammar")
        return constraint

    def _pieces(self, ask: wire.Generate) -> list[Piece]:
        if ask.raw:
            return [Piece(turn.content, ours=False) for turn in ask.turns]
        return self._render(ask.turns, ask.tools)

    def _shared(self, ask: wire.Generate, pieces: Sequence[Piece], tokens: Sequence[int]) -> int:
        """How many tokens the public turns at the beginning make.

        Up to the first piece that is not theirs; one token less, for the next may join it.
        """
        if not ask.shared or ask.raw:
            return 0
        public = {turn.content for turn in ask.turns[: ask.shared]}
        count = next(
            (i for i, piece in enumerate(pieces) if not piece.ours and piece.text not in public),
            len(pieces),
        )
        beginning = self._model.prompt(pieces[:count])
        same = next(
            (i for i, (a, b) in enumerate(zip(beginning, tokens, strict=False)) if a != b),
            min(len(beginning), len(tokens)),
        )
        return max(0, same - 1)

    # --- extractive --------------------------------------------------------------------------

    def _quoting(self, ask: wire.Generate) -> Job:
        reading = read([(turn.role, turn.content) for turn in ask.turns])
        tokens = self._model.prompt(self._render(self._turns(ask, reading)))
        budget = Budget(ask.max_tokens, self._room(tokens))
        options = self._options(reading)
        first = _seed(ask.seed)

        def decoder(index: int, say: Say) -> Decoder:
            choose = chooser(ask.temperature, ask.top_p, _seed(first + index))
            return Quoter(self._model, options, quote(options, choose, budget), ask.stop, say)

        return self._job(ask, tokens, decoder, 0)

    def _turns(self, ask: wire.Generate, reading: Reading) -> tuple[wire.Turn, ...]:
        if self._form is None:
            return ask.turns
        if len(reading.sentences) > self._form.labels:
            raise UnfitError("context")
        return (wire.Turn("user", self._form.prompt(reading)),)

    def _options(self, reading: Reading) -> Options:
        def candidate(text: str, label: int) -> Candidate:
            opening = tuple(self._model.tokens(text))
            if self._form is not None:
                return Candidate(text, (label,), (label,), len(opening))
            later = tuple(self._model.tokens(self._separator + text))
            return Candidate(text, opening, later, len(opening))

        labels = self._labels if self._form else [0] * (len(reading.sentences) + 1)
        return Options(
            [candidate(text, labels[place]) for place, text in enumerate(reading.sentences, 1)],
            candidate(self._abstention, labels[0]),
            self._ends,
            self._separator,
        )

    # --- common ------------------------------------------------------------------------------

    def _job(
        self,
        ask: wire.Generate,
        tokens: Sequence[int],
        decoder: Callable[[int, Say], Decoder],
        shared: int,
    ) -> Job:
        return Job(
            id=ask.id,
            tokens=tokens,
            decoder=decoder,
            n=ask.n,
            shared=shared,
            # What nobody may reuse is still shared by the answers of one request.
            scope=ask.scope or f"#{ask.id}",
            adapter=ask.adapter,
        )

    def _room(self, tokens: Sequence[int]) -> int:
        """How many tokens an answer may have. Raises UnfitError: not one, or no prompt."""
        if not tokens:
            raise UnfitError("template")
        room = self._model.context - len(tokens)
        if room < 1:
            raise UnfitError("context")
        return room

    def _render(
        self, turns: tuple[wire.Turn, ...], tools: Sequence[wire.ToolText] = ()
    ) -> list[Piece]:
        try:
            return self._template.render(turns, f"c{os.urandom(12).hex()}", tools)
        except TemplateFailedError:
            raise UnfitError("template") from None


def _seed(given: int | None) -> int:
    """A seed in llama.cpp's range: 32 bits, of which the last number means "draw one"."""
    return (int.from_bytes(os.urandom(4)) if given is None else given) % (_SEEDS - 1)
