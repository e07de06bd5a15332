"""What the gateway and an engine's child say to each other, and how.

Each message is a msgpack map behind its length (four bytes, big end first) on a pipe. The child
learns masked prompts and sampling parameters, nothing else: no key, no mapping, no path.
After each batch the child sends one ``Step`` with all that was said in it; an empty one shows that
it lives. Every answer of a ``Generate`` (there are ``n``) ends with exactly one ``Done``, or all of
them with one ``Failed``; a cancelled one ends so too. An ``Embed`` ends with ``Vectors`` or
``Failed``.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

_LENGTH: Final = struct.Struct(">I")
HEADER_BYTES: Final = _LENGTH.size
MAX_MESSAGE: Final = 64 * 1024 * 1024  # bytes; a body limit far below stands at the door


Finish = Literal["stop", "length", "cancelled"]


class WireError(Exception):
    """The peer broke the protocol."""


class _Silent(msgspec.Struct, frozen=True):
    """Texts of prompts and answers never stand in a repr."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first message: how to run the model whose descriptor the child was given.

    ``context`` is in tokens of one sequence, ``streams`` how many there are. ``adapters``: the
    scale of each LoRA adapter whose descriptor follows the model's. ``writes`` False: the model
    only gives vectors. ``form`` holds the fields of ``extractive.LabelForm`` for a model that
    chooses by label.
    """

    context: int
    streams: int
    threads: int
    form: tuple[str, str, str, int] | None
    abstention: str
    separator: str
    adapters: tuple[float, ...] = ()
    writes: bool = True


class Turn(_Silent, frozen=True):
    role: str
    content: str
    name: str | None = None
    calls: tuple[tuple[str, str, str], ...] = ()  # id, name, arguments
    call_id: str | None = None


class ToolText(_Silent, frozen=True):
    """A tool as the model is told of it. ``parameters`` is JSON text of a schema."""

    name: str
    description: str | None = None
    parameters: str = "{}"


class Generate(_Silent, frozen=True, tag=True, kw_only=True):
    """``temperature`` 0 is greedy; a ``seed`` of None is drawn by the child.

    ``raw``: the one turn is continued as it stands. ``grammar``: as ``constrain.envelope`` writes
    it; "" is free text. ``scope``: whose prefixes may be reused, ""
    nobody's; ``shared`` turns at the beginning are the same for all. ``adapter`` counts from 0, -1
    is none. ``logprobs``: how many alternatives are told of each token, -1: not even its own.
    """

    id: int
    turns: tuple[Turn, ...]
    raw: bool = False
    extractive: bool = False
    tools: tuple[ToolText, ...] = ()
    grammar: str = ""
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    logprobs: int = -1
    n: int = 1
    scope: str = ""
    shared: int = 0
    adapter: int = -1


class Embed(_Silent, frozen=True, tag=True):
    id: int
    texts: tuple[str, ...]


class Cancel(msgspec.Struct, frozen=True, tag=True):
    id: int


class Forget(msgspec.Struct, frozen=True, tag=True):
    """No prefix that is cached now may be reused from here on."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and the wall stands. ``context`` is in tokens of one sequence."""

    isolation: str
    context: int


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """``why`` is a constant: no wall, or a model that llama.cpp or the template refuses."""

    why: Literal["wall", "model"]


class Logprob(_Silent, frozen=True, array_like=True):
    """A token's bytes and the logarithm of how likely it was; ``top``: the likeliest ones."""

    token: bytes
    value: float
    top: tuple[tuple[bytes, float], ...]


class Said(_Silent, frozen=True, array_like=True):
    """A piece of answer ``index`` of generation ``id``."""

    id: int
    index: int
    text: str
    logprobs: tuple[Logprob, ...] = ()


class Done(msgspec.Struct, frozen=True, tag=True):
    """Tokens of the prompt are counted in ``index`` 0 only; ``processor_s`` in each."""

    id: int
    index: int
    finish: Finish
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    processor_s: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """``why`` is a constant; no text of the prompt ever stands in it."""

    id: int
    why: Literal["context", "template", "grammar", "bias", "native"]


class Step(_Silent, frozen=True, tag=True):
    said: tuple[Said, ...] = ()
    ended: tuple[Done | Failed, ...] = ()


class Vectors(_Silent, frozen=True, tag=True):
    """``vectors``: one for each text, as little-endian float32."""

    id: int
    vectors: tuple[bytes, ...]
    tokens: int
    processor_s: float


ToChild = Load | Generate | Embed | Cancel | Forget
FromChild = Ready | LoadFailed | Step | Vectors

_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError)  # the latter: a text is no UTF-8
_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def pack(message: ToChild | FromChild) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def length(header: bytes) -> int:
    """Return the length of the message that follows ``header``.

    Raises:
        WireError: longer than any message is.
    """
    (count,) = _LENGTH.unpack(header)
    if count > MAX_MESSAGE:
        raise WireError("A message of the engine's child is too long.")
    return int(count)


def read_to_child(body: bytes) -> ToChild:
    """Raises: WireError: not a message of the gateway."""
    try:
        return _to_child.decode(body)
    except _MALFORMED:
        raise WireError("A message to the engine's child is malformed.") from None


def read_from_child(body: bytes) -> FromChild:
    """Raises: WireError: not a message of a child."""
    try:
        return _from_child.decode(body)
    except _MALFORMED:
        raise WireError("A message of the engine's child is malformed.") from None
