"""What the gateway and an engine's child say to each other, and how.

Each message is a msgpack map behind its length (four bytes, big end first) on a pipe. The child
learns masked prompts and sampling parameters, nothing else: no key, no mapping, no path.
Every ``Generate`` is answered by any number of ``Progress`` and ``Piece`` and then by exactly one
``Done`` or ``Failed`` with its id; a cancelled one ends so too.
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


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first message: how to run the model whose descriptor the child was given.

    ``form`` holds the fields of ``extractive.LabelForm`` for a model that chooses by label.
    """

    context: int
    threads: int
    form: tuple[str, str, str, int] | None
    abstention: str
    separator: str


class Turn(msgspec.Struct, frozen=True):
    role: str
    content: str
    name: str | None = None
    calls: tuple[tuple[str, str, str], ...] = ()  # id, name, arguments
    call_id: str | None = None


class Generate(msgspec.Struct, frozen=True, tag=True):
    """``temperature`` 0 is greedy; a ``seed`` of None is drawn by the child."""

    id: int
    turns: tuple[Turn, ...]
    extractive: bool
    stop: tuple[str, ...]
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None


class Cancel(msgspec.Struct, frozen=True, tag=True):
    id: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and the wall stands. ``context`` is in tokens."""

    isolation: str
    context: int


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """``why`` is a constant: no wall, or a model that llama.cpp or the template refuses."""

    why: Literal["wall", "model"]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The child lives: some of a long prompt has been read."""

    id: int


class Piece(msgspec.Struct, frozen=True, tag=True):
    id: int
    text: str


class Done(msgspec.Struct, frozen=True, tag=True):
    id: int
    finish: Finish
    prompt_tokens: int
    completion_tokens: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """``why`` is a constant; no text of the prompt ever stands in it."""

    id: int
    why: Literal["context", "template"]


ToChild = Load | Generate | Cancel
FromChild = Ready | LoadFailed | Progress | Piece | Done | Failed

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
    except msgspec.DecodeError:
        raise WireError("A message to the engine's child is malformed.") from None


def read_from_child(body: bytes) -> FromChild:
    """Raises: WireError: not a message of a child."""
    try:
        return _from_child.decode(body)
    except msgspec.DecodeError:
        raise WireError("A message of the engine's child is malformed.") from None
