"""Step 11 of a request: placeholders back, where policy lets this role see the values.

Synchronous and incremental. While a required stage may still withhold an answer it is *held*:
nothing of it leaves before ``Answers.ended``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from gateway.domain import Chunk, FinishReason, Prompt, TokenLogprob, ToolCall, Usage
from gateway.errors import EngineError
from gateway.pii import conform
from gateway.pii.restore import JsonRestorer, Report, Restorer, check_json, restore_arguments
from gateway.protect import Protected

_JSON_KINDS = frozenset({"json_object", "json_schema"})
_WHOLE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


class Answer:
    """One answer on its way back. ``tag``: random, new for each answer.

    Log-probabilities pass as they are, over the tokens of the masked answer: there are none of the
    restored one. They are held with the text.
    """

    def __init__(self, prompt: Prompt, protected: Protected, tag: str, *, held: bool) -> None:
        """``prompt``: as the caller wrote it; a JSON answer is checked against its schemas."""
        self._json = prompt.response_format.kind in _JSON_KINDS
        kind = JsonRestorer if self._json else Restorer
        self._restorer: JsonRestorer | Restorer = kind(protected.mapping, tag)
        self._prompt = prompt
        self._protected = protected
        self._tag = tag
        self._held = held
        self._kept: list[str] = []
        self._told: list[TokenLogprob] = []
        self._calls = Report()

    @property
    def report(self) -> Report:
        return self._restorer.report + self._calls

    def feed(self, chunk: Chunk) -> Chunk | None:
        """What may leave after this piece of masked text; None: nothing yet."""
        restored = self._restorer.feed(chunk.text)
        if self._held or self._json:
            self._kept.append(restored)
        if self._held:
            self._told += chunk.logprobs
            return None
        if restored or chunk.logprobs:
            return Chunk(restored, index=chunk.index, logprobs=chunk.logprobs)
        return None

    def finish(self, last: Chunk) -> Chunk:
        """The last chunk (its text and log-probabilities fed before), with all that was held.

        Raises:
            RestoreError: a complete JSON answer is no longer JSON.
        """
        rest = self._restorer.finish()
        if self._json:
            self._kept.append(rest)
        if self._json and last.finish is FinishReason.STOP:
            check_json("".join(self._kept))
        if self._held:
            rest = "".join(self._kept) + ("" if self._json else rest)
        calls = tuple(self._restored(i, call) for i, call in enumerate(last.tool_calls, 1))
        return replace(last, text=rest, tool_calls=calls, logprobs=tuple(self._told))

    def check(self, last: Chunk) -> None:
        """Check the restored JSON of ``finish`` against the caller's own schemas.

        What policy does not let this role see may stand in any place (``conform``).

        Raises:
            RestoreError: it does not fit.
        """
        wanted = self._prompt.response_format
        if last.finish is FinishReason.STOP and wanted.schema is not None:
            conform.check(wanted.schema, "".join(self._kept), self._tag)
        if last.finish not in _WHOLE:
            return
        for call in last.tool_calls:
            for tool in self._prompt.tools:
                if tool.name == call.name and tool.parameters is not None:
                    conform.check_arguments(tool.parameters, call.arguments, self._tag)

    def _restored(self, number: int, call: ToolCall) -> ToolCall:
        """A tool call as the client gets it, under an id of ours: the model's may hold anything."""
        allowed = call.name in self._protected.decision.restore_tools
        arguments, report = restore_arguments(
            call.arguments, self._protected.mapping, self._tag, allowed=allowed
        )
        self._calls += report
        return ToolCall(f"call_{self._tag}_{number}", call.name, arguments)


class Answers:
    """All answers to one prompt, each with a restorer and a tag of its own."""

    def __init__(
        self, prompt: Prompt, protected: Protected, new_tag: Callable[[], str], *, held: bool
    ) -> None:
        self._answers = [
            Answer(prompt, protected, new_tag(), held=held) for _ in range(prompt.sampling.n)
        ]
        self._last: dict[int, Chunk] = {}

    def feed(self, chunk: Chunk) -> Chunk | None:
        """What may leave after this chunk of the engine; the end of each answer is kept back.

        Raises:
            EngineError: a chunk of an answer that was not asked for, or has ended.
            RestoreError: a complete JSON answer is no longer JSON.
        """
        if not 0 <= chunk.index < len(self._answers) or chunk.index in self._last:
            raise EngineError
        answer = self._answers[chunk.index]
        ready = answer.feed(chunk)
        if chunk.finish is not None:
            self._last[chunk.index] = answer.finish(chunk)
        return ready

    def ended(self) -> Sequence[Chunk]:
        """The last chunks, in the order of the answers, checked. Heavy: run it off the loop.

        Raises:
            EngineError: an answer has not ended, or its tokens were not counted.
            RestoreError: a restored answer does not fit its schema.
        """
        ends = [self._last.get(index) for index in range(len(self._answers))]
        whole = [end for end in ends if end is not None and end.usage is not None]
        if len(whole) != len(self._answers):
            raise EngineError
        for answer, end in zip(self._answers, whole, strict=True):
            answer.check(end)
        return whole

    @property
    def report(self) -> Report:
        return reduce(add, (answer.report for answer in self._answers), Report())


def total(counted: Sequence[Usage]) -> Usage:
    """The tokens of several answers; only the first to end has counted their prompt's."""
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in counted),
        completion_tokens=sum(one.completion_tokens for one in counted),
        cached_tokens=sum(one.cached_tokens for one in counted),
        processor_s=sum(one.processor_s for one in counted),
    )
