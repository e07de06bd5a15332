"""The wire format of ``POST /v1/responses``. Source: OpenAI's API reference.

Nothing is stored here, so all that leads back to something stored is refused, and so is ``store``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta

from gateway.api.decode import decode_body, published_names
from gateway.api.wire import (
    AskBody,
    ExtractiveFormat,
    GroundedFormat,
    JsonObjectFormat,
    Metadata,
    ShortText,
    StreamOptions,
    Temperature,
    TextFormat,
    Tokens,
    ToolName,
    TopP,
    Wire,
    refuse_unsupported,
)

_Status = Literal["in_progress", "completed", "incomplete"]


# --- input -----------------------------------------------------------------------------------


class InputText(Wire, frozen=True, tag_field="type", tag="input_text"):
    neutral: ClassVar = {"prompt_cache_breakpoint": (None,)}

    text: str
    prompt_cache_breakpoint: Any = UNSET


class OutputText(Wire, frozen=True, tag_field="type", tag="output_text"):
    """Text of an earlier answer, as SDKs send it back."""

    neutral: ClassVar = {"annotations": (None, []), "logprobs": (None, [])}

    text: str
    annotations: Any = UNSET
    logprobs: Any = UNSET


class InputImage(Wire, frozen=True, tag_field="type", tag="input_image"):
    image_url: Any = UNSET
    file_id: Any = UNSET
    detail: Any = UNSET


class InputFile(Wire, frozen=True, tag_field="type", tag="input_file"):
    file_id: Any = UNSET
    file_data: Any = UNSET
    file_url: Any = UNSET
    filename: Any = UNSET


class Refusal(Wire, frozen=True, tag_field="type", tag="refusal"):
    refusal: Any


AnyPart = InputText | OutputText | InputImage | InputFile | Refusal
_Content = str | Annotated[list[AnyPart], Meta(min_length=1)]


class InputItem(Wire, frozen=True):
    """A turn: a message, a call of a function, or what it returned, by ``type``.

    One struct, for messages may leave their type out; ``items`` checks which fields go together.
    Ids and states of earlier answers say nothing here.
    """

    neutral: ClassVar = {
        "phase": (None, "commentary", "final_answer"),
        "caller": (None, {"type": "direct"}),
        "namespace": (None,),
        "async_": (None,),
    }

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: _Content | None = None
    call_id: ShortText | None = None
    name: ToolName | None = None
    arguments: str | None = None
    output: _Content | None = None
    id: ShortText | None = None
    status: _Status | None = None
    # Published, without an effect here: see ``neutral``.
    phase: Any = UNSET
    caller: Any = UNSET
    namespace: Any = UNSET
    async_: Any = msgspec.field(default=UNSET, name="async")


# --- tools and formats -----------------------------------------------------------------------


class FunctionTool(Wire, frozen=True):
    neutral: ClassVar = {
        "allowed_callers": (None, ["direct"]),
        "defer_loading": (None, False),
        "output_schema": (None,),
        "async_": (None, False),
    }

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: Any = UNSET
    defer_loading: Any = UNSET
    output_schema: Any = UNSET
    async_: Any = msgspec.field(default=UNSET, name="async")


class ChosenFunction(Wire, frozen=True):
    type: Literal["function"]
    name: ToolName


class SchemaFormat(Wire, frozen=True, tag_field="type", tag="json_schema"):
    name: ToolName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


AnyTextFormat = TextFormat | JsonObjectFormat | SchemaFormat | ExtractiveFormat | GroundedFormat


class TextConfig(Wire, frozen=True):
    neutral: ClassVar = {"verbosity": (None, "medium")}

    format: AnyTextFormat | None = None
    verbosity: Any = UNSET


# --- the body --------------------------------------------------------------------------------


class ResponsesBody(AskBody, frozen=True, kw_only=True):
    neutral: ClassVar = {
        "access_programs": (None,),
        "background": (None, False),
        "background_options": (None,),
        "context_management": (None, []),
        "conversation": (None,),
        "image": (None,),
        "include": (None, []),
        "max_tool_calls": (None,),
        "moderation": (None,),
        "previous_response_id": (None,),
        "prompt": (None,),
        "prompt_cache_key": (None,),
        "prompt_cache_options": (None,),
        "prompt_cache_retention": (None,),
        "reasoning": (None, {}),
        "safety_identifier": (None,),
        "service_tier": (None, "auto", "default"),
        "store": (None, False),
        "top_logprobs": (None, 0),
        "truncation": (None, "disabled"),
        "user": (None,),
    }

    input: str | Annotated[list[InputItem], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    # Published, without an effect here: see ``neutral``.
    access_programs: Any = UNSET
    background: Any = UNSET
    background_options: Any = UNSET
    context_management: Any = UNSET
    conversation: Any = UNSET
    image: Any = UNSET
    include: Any = UNSET
    max_tool_calls: Any = UNSET
    moderation: Any = UNSET
    previous_response_id: Any = UNSET
    prompt: Any = UNSET
    prompt_cache_key: Any = UNSET
    prompt_cache_options: Any = UNSET
    prompt_cache_retention: Any = UNSET
    reasoning: Any = UNSET
    safety_identifier: Any = UNSET
    service_tier: Any = UNSET
    store: Any = UNSET
    top_logprobs: Any = UNSET
    truncation: Any = UNSET
    user: Any = UNSET


_WIRE = (
    *(InputText, OutputText, InputImage, InputFile, Refusal, InputItem),
    *(FunctionTool, ChosenFunction, SchemaFormat, TextConfig, StreamOptions),
    *(TextFormat, JsonObjectFormat, ExtractiveFormat, GroundedFormat),
    *(Metadata, ResponsesBody),
)
PUBLISHED = published_names(_WIRE)

_RESPONSES = msgspec.json.Decoder(ResponsesBody)


def decode_responses(raw: bytes, *, depth_limit: int) -> ResponsesBody:
    """Read a request of the Responses API.

    Raises:
        RequestError: not JSON, or not of this format.
        UnsupportedParameterError: a parameter that would have to be ignored.
    """
    body = decode_body(raw, _RESPONSES, PUBLISHED, depth_limit=depth_limit)
    refuse_unsupported(body)
    if body.text is not None:
        refuse_unsupported(body.text, "text.")
    if body.stream_options is not None:
        refuse_unsupported(body.stream_options, "stream_options.")
    for index, tool in enumerate(body.tools or ()):
        refuse_unsupported(tool, f"tools[{index}].")
    return body
