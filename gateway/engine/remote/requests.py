"""The requests of OpenAI's API as a client writes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.domain import Message, Prompt, Tool
from gateway.engine.port import Embedding, Generation
from gateway.errors import RequestError, UnsupportedParameterError

EMBEDDINGS: Final = "/embeddings"


@dataclass(frozen=True, slots=True)
class Call:
    """A POST. ``path`` is relative to the URL of a server."""

    path: str
    body: bytes = field(repr=False)

    def in_one_piece(self) -> Call:
        """The same prompt for a single token that is not streamed: refusals have a status then."""
        body = msgspec.json.decode(self.body)
        for key in ("stream", "stream_options", "n"):
            body.pop(key, None)
        return Call(self.path, _encode(body | {"max_tokens": 1}))


def generation_call(
    generation: Generation, model: str, *, salt: str = "", reuse: bool = True
) -> Call:
    """Write a prompt for ``/chat/completions``, or as it stands for ``/completions``; streaming.

    ``salt`` separates prefix caches in vLLM, which knows ``cache_salt``. Without ``reuse`` no
    prefix is used again in llama-server, which knows no salt but ``cache_prompt``. Either server
    ignores the other's word.

    Raises:
        UnsupportedParameterError: a format that only local engines decode; tools or a format for a
            prompt that is continued as it stands.
        RequestError: half a surrogate pair.
    """
    prompt = generation.prompt
    if prompt.response_format.kind in ("extractive", "grounded"):
        raise UnsupportedParameterError(
            "This model cannot be held to quotations.", param="response_format"
        )
    body: dict[str, Any] = {
        "model": model,
        **(_raw(prompt) if prompt.raw else _chat(prompt)),
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(prompt),
    }
    if salt:
        body["cache_salt"] = salt
    if not reuse:
        body["cache_prompt"] = False
    return Call("/completions" if prompt.raw else "/chat/completions", _encode(body))


def embedding_call(embedding: Embedding, model: str) -> Call:
    """Write texts for ``/embeddings``.

    Raises:
        RequestError: half a surrogate pair.
    """
    body = {"model": model, "input": list(embedding.texts), "encoding_format": "float"}
    return Call(EMBEDDINGS, _encode(body))


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise RequestError("The prompt holds half a surrogate pair.") from None


def _given(**optional: Any) -> dict[str, Any]:
    """What was asked for. The rest stays absent: a server's defaults are its own."""
    return {key: value for key, value in optional.items() if value is not None}


def _raw(prompt: Prompt) -> dict[str, Any]:
    if prompt.tools:
        raise UnsupportedParameterError(param="tools")
    if prompt.response_format.kind != "text":
        raise UnsupportedParameterError(param="response_format")
    wanted = prompt.sampling.logprobs
    return {
        "prompt": "".join(message.content or "" for message in prompt.messages),
        # 0 alternatives would be none of any token in llama-server.
        **_given(logprobs=None if wanted is None else max(1, wanted)),
    }


def _chat(prompt: Prompt) -> dict[str, Any]:
    wanted = prompt.sampling.logprobs
    return {
        "messages": [_message(message) for message in prompt.messages],
        **_given(
            tools=[_tool(tool) for tool in prompt.tools] or None,
            tool_choice=_tool_choice(prompt.tool_choice),
            parallel_tool_calls=prompt.parallel_tool_calls,
            response_format=_response_format(prompt),
            logprobs=None if wanted is None else True,
            top_logprobs=wanted,
        ),
    }


def _sampling(prompt: Prompt) -> dict[str, Any]:
    sampling = prompt.sampling
    return _given(
        stop=list(prompt.stop) or None,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        frequency_penalty=sampling.frequency_penalty or None,
        presence_penalty=sampling.presence_penalty or None,
        logit_bias={str(token): bias for token, bias in sampling.logit_bias} or None,
        n=sampling.n if sampling.n > 1 else None,
    )


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in message.tool_calls
    ]
    return {
        "role": message.role,
        "content": message.content,
        **_given(name=message.name, tool_calls=calls or None, tool_call_id=message.tool_call_id),
    }


def _tool(tool: Tool) -> dict[str, Any]:
    more = _given(description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return {"type": "function", "function": {"name": tool.name, **more}}


def _tool_choice(choice: str | None) -> Any:
    if choice is not None and choice.startswith("function:"):
        return {"type": "function", "function": {"name": choice.removeprefix("function:")}}
    return choice


def _response_format(prompt: Prompt) -> dict[str, Any] | None:
    wanted = prompt.response_format
    if wanted.kind == "text":
        return None
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    more = _given(description=wanted.description, schema=wanted.schema, strict=wanted.strict)
    return {"type": "json_schema", "json_schema": {"name": wanted.name or "answer", **more}}
