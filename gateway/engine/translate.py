"""What the port says, in the child's words, and back. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.domain import Chunk, Decoding, FinishReason, Prompt, TokenLogprob, Usage
from gateway.engine import wire
from gateway.errors import (
    ContextLengthExceededError,
    EngineError,
    GatewayError,
    RequestError,
    UnsupportedParameterError,
)

_FINISH: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@dataclass(frozen=True, slots=True)
class Manner:
    """What is the model's or the site's, and not the prompt's.

    ``shared``: texts of system prompts that an operator has declared public.
    """

    decoding: Decoding = Decoding.FREE
    grammar: str = field(repr=False, default="")
    scope: str = ""
    adapter: int = -1
    shared: frozenset[str] = field(repr=False, default=frozenset())


def generate(identity: int, prompt: Prompt, manner: Manner) -> wire.Generate:
    quotes = manner.decoding is Decoding.EXTRACTIVE or prompt.response_format.kind == "extractive"
    sampling = prompt.sampling
    # OpenAI's defaults for free decoding; a quotation is the likeliest one unless asked otherwise.
    temperature = sampling.temperature if sampling.temperature is not None else float(not quotes)
    turns = tuple(
        wire.Turn(
            role="system" if message.role == "developer" else message.role,
            content=message.content or "",
            name=message.name,
            calls=tuple((call.id, call.name, call.arguments) for call in message.tool_calls),
            call_id=message.tool_call_id,
        )
        for message in prompt.messages
    )
    return wire.Generate(
        id=identity,
        turns=turns,
        raw=prompt.raw,
        extractive=quotes,
        grammar=manner.grammar,
        stop=prompt.stop,
        max_tokens=sampling.max_tokens,
        temperature=temperature,
        top_p=sampling.top_p if sampling.top_p is not None else 1.0,
        seed=sampling.seed,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        bias=sampling.logit_bias,
        logprobs=-1 if sampling.logprobs is None else sampling.logprobs,
        n=sampling.n,
        scope=manner.scope,
        shared=_shared(turns, manner.shared),
        adapter=manner.adapter,
    )


def _shared(turns: tuple[wire.Turn, ...], public: frozenset[str]) -> int:
    """How many turns at the beginning are public: the system prompt, or none."""
    return int(bool(turns) and turns[0].role == "system" and turns[0].content in public)


def chunk(event: wire.Said | wire.Done) -> Chunk:
    if isinstance(event, wire.Said):
        told = tuple(TokenLogprob(one.token, one.value, one.top) for one in event.logprobs)
        return Chunk(event.text, index=event.index, logprobs=told)
    usage = Usage(
        event.prompt_tokens, event.completion_tokens, event.cached_tokens, event.processor_s
    )
    finish = _FINISH.get(event.finish, FinishReason.STOP)
    return Chunk(index=event.index, finish=finish, usage=usage)


def failure(failed: wire.Failed) -> GatewayError:
    """What a request that a child cannot answer is told."""
    match failed.why:
        case "context":
            return ContextLengthExceededError()
        case "template":
            return UnsupportedParameterError(
                "The model's chat template refuses these messages.", param="messages"
            )
        case "bias":
            return RequestError(
                "logit_bias names a token that the model has not.", param="logit_bias"
            )
        case "grammar":
            return RequestError(
                "The format of the answer cannot be held by this model.", param="response_format"
            )
        case "native":
            return EngineError()
