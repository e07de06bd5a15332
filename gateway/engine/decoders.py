"""How an answer is made of logits: written freely (perhaps held to a grammar), or quoted.

A decoder is asked once the scores it wants are there; it says what it can and answers with the
tokens to be evaluated next. None: the answer is over, and ``finish`` tells why.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.engine import wire
from gateway.engine.answer import AnswerText
from gateway.engine.extractive import ABSTAINED, Feed, Options, Scores, Walk

if TYPE_CHECKING:
    from gateway.engine.constrain.vocabulary import Constraint
    from gateway.engine.native import Model
    from gateway.engine.sampler import Sampler

Say = Callable[[str, tuple[wire.Logprob, ...]], None]
_FEW: Final = 256
"""Tokens that are drawn among rather than tried one after the other."""
_TRIES: Final = 4


class Decoder(Protocol):
    """One answer.

    ``cost``: its tokens so far, as its user counts them. ``first``: what follows the prompt before
    anything is decided; None: there is nothing to decide.
    """

    finish: wire.Finish
    cost: int
    first: Sequence[int] | None

    def decide(self, row: int) -> Sequence[int] | None:
        """Use the logits behind the last token evaluated; return the tokens to evaluate next."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """``tokens``: how long the answer may be. ``told``: alternatives told of each token, or -1."""

    tokens: int
    stop: Sequence[str]
    told: int


class Writer:
    """A free answer."""

    def __init__(
        self,
        model: Model,
        sampler: Sampler,
        bounds: Bounds,
        say: Say,
        constraint: Constraint | None = None,
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._bounds = bounds
        self._say = say
        self._constraint = constraint
        self._text = AnswerText(bounds.stop)
        self._told: list[wire.Logprob] = []
        self.finish: wire.Finish = "length"
        self.cost = 0
        self.first: Sequence[int] | None = ()

    def decide(self, row: int) -> Sequence[int] | None:
        table = self._model.logits(row) if self._bounds.told >= 0 else None
        token = self._sampler.draw(row) if self._constraint is None else self._held(row)
        if token is None or self._model.is_end(token):
            self._end("length" if token is None else "stop")
            return None
        self.cost += 1
        piece = self._piece(token)
        if table is not None:
            self._told.append(self._tell(token, *table))
        self._utter(self._text.feed(piece))
        if self._text.stopped:
            self.finish = "stop"
            return None
        if self._constraint is not None and self._constraint.complete:
            self._end("stop")
            return None
        if self.cost >= self._bounds.tokens:
            self._end("length")
            return None
        return (token,)

    def _piece(self, token: int) -> bytes:
        shown = None if self._constraint is None else self._constraint.shown.get(token)
        return self._model.piece(token) if shown is None else shown

    def _held(self, row: int) -> int | None:
        """Draw a token that the grammar allows; None where there is none: the answer is cut off.

        Asking about one token is cheap, about all of them is not: so the first is drawn freely.
        Where many are allowed, one that is rejected becomes impossible and another is drawn: what
        comes out is as likely as among the allowed alone.
        """
        constraint = self._constraint
        assert constraint is not None  # noqa: S101 - the caller has looked
        token = self._sampler.draw(row)
        if not constraint.allows(token):
            mask = constraint.mask()
            count = int.from_bytes(mask).bit_count()
            if not count:
                return None
            for _ in range(_TRIES if count > _FEW else 0):
                self._sampler.retract()
                self._model.forbid(row, token)
                token = self._sampler.draw(row)
                if mask[token // 8] >> token % 8 & 1:
                    break
            else:
                self._sampler.retract()
                if count > _FEW:
                    self._model.keep_only(row, mask)
                    token = self._sampler.draw(row)
                else:
                    token = self._sampler.draw_among(row, list(_bits(mask)))
        return token if constraint.accept(token) else None

    def _end(self, finish: wire.Finish) -> None:
        self._utter(self._text.close())
        self.finish = "stop" if self._text.stopped else finish

    def _utter(self, text: str) -> None:
        if text:
            self._say(text, tuple(self._told))
            self._told.clear()

    def _tell(self, token: int, logits: Sequence[float], total: float) -> wire.Logprob:
        best = heapq.nlargest(self._bounds.told, range(len(logits)), key=logits.__getitem__)
        top = tuple((self._piece(one), logits[one] - total) for one in best)
        return wire.Logprob(self._piece(token), logits[token] - total, top)


class Quoter:
    """An answer of whole sentences that stand in the prompt.

    One that would complete a stop string is not begun.
    """

    def __init__(
        self, model: Model, options: Options, walk: Walk, stop: Sequence[str], say: Say
    ) -> None:
        self._model = model
        self._options = options
        self._stop = stop
        self._say = say
        self._said = ""
        self._walk = walk
        self.finish: wire.Finish = "stop"
        self.cost = 0
        self.first = self._go_on(None)

    def decide(self, row: int) -> Sequence[int] | None:
        return self._go_on(self._model.scores(row))

    def _go_on(self, scores: Scores | None) -> Sequence[int] | None:
        try:
            step = next(self._walk) if scores is None else self._walk.send(scores)
            while not isinstance(step, Feed):
                if not self._utter(step):
                    return None
                step = next(self._walk)
        except StopIteration as end:
            self.finish = end.value
            return None
        return step.tokens

    def _utter(self, place: int) -> bool:
        chosen = self._options.abstention if place == ABSTAINED else self._options.candidates[place]
        text = (self._options.separator if self._said else "") + chosen.text
        if any(stop in self._said + text for stop in self._stop):
            return False
        self._said += text
        self.cost += chosen.cost
        self._say(text, ())
        return True


def _bits(mask: bytes) -> Iterator[int]:
    """The numbers of the bits that are set, least first."""
    for place, byte in enumerate(mask):
        if byte:
            yield from (place * 8 + bit for bit in range(8) if byte >> bit & 1)
