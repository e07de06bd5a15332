"""The answers of OpenAI's API as a client reads them. Pure.

Whatever a server sends is data: what is not an answer is ``StreamError``. Two forms of
log-probabilities are read: that of chats, and the older one of completions (tokens and numbers in
lists beside each other), which vLLM still sends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Annotated, Final, TypeVar

import msgspec

from gateway.domain import Chunk, FinishReason, TokenLogprob, ToolCall, Usage
from gateway.engine.remote.sse import EventParser, StreamError
from gateway.errors import ContextLengthExceededError, UnsupportedParameterError

_FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
# As OpenAI and llama_cpp.server, vLLM, and llama-server say that a prompt is too long.
_TOO_LONG: Final = (
    b"context_length_exceeded",
    b"maximum context length",
    b"exceed_context_size_error",
)
MAX_ANSWER: Final = 64 * 1024 * 1024  # bytes of one answer
_MAX_CALLS: Final = 128


def says_too_long(error: bytes) -> bool:
    """Whether the body of an error says that the prompt does not fit the context."""
    return any(words in error for words in _TOO_LONG)


_T = TypeVar("_T")
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_Token] | None = None


class _Logprobs(msgspec.Struct):
    """``content`` is the form of chats, the others are the older one's."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    """``text``: of a completion; ``delta``: of a chat."""

    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: str | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count | None = None


class ToldUsage(msgspec.Struct):
    prompt_tokens: _Count = 0
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None

    def value(self) -> Usage:
        cached = (self.prompt_tokens_details or _PromptDetails()).cached_tokens
        return Usage(self.prompt_tokens, self.completion_tokens or 0, cached or 0)


class _Event(msgspec.Struct):
    """Without ``choices`` it is an error or no event of ours, and decoding fails."""

    choices: list[_Choice]
    usage: ToldUsage | None = None


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = field(repr=False, default="")
    arguments: str = field(repr=False, default="")


class AnswerStream:
    """Collects a stream. Text goes through; calls, reasons and usage wait for the end.

    ``n``: how many answers were asked for. ``top``: how many alternatives of each token; ``None``:
    log-probabilities were not asked for, and are not passed on.
    """

    def __init__(self, n: int = 1, top: int | None = None) -> None:
        self._n = n
        self._top = top
        self._parser = EventParser()
        self._decoder = msgspec.json.Decoder(_Event)
        self._calls: dict[tuple[int, int], _Call] = {}
        self._finish: dict[int, FinishReason] = {}  # in the order of their ends
        self._seen: set[int] = set()
        self._usage = Usage()
        self._size = 0
        self.done = False

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the text that ``data`` completes; ``done`` is set by ``[DONE]``.

        Raises:
            StreamError: not the stream of a completion.
            ContextLengthExceededError: an event says so.
        """
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise StreamError
        chunks: list[Chunk] = []
        for event in self._parser.feed(data):
            if event.strip() == "[DONE]":
                self.done = True
                break
            chunks += self._take(event)
        return chunks

    def _take(self, raw: str) -> list[Chunk]:
        try:
            event = self._decoder.decode(raw)
        except msgspec.DecodeError:
            if says_too_long(raw.encode()):
                raise ContextLengthExceededError from None
            raise StreamError from None
        if event.usage is not None:
            self._usage = event.usage.value()
        chunks = [self._choice(choice) for choice in event.choices]
        return [chunk for chunk in chunks if chunk.text or chunk.logprobs]

    def _choice(self, choice: _Choice) -> Chunk:
        index = choice.index
        text = (choice.delta.content or "") + (choice.text or "")
        if not 0 <= index < self._n or (index in self._finish and text):
            raise StreamError
        self._seen.add(index)
        for call in choice.delta.tool_calls or ():
            self._add_call(index, call)
        if choice.finish_reason is not None:
            self._finish[index] = _FINISH.get(choice.finish_reason, FinishReason.STOP)
        logprobs = () if self._top is None else _logprobs(choice.logprobs, self._top)
        return Chunk(text, index=index, logprobs=logprobs)

    def _add_call(self, index: int, delta: _CallDelta) -> None:
        if not 0 <= delta.index < _MAX_CALLS:
            raise StreamError
        call = self._calls.setdefault((index, delta.index), _Call())
        call.id = call.id or delta.id or ""
        if delta.function is not None:
            call.name += delta.function.name or ""
            call.arguments += delta.function.arguments or ""

    def last(self) -> list[Chunk]:
        """Return the chunk that ends each answer, the one that ended first before the others.

        The server counts all answers together; the first one carries the count.

        Raises:
            StreamError: the server never said why it ended, or half a call is left.
            UnsupportedParameterError: several answers were asked for, and the server gives one.
        """
        if self._seen == {0} and self._finish and self._n > 1:
            raise UnsupportedParameterError("This model gives one answer at a time.", param="n")
        if len(self._finish) != self._n:
            raise StreamError
        usages = (self._usage, *(Usage(),) * (self._n - 1))
        return [
            Chunk(tool_calls=self._whole_calls(index), finish=finish, usage=usage, index=index)
            for (index, finish), usage in zip(self._finish.items(), usages, strict=True)
        ]

    def _whole_calls(self, index: int) -> tuple[ToolCall, ...]:
        calls = [self._calls[key] for key in sorted(self._calls) if key[0] == index]
        if not all(call.id and call.name for call in calls):
            raise StreamError
        return tuple(ToolCall(call.id, call.name, call.arguments) for call in calls)


# --- log-probabilities ----------------------------------------------------------------------------


def _logprobs(told: _Logprobs | None, top: int) -> tuple[TokenLogprob, ...]:
    if told is None:
        return ()
    if told.content is not None:
        return tuple(_of_chat(token, top) for token in told.content)
    rows = zip_longest(told.tokens or (), told.token_logprobs or (), told.top_logprobs or ())
    return tuple(
        TokenLogprob(
            _required(token).encode(),
            _finite(_required(logprob)),
            tuple((t.encode(), _finite(p)) for t, p in _likeliest(others or {}, top)),
        )
        for token, logprob, others in rows
    )


def _of_chat(token: _Token, top: int) -> TokenLogprob:
    others = sorted(token.top_logprobs or (), key=lambda other: -other.logprob)[:top]
    return TokenLogprob(
        _bytes_of(token),
        _finite(token.logprob),
        tuple((_bytes_of(other), _finite(other.logprob)) for other in others),
    )


def _likeliest(others: dict[str, float], top: int) -> Sequence[tuple[str, float]]:
    return sorted(others.items(), key=lambda pair: -pair[1])[:top]


def _bytes_of(token: _Token) -> bytes:
    """The token's bytes, where the server tells them: half a character has no text."""
    try:
        return token.token.encode() if token.bytes is None else bytes(token.bytes)
    except ValueError:
        raise StreamError from None


def _required(value: _T | None) -> _T:
    if value is None:
        raise StreamError
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise StreamError
    return number
