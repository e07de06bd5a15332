"""Extractive decoding: an answer made of whole sentences that stand in the prompt. Pure.

The model is asked only for scores. A trie over the tokens of the candidates says which tokens may
come next, so no other word can be written. The walk:

- The first choice is between all candidates and the abstention. Abstaining ends the answer.
- After candidate k: candidates later in the document that have not been said, or the end.
- Where the trie forks, the likeliest allowed token is taken (or one is drawn, when the caller set a
  temperature). Where it does not fork the model is not asked.
- A candidate that does not fit the budget is not begun: the answer ends, reason ``length``. So an
  answer may be empty, and never holds half a sentence.

Two forms. A model trained to choose by label reads the candidates behind one-token labels and
its trie is over those. Any other model reads the prompt as it is and its trie is over the tokens
of the sentences themselves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.engine.sentences import Reading

ABSTENTION: Final = "The text does not say."
SEPARATOR: Final = "\n"
LINE: Final = "{label} {sentence}\n"
ABSTAINED: Final = -1
_END: Final = -2

Scores = Callable[[int], float]
"""The logit of a token at the position that is decided now."""
Choose = Callable[[Sequence[int], Scores], int]
"""Picks one of the allowed tokens."""


@dataclass(frozen=True, slots=True)
class LabelForm:
    """The form of a model that chooses by label; see ``engine/embedded/README.md``."""

    label: str
    abstain: str
    line: str
    labels: int

    def prompt(self, reading: Reading) -> str:
        """Write the one user message such a model reads: labelled lines, then the question."""
        lines = (
            self.line.format(label=self.label.format(n=number), sentence=_flat(sentence))
            for number, sentence in enumerate(reading.sentences, 1)
        )
        return "".join(lines) + _flat(reading.question)


def _flat(text: str) -> str:
    """One line, and no bracket that could forge a label."""
    return " ".join(text.split()).replace("⟦", "[").replace("⟧", "]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence. ``opening`` are its tokens as the first of an answer, ``later`` behind another.

    ``cost`` is what it counts against max_tokens: the tokens of its text, label or not.
    """

    text: str = field(repr=False)
    opening: tuple[int, ...] = field(repr=False)
    later: tuple[int, ...] = field(repr=False)
    cost: int


@dataclass(frozen=True, slots=True)
class Options:
    """All that may be said, and what stands between two sentences.

    ``ends`` are the tokens that end an answer; at least one.
    """

    candidates: Sequence[Candidate]
    abstention: Candidate
    ends: Sequence[int]
    separator: str = SEPARATOR


@dataclass(frozen=True, slots=True)
class Feed:
    """A question: the scores behind these tokens (perhaps none) and all that were fed before."""

    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Budget:
    """``answer``: tokens of text (None: no bound). ``room``: tokens that may be fed."""

    answer: int | None
    room: int


@dataclass(frozen=True, slots=True)
class _Way:
    """A leaf of the trie."""

    tokens: tuple[int, ...]
    leads_to: int


class _NoRoomError(Exception):
    """The context ends before the choice is made."""


Walk = Generator[Feed | int, Scores | None, Literal["stop", "length"]]
"""What ``quote`` returns."""


def quote(options: Options, choose: Choose, budget: Budget) -> Walk:
    """Yield the index of each sentence of the answer, or ``ABSTAINED`` alone; return why it ended.

    Between them it yields ``Feed`` and MUST be sent the scores it asks for; the first asks for
    those behind the prompt.
    """
    candidates, abstention, ends = options.candidates, options.abstention, options.ends
    walk = _Walk(choose, budget.room)
    used = 0
    said: set[str] = set()
    ways = [_Way(c.opening, place) for place, c in enumerate(candidates)]
    ways.append(_Way(abstention.opening, ABSTAINED))
    while True:
        try:
            place = yield from walk.decide(ways, ends)
        except _NoRoomError:
            return "length"
        if place == _END:
            return "stop"
        chosen = abstention if place == ABSTAINED else candidates[place]
        used += chosen.cost
        if budget.answer is not None and used > budget.answer:
            return "length"
        yield place
        if place == ABSTAINED:
            return "stop"
        said.add(chosen.text)
        ways = [
            _Way(candidate.later, index)
            for index, candidate in enumerate(candidates)
            if index > place and candidate.text not in said
        ]
        ways += [_Way((end,), _END) for end in ends]


class _Walk:
    """Where the model stands in the trie: what it was fed, and what is still to be fed."""

    def __init__(self, choose: Choose, room: int) -> None:
        self._choose = choose
        self._room = room
        self._pending: list[int] = []

    def decide(
        self, ways: Sequence[_Way], ends: Sequence[int]
    ) -> Generator[Feed, Scores | None, int]:
        """Walk from the root to a leaf; of leaves with the same tokens the earliest counts."""
        live, depth = list(ways), 0
        while len({way.leads_to for way in live}) > 1:
            forks = list(dict.fromkeys(_at(way, depth) for way in live))
            token = forks[0] if len(forks) == 1 else (yield from self._fork(forks, ends))
            live = [way for way in live if _at(way, depth) == token]
            if token is None:
                break
            self._pending.append(token)
            depth += 1
        self._pending += live[0].tokens[depth:]
        return live[0].leads_to

    def _fork(
        self, forks: Sequence[int | None], ends: Sequence[int]
    ) -> Generator[Feed, Scores | None, int | None]:
        """Ask the model. None stands for a sentence that ends where a longer one goes on.

        Ending there is as likely as the likeliest token that may follow a whole sentence.
        """
        self._room -= len(self._pending)
        if self._room < 0:
            raise _NoRoomError
        scores = yield Feed(self._pending)
        assert scores is not None  # noqa: S101 - the contract of quote
        self._pending = []
        allowed = [token for token in forks if token is not None]
        stops = [token for token in ends if token not in allowed] if None in forks else []
        token = self._choose([*allowed, *stops], scores)
        return None if token in stops else token


def _at(way: _Way, depth: int) -> int | None:
    return way.tokens[depth] if depth < len(way.tokens) else None


def chooser(temperature: float, top_p: float, seed: int) -> Choose:
    """Return greedy choice for temperature 0, else a draw among the allowed by softmax."""
    if temperature <= 0:
        return lambda allowed, scores: max(allowed, key=scores)
    source = random.Random(seed)  # noqa: S311 - sampling, not secrets

    def draw(allowed: Sequence[int], scores: Scores) -> int:
        ranked = sorted(allowed, key=scores, reverse=True)
        best = scores(ranked[0])
        weights = [math.exp((scores(token) - best) / temperature) for token in ranked]
        kept, mass, total = 0, 0.0, sum(weights)
        while kept < len(ranked) and (kept == 0 or mass < top_p * total):
            mass += weights[kept]
            kept += 1
        return source.choices(ranked[:kept], weights[:kept])[0]

    return draw
