"""The wire format of ``POST /v1/embeddings``. Source: OpenAI's API reference."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET

from gateway.api.decode import decode_body, published_names
from gateway.api.wire import AskBody, Metadata, refuse_unsupported
from gateway.errors import RequestError, UnsupportedParameterError

MAX_INPUTS = 256


class EmbeddingBody(AskBody, frozen=True, kw_only=True):
    """``input``: a text or up to ``MAX_INPUTS`` of them; OpenAI's lists of tokens are refused."""

    neutral: ClassVar = {"dimensions": (None,), "user": (None,)}

    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    # Published, without an effect here: see ``neutral``.
    dimensions: Any = UNSET
    user: Any = UNSET

    def texts(self) -> tuple[str, ...]:
        """The texts to embed, as the caller wrote them.

        Raises:
            RequestError: none, too many, or an empty one.
            UnsupportedParameterError: tokens in the place of text, which nothing could mask.
        """
        given = [self.input] if isinstance(self.input, str) else self.input
        texts = tuple(each for each in given if isinstance(each, str))
        if len(texts) != len(given):
            raise UnsupportedParameterError("An input is text, not tokens.", param="input")
        if not 0 < len(texts) <= MAX_INPUTS or not all(texts):
            raise RequestError(
                f"There are 1 to {MAX_INPUTS} inputs, none of them empty.", param="input"
            )
        return texts


PUBLISHED = published_names((EmbeddingBody, Metadata))

_EMBEDDING = msgspec.json.Decoder(EmbeddingBody)


def decode_embedding(raw: bytes, *, depth_limit: int) -> EmbeddingBody:
    """Read a request for embeddings.

    Raises:
        RequestError: not JSON, or not of this format.
        UnsupportedParameterError: a parameter that would have to be ignored.
    """
    body = decode_body(raw, _EMBEDDING, PUBLISHED, depth_limit=depth_limit)
    refuse_unsupported(body)
    return body
