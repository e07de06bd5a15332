"""The wire format of requests: OpenAI's chat completions, and Cloister's own deidentify.

Every published parameter has a field. What has no effect here is accepted at its neutral default
only (``NEUTRAL``) and refused otherwise: never silently ignored. Source: OpenAI's API reference,
``POST /v1/chat/completions``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from gateway.api.decode import decode_body, published_names
from gateway.domain import Purpose
from gateway.errors import RequestError, UnsupportedParameterError
from gateway.pii.languages import LANGUAGE
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES

_MAX_STOPS = 4
_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_ShortText = Annotated[str, Meta(min_length=1, max_length=256)]
_ReportText = Annotated[str, Meta(min_length=1, max_length=2000)]
_ToolName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown parameters are refused: they could be meant to have an effect."""


# --- messages --------------------------------------------------------------------------------


class TextPart(_Wire, frozen=True, tag_field="type", tag="text"):
    text: str
    prompt_cache_breakpoint: Any = UNSET


class ImagePart(_Wire, frozen=True, tag_field="type", tag="image_url"):
    image_url: Any


class AudioPart(_Wire, frozen=True, tag_field="type", tag="input_audio"):
    input_audio: Any


class FilePart(_Wire, frozen=True, tag_field="type", tag="file"):
    file: Any


class RefusalPart(_Wire, frozen=True, tag_field="type", tag="refusal"):
    refusal: Any


_Parts = Annotated[
    list[TextPart | ImagePart | AudioPart | FilePart | RefusalPart], Meta(min_length=1)
]


class CalledFunction(_Wire, frozen=True):
    name: _ToolName
    arguments: str


class CalledTool(_Wire, frozen=True):
    id: _ShortText
    function: CalledFunction
    type: Literal["function"] = "function"


class SystemMessage(_Wire, frozen=True, tag_field="role", tag="system"):
    content: str | _Parts
    name: _ShortText | None = None


class DeveloperMessage(_Wire, frozen=True, tag_field="role", tag="developer"):
    content: str | _Parts
    name: _ShortText | None = None


class UserMessage(_Wire, frozen=True, tag_field="role", tag="user"):
    content: str | _Parts
    name: _ShortText | None = None


class AssistantMessage(_Wire, frozen=True, tag_field="role", tag="assistant"):
    """The last four fields stand in answers that SDKs send back; only empty ones are accepted."""

    content: str | _Parts | None = None
    name: _ShortText | None = None
    tool_calls: list[CalledTool] | None = None
    refusal: Any = UNSET
    audio: Any = UNSET
    function_call: Any = UNSET
    annotations: Any = UNSET


class ToolMessage(_Wire, frozen=True, tag_field="role", tag="tool"):
    content: str | _Parts
    tool_call_id: _ShortText


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


# --- tools and formats -----------------------------------------------------------------------


class FunctionDefinition(_Wire, frozen=True):
    name: _ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(_Wire, frozen=True):
    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(_Wire, frozen=True):
    name: _ToolName


class ChosenTool(_Wire, frozen=True):
    type: Literal["function"]
    function: ChosenFunction


