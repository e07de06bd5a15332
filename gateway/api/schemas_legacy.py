"""The wire format of ``POST /v1/completions``. Source: OpenAI's API reference (legacy)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta

from gateway.api.decode import decode_body, published_names
from gateway.api.wire import SHARED, SampledBody, check_stream, refuse_unsupported
from gateway.errors import RequestError, UnsupportedParameterError

DEFAULT_MAX_TOKENS = 16
MAX_PROMPTS = 16


class CompletionBody(SampledBody, frozen=True, kw_only=True):
    """``prompt``: a text or up to ``MAX_PROMPTS`` of them; OpenAI's lists of tokens are refused."""

    neutral: ClassVar = {
        "best_of": (None, 1),
        "suffix": (None, ""),
        "user": (None,),
    }

    prompt: str | list[Any]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    # Published, without an effect here: see ``neutral``.
    best_of: Any = UNSET
    suffix: Any = UNSET
    user: Any = UNSET

    def prompts(self) -> tuple[str, ...]:
        """The texts to go on with, as the caller wrote them.

        Raises:
            RequestError: none, too many, or an empty one.
            UnsupportedParameterError: tokens in the place of text, which nothing could mask.
        """
        given = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        texts = tuple(each for each in given if isinstance(each, str))
        if len(texts) != len(given):
            raise UnsupportedParameterError("A prompt is text, not tokens.", param="prompt")
        if not 0 < len(texts) <= MAX_PROMPTS or not all(texts):
            raise RequestError(
                f"There are 1 to {MAX_PROMPTS} prompts, none of them empty.", param="prompt"
            )
        return texts


PUBLISHED = published_names((CompletionBody, *SHARED))

_COMPLETION = msgspec.json.Decoder(CompletionBody)


def decode_completion(raw: bytes, *, depth_limit: int) -> CompletionBody:
    """Read a legacy completion request.

    Raises:
        RequestError: not JSON, or not of this format.
        UnsupportedParameterError: a parameter that would have to be ignored.
    """
    body = decode_body(raw, _COMPLETION, PUBLISHED, depth_limit=depth_limit)
    refuse_unsupported(body)
    check_stream(body)
    if body.echo and body.logprobs is not None:  # OpenAI tells those of the prompt, too
        raise UnsupportedParameterError(
            "Log-probabilities are of the answer only; they cannot be had with echo.", param="echo"
        )
    return body
