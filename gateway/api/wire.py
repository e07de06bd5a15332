"""What the wire formats of all endpoints share: strict structs, bounds, and neutral defaults.

Every published parameter has a field. What has no effect here is accepted at its neutral default
only (``neutral``) and refused otherwise: never silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta

from gateway.domain import Purpose
from gateway.errors import RequestError, UnsupportedParameterError

MAX_ANSWERS = 16
MAX_BIASES = 300
MAX_RECORD_NUMBERS = 16
_MAX_STOPS = 4

Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
RecordNumber = Annotated[str, Meta(min_length=1, max_length=64)]
ShortText = Annotated[str, Meta(min_length=1, max_length=256)]
ToolName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
ModelName = Annotated[str, Meta(max_length=256)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Bias = Annotated[float, Meta(ge=-100, le=100)]


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown parameters are refused: they could be meant to have an effect.

    ``neutral``: published parameters without an effect here, and the values that ask for none.
    """

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = MappingProxyType({})


class TextFormat(Wire, frozen=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(Wire, frozen=True, tag_field="type", tag="json_object"):
    pass


class ExtractiveFormat(Wire, frozen=True, tag_field="type", tag="extractive"):
    """Ours: the answer consists of whole sentences of the prompt."""


class GroundedFormat(Wire, frozen=True, tag_field="type", tag="grounded"):
    """Ours: every placeholder, number, date, code and quotation of the answer is the prompt's."""


class StreamOptions(Wire, frozen=True):
    neutral: ClassVar = {"include_obfuscation": (None, False)}

    include_usage: bool | None = None
    include_obfuscation: Any = UNSET


class PurposeMetadata(Wire, frozen=True):
    purpose: Purpose | None = None


class Metadata(PurposeMetadata, frozen=True):
    """The four keys that mean something here. OpenAI stores others; nothing is stored here.

    ``record_numbers``: by which an auditor finds the records of the request, and nobody else.
    """

    matter: ShortText | None = None
    subject: ShortText | None = None
    record_numbers: (
        RecordNumber | Annotated[list[RecordNumber], Meta(max_length=MAX_RECORD_NUMBERS)] | None
    ) = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """The record numbers, each once. SDKs whose metadata holds text only send one as text."""
        given = self.record_numbers or ()
        return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


class AskBody(Wire, frozen=True, kw_only=True):
    """What every request of a model may name."""

    model: ModelName | None = None
    metadata: Metadata | None = None


class SampledBody(AskBody, frozen=True, kw_only=True):
    """What chat and legacy completions have in common."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: _Seed | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=_MAX_STOPS)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: Annotated[dict[str, _Bias], Meta(max_length=MAX_BIASES)] | None = None


SHARED = (
    *(TextFormat, JsonObjectFormat, ExtractiveFormat, GroundedFormat),
    *(StreamOptions, PurposeMetadata, Metadata),
)
"""The structs here that stand in the bodies of several endpoints, for ``published_names``."""


def check_stream(body: SampledBody) -> None:
    """Check that options of a stream belong to one.

    Raises:
        RequestError: they do not.
        UnsupportedParameterError: an option that would have to be ignored.
    """
    if body.stream_options is not None:
        if not body.stream:
            raise RequestError("stream_options needs stream.", param="stream_options")
        refuse_unsupported(body.stream_options, "stream_options.")


def refuse_unsupported(struct: Wire, prefix: str = "") -> None:
    """Refuse what would have to be ignored.

    Raises:
        UnsupportedParameterError: ``param`` is ``prefix`` and the name of the field.
    """
    for name, neutral in struct.neutral.items():
        value = getattr(struct, name)
        if value is not UNSET and not any(_same(value, allowed) for allowed in neutral):
            raise UnsupportedParameterError(param=prefix + name.removesuffix("_"))


def _same(value: object, other: object) -> bool:
    """Equality that does not take ``True`` for 1."""
    return type(value) is type(other) and value == other