class TextFormat(_Wire, frozen=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(_Wire, frozen=True, tag_field="type", tag="json_object"):
    pass


class ExtractiveFormat(_Wire, frozen=True, tag_field="type", tag="extractive"):
    pass


class SchemaDefinition(_Wire, frozen=True):
    name: _ToolName
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(_Wire, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: SchemaDefinition


class StreamOptions(_Wire, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: Any = UNSET


class PurposeMetadata(_Wire, frozen=True):
    purpose: Purpose | None = None


class Metadata(PurposeMetadata, frozen=True):
    """The three keys that mean something here. OpenAI stores others; nothing is stored here."""

    matter: _ShortText | None = None
    subject: _ShortText | None = None


# --- the bodies ------------------------------------------------------------------------------


class ChatBody(_Wire, frozen=True):
    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    model: Annotated[str, Meta(max_length=256)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=_MAX_STOPS)] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | ExtractiveFormat | None = (
        None
    )
    metadata: Metadata | None = None
    # Published, without an effect here: see NEUTRAL.
    audio: Any = UNSET
    frequency_penalty: Any = UNSET
    function_call: Any = UNSET
    functions: Any = UNSET
    logit_bias: Any = UNSET
    logprobs: Any = UNSET
    modalities: Any = UNSET
    moderation: Any = UNSET
    n: Any = UNSET
    prediction: Any = UNSET
    presence_penalty: Any = UNSET
    prompt_cache_key: Any = UNSET
    prompt_cache_options: Any = UNSET
    prompt_cache_retention: Any = UNSET
    reasoning_effort: Any = UNSET
    safety_identifier: Any = UNSET
    service_tier: Any = UNSET
    store: Any = UNSET
    top_logprobs: Any = UNSET
    user: Any = UNSET
    verbosity: Any = UNSET
    web_search_options: Any = UNSET


class DeidentifyBody(_Wire, frozen=True):
    """``policy`` names policies to add to those in force."""

    text: str
    language: Annotated[str, Meta(pattern=LANGUAGE)] | None = None
    policy: _ShortText | Annotated[list[_ShortText], Meta(max_length=16)] | None = None
    metadata: PurposeMetadata | None = None


class ReportBody(_Wire, frozen=True):
    """What was missed or found wrongly under a receipt; ``subject`` as the request named it."""

    kind: Literal["missed", "wrong"]
    text: _ReportText | None = None
    entity_type: Annotated[str, Meta(pattern=r"\A[A-Z][A-Z0-9_]{1,39}\Z")] | None = None
    note: _ReportText | None = None
    subject: _ShortText | None = None


NEUTRAL: dict[type[msgspec.Struct], dict[str, tuple[object, ...]]] = {
    ChatBody: {
        "audio": (None,),
        "frequency_penalty": (None, 0, 0.0),
        "function_call": (None,),
        "functions": (None,),
        "logit_bias": (None, {}),
        "logprobs": (None, False),
        "modalities": (None, ["text"]),
        "moderation": (None,),
        "n": (None, 1),
        "prediction": (None,),
        "presence_penalty": (None, 0, 0.0),
        "prompt_cache_key": (None,),
        "prompt_cache_options": (None,),
        "prompt_cache_retention": (None,),
        "reasoning_effort": (None,),
        "safety_identifier": (None,),
        "service_tier": (None, "auto", "default"),
        "store": (None, False),
        "top_logprobs": (None, 0),
        "user": (None,),
        "verbosity": (None, "medium"),
        "web_search_options": (None,),
    },
    AssistantMessage: {
        "refusal": (None,),
        "audio": (None,),
        "function_call": (None,),
        "annotations": (None, []),
    },
    TextPart: {"prompt_cache_breakpoint": (None,)},
    StreamOptions: {"include_obfuscation": (None, False)},
}
"""Published parameters without an effect here, with the values that ask for none."""

_WIRE = (
    *(TextPart, ImagePart, AudioPart, FilePart, RefusalPart, CalledFunction, CalledTool),
    *(SystemMessage, DeveloperMessage, UserMessage, AssistantMessage, ToolMessage),
    *(FunctionDefinition, ToolDefinition, ChosenFunction, ChosenTool, SchemaDefinition),
    *(TextFormat, JsonObjectFormat, JsonSchemaFormat, ExtractiveFormat),
    *(StreamOptions, PurposeMetadata, Metadata, ChatBody, DeidentifyBody, ReportBody),
)
PUBLISHED = published_names(_WIRE)

_CHAT = msgspec.json.Decoder(ChatBody)
_DEIDENTIFY = msgspec.json.Decoder(DeidentifyBody)
_REPORT = msgspec.json.Decoder(ReportBody)


def decode_chat(raw: bytes, *, depth_limit: int) -> ChatBody:
    """Read a chat request.

    Raises:
        RequestError: not JSON, or not of this format.
        UnsupportedParameterError: a parameter that would have to be ignored.
    """
    body = decode_body(raw, _CHAT, PUBLISHED, depth_limit=depth_limit)
    refuse_unsupported(body)
    if body.stream_options is not None:
        if not body.stream:
            raise RequestError("stream_options needs stream.", param="stream_options")
        refuse_unsupported(body.stream_options, "stream_options.")
    return body


def decode_deidentify(raw: bytes, *, depth_limit: int) -> DeidentifyBody:
    """Read a request for de-identification.

    Raises:
        RequestError: not JSON, or not of this format.
    """
    return decode_body(raw, _DEIDENTIFY, PUBLISHED, depth_limit=depth_limit)


def decode_report(raw: bytes, *, depth_limit: int) -> ReportBody:
    """Read a report of a missed or a wrong finding.

    Raises:
        RequestError: not JSON, not of this format, or of an entity type that there is not.
    """
    body = decode_body(raw, _REPORT, PUBLISHED, depth_limit=depth_limit)
    if body.entity_type is not None and body.entity_type not in ENTITY_TYPES:
        raise RequestError("There is no such entity type.", param="entity_type")
    return body


def refuse_unsupported(struct: msgspec.Struct, prefix: str = "") -> None:
    """Refuse what would have to be ignored.

    Raises:
        UnsupportedParameterError: ``param`` is ``prefix`` and the name of the field.
    """
    for name, neutral in NEUTRAL[type(struct)].items():
        value = getattr(struct, name)
        if value is not UNSET and not any(_same(value, allowed) for allowed in neutral):
            raise UnsupportedParameterError(param=prefix + name)


def _same(value: object, other: object) -> bool:
    """Equality that does not take ``True`` for 1."""
    return type(value) is type(other) and value == other
