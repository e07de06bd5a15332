"""The wire format of ``POST /v1/chat/completions``. Source: OpenAI's API reference."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta

from gateway.api.decode import decode_body, published_names
from gateway.api.wire import (
    SHARED,
    ExtractiveFormat,
    GroundedFormat,
    JsonObjectFormat,
    SampledBody,
    ShortText,
    TextFormat,
    Tokens,
    ToolName,
    Wire,
    check_stream,
    refuse_unsupported,
)

# --- messages --------------------------------------------------------------------------------


class TextPart(Wire, frozen=True, tag_field="type", tag="text"):
    neutral: ClassVar = {"prompt_cache_breakpoint": (None,)}

    text: str
    prompt_cache_breakpoint: Any = UNSET


class ImagePart(Wire, frozen=True, tag_field="type", tag="image_url"):
    image_url: Any


class AudioPart(Wire, frozen=True, tag_field="type", tag="input_audio"):
    input_audio: Any


class FilePart(Wire, frozen=True, tag_field="type", tag="file"):
    file: Any


class RefusalPart(Wire, frozen=True, tag_field="type", tag="refusal"):
    refusal: Any


_Parts = Annotated[
    list[TextPart | ImagePart | AudioPart | FilePart | RefusalPart], Meta(min_length=1)
]


class CalledFunction(Wire, frozen=True):
    name: ToolName
    arguments: str


class CalledTool(Wire, frozen=True):
    id: ShortText
    function: CalledFunction
    type: Literal["function"] = "function"


class SystemMessage(Wire, frozen=True, tag_field="role", tag="system"):
    content: str | _Parts
    name: ShortText | None = None


class DeveloperMessage(Wire, frozen=True, tag_field="role", tag="developer"):
    content: str | _Parts
    name: ShortText | None = None


class UserMessage(Wire, frozen=True, tag_field="role", tag="user"):
    content: str | _Parts
    name: ShortText | None = None


class AssistantMessage(Wire, frozen=True, tag_field="role", tag="assistant"):
    """The last four fields stand in answers that SDKs send back; only empty ones are accepted."""

    neutral: ClassVar = {
        "refusal": (None,),
        "audio": (None,),
        "function_call": (None,),
        "annotations": (None, []),
    }

    content: str | _Parts | None = None
    name: ShortText | None = None
    tool_calls: list[CalledTool] | None = None
    refusal: Any = UNSET
    audio: Any = UNSET
    function_call: Any = UNSET
    annotations: Any = UNSET


class ToolMessage(Wire, frozen=True, tag_field="role", tag="tool"):
    content: str | _Parts
    tool_call_id: ShortText


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


# --- tools and formats -----------------------------------------------------------------------


class FunctionDefinition(Wire, frozen=True):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(Wire, frozen=True):
    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(Wire, frozen=True):
    name: ToolName


class ChosenTool(Wire, frozen=True):
    type: Literal["function"]
    function: ChosenFunction


class SchemaDefinition(Wire, frozen=True):
    name: ToolName
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Wire, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: SchemaDefinition


AnyFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | ExtractiveFormat | GroundedFormat


# --- the bodies ------------------------------------------------------------------------------


class ChatBody(SampledBody, frozen=True, kw_only=True):
    neutral: ClassVar = {
        "audio": (None,),
        "function_call": (None,),
        "functions": (None,),
        "modalities": (None, ["text"]),
        "moderation": (None,),
        "prediction": (None,),
        "prompt_cache_key": (None,),
        "prompt_cache_options": (None,),
        "prompt_cache_retention": (None,),
        "reasoning_effort": (None,),
        "safety_identifier": (None,),
        "service_tier": (None, "auto", "default"),
        "store": (None, False),
        "user": (None,),
        "verbosity": (None, "medium"),
        "web_search_options": (None,),
    }

    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: AnyFormat | None = None
    # Published, without an effect here: see ``neutral``.
    audio: Any = UNSET
    function_call: Any = UNSET
    functions: Any = UNSET
    modalities: Any = UNSET
    moderation: Any = UNSET
    prediction: Any = UNSET
    prompt_cache_key: Any = UNSET
    prompt_cache_options: Any = UNSET
    prompt_cache_retention: Any = UNSET
    reasoning_effort: Any = UNSET
    safety_identifier: Any = UNSET
    service_tier: Any = UNSET
    store: Any = UNSET
    user: Any = UNSET
    verbosity: Any = UNSET
    web_search_options: Any = UNSET


_WIRE = (
    *(TextPart, ImagePart, AudioPart, FilePart, RefusalPart, CalledFunction, CalledTool),
    *(SystemMessage, DeveloperMessage, UserMessage, AssistantMessage, ToolMessage),
    *(FunctionDefinition, ToolDefinition, ChosenFunction, ChosenTool, SchemaDefinition),
    *(JsonSchemaFormat, ChatBody, *SHARED),
)
PUBLISHED = published_names(_WIRE)

_CHAT = msgspec.json.Decoder(ChatBody)


def decode_chat(raw: bytes, *, depth_limit: int) -> ChatBody:
    """Read a chat request.

    Raises:
        RequestError: not JSON, or not of this format.
        UnsupportedParameterError: a parameter that would have to be ignored.
    """
    body = decode_body(raw, _CHAT, PUBLISHED, depth_limit=depth_limit)
    refuse_unsupported(body)
    check_stream(body)
    return body
