"""The child: one model behind the wall, spoken to over a pipe. Started by exec, never by fork.

It opens nothing: its model arrives as an open descriptor, its prompts on standard input. All it
needs is imported before the wall stands, and the wall stands before a byte of the model is read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.engine.native import Model

from gateway.engine import wall, wire
from gateway.engine.answer import AnswerText
from gateway.engine.channel import CancelledError, Channel
from gateway.engine.extractive import (
    ABSTAINED,
    Budget,
    Candidate,
    LabelForm,
    Options,
    Scores,
    chooser,
    quote,
)
from gateway.engine.sentences import Reading, read
from gateway.engine.template import ChatTemplate, Piece, TemplateFailedError, rehearse

_SEED_BITS = 32


class _ContextError(Exception):
    """Prompt and answer do not fit."""


class Runner:
    """A loaded model and how it is asked."""

    def __init__(self, model: Model, load: wire.Load, channel: Channel) -> None:
        self._model = model
        self._channel = channel
        self._ends = model.ends()
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

    def run(self, ask: wire.Generate) -> None:
        """Answer one request: pieces, then exactly one ``Done`` or ``Failed``."""
        answer = self._quote if ask.extractive else self._write
        self._model.clear()
        self._counts = (0, 0)
        try:
            finish = answer(ask)
        except CancelledError:
            finish = "cancelled"
        except _ContextError:
            self._channel.send(wire.Failed(ask.id, "context"))
            return
        except TemplateFailedError:
            self._channel.send(wire.Failed(ask.id, "template"))
            return
        self._channel.send(wire.Done(ask.id, finish, *self._counts))

    # --- free --------------------------------------------------------------------------------

    def _write(self, ask: wire.Generate) -> wire.Finish:
        tokens = self._model.prompt(self._render(ask.turns))
        room = self._model.context - len(tokens)
        if room < 1 or (ask.max_tokens is not None and ask.max_tokens > room):
            raise _ContextError
        self._counts = (len(tokens), 0)
        self._feed(ask.id, tokens)
        sample = self._model.sampler(
            temperature=ask.temperature, top_p=ask.top_p, seed=_seed(ask.seed)
        )
        answer = AnswerText(ask.stop)
        limit = room if ask.max_tokens is None else ask.max_tokens
        finish: wire.Finish = "length"
        for count in range(1, limit + 1):
            token = sample()
            if self._model.is_end(token):
                finish = "stop"
                break
            self._counts = (len(tokens), count)
            self._say(ask.id, answer.feed(self._model.piece(token)))
            if answer.stopped:
                return "stop"
            if count < limit:
                self._feed(ask.id, [token])
        self._say(ask.id, answer.close())
        return "stop" if answer.stopped else finish

    # --- extractive --------------------------------------------------------------------------

    def _quote(self, ask: wire.Generate) -> wire.Finish:
        reading = read([(turn.role, turn.content) for turn in ask.turns])
        pieces = self._render(self._turns(ask, reading))
        tokens = self._model.prompt(pieces)
        room = self._model.context - len(tokens)
        if room < 1:
            raise _ContextError
        self._counts = (len(tokens), 0)
        self._feed(ask.id, tokens)
        options = self._options(reading)

        def advance(more: Sequence[int]) -> Scores:
            self._feed(ask.id, more)
            return self._model.scores()

        places = quote(
            options,
            advance,
            chooser(ask.temperature, ask.top_p, _seed(ask.seed)),
            Budget(ask.max_tokens, room),
        )
        return self._say_sentences(ask, options, places)

    def _say_sentences(
        self, ask: wire.Generate, options: Options, places: Iterator[int]
    ) -> wire.Finish:
        """Send each sentence whole. One that would complete a stop string is not begun."""
        said = ""
        while True:
            try:
                place = next(places)
            except StopIteration as end:
                return "length" if end.value == "length" else "stop"
            chosen = options.abstention if place == ABSTAINED else options.candidates[place]
            text = (self._separator if said else "") + chosen.text
            if any(stop in said + text for stop in ask.stop):
                return "stop"
            said += text
            self._counts = (self._counts[0], self._counts[1] + chosen.cost)
            self._say(ask.id, text)

    def _turns(self, ask: wire.Generate, reading: Reading) -> tuple[wire.Turn, ...]:
        if self._form is None:
            return ask.turns
        if len(reading.sentences) > self._form.labels:
            raise _ContextError
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
        )

    # --- common ------------------------------------------------------------------------------

    def _render(self, turns: tuple[wire.Turn, ...]) -> list[Piece]:
        return self._template.render(turns, f"c{os.urandom(12).hex()}")

    def _feed(self, generation: int, tokens: Sequence[int]) -> None:
        def between() -> None:
            self._channel.check(generation)
            if len(tokens) > 1:
                self._channel.send(wire.Progress(generation))

        self._model.feed(tokens, between)

    def _say(self, generation: int, text: str) -> None:
        # A token without text is a sign of life too.
        self._channel.send(wire.Piece(generation, text) if text else wire.Progress(generation))


def _seed(given: int | None) -> int:
    if given is not None:
        return given % (1 << _SEED_BITS)
    return int.from_bytes(os.urandom(_SEED_BITS // 8), "big")


def enclose(isolation: str) -> str:
    """Harden this process and raise the wall; return what stands."""
    wall.die_first()
    wall.harden_process()
    wall.die_with_parent()
    return wall.NONE if isolation == wall.NONE else wall.raise_wall()


def bind_library() -> None:
    """Make ``llama_cpp.llama_cpp`` importable without its package's ``__init__``.

    That would bring numpy, sockets, SQLite and a thread pool into the child, and a third of a
    second; the binding needs none of them.
    """
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("llama_cpp")
    package = types.ModuleType("llama_cpp")
    package.__path__ = found.submodule_search_locations
    sys.modules["llama_cpp"] = package


def main() -> None:
    """Serve until the gateway closes the pipe. Arguments: root, descriptor, isolation."""
    descriptor, isolation = int(sys.argv[2]), sys.argv[3]
    bind_library()
    from gateway.engine import native  # noqa: PLC0415 - after the line above

    native.silence()
    rehearse()
    stream = native.open_stream(descriptor)
    channel = Channel()
    with contextlib.suppress(EOFError):
        serve(channel, lambda: enclose(isolation), stream)


def serve(channel: Channel, raise_wall: Callable[[], str], stream: int) -> None:
    """Raise the wall, load, say so, then answer one generation after the other."""
    from gateway.engine import native  # noqa: PLC0415 - see main

    try:
        stands = raise_wall()
    except wall.WallError:
        channel.send(wire.LoadFailed("wall"))
        return
    load = channel.receive()
    if not isinstance(load, wire.Load):
        return
    try:
        model = native.Model(stream, context=load.context, threads=load.threads)
        runner = Runner(model, load, channel)
    except (native.NativeError, TemplateFailedError):
        channel.send(wire.LoadFailed("model"))
        return
    channel.send(wire.Ready(stands, model.context))
    while True:
        message = channel.receive()
        if isinstance(message, wire.Generate):
            runner.run(message)
