"""What goes over the pipe: a grammar and what only the child can add to it. Pure.

The gateway writes a grammar without a model's vocabulary. Where a marker (``[TOOL_CALLS]``) is a
control token of the model, it is no text that a grammar could spell: ``control`` is the grammar for
that case, with ``OPEN`` and ``CLOSE`` in the places of the tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

OPEN: Final = "<[open]>"
CLOSE: Final = "<[close]>"
MAX_CHARACTERS: Final = 4 * 1024 * 1024


class Envelope(msgspec.Struct, frozen=True):
    """``lark``, ``control``: grammars in llguidance's dialect of Lark.

    ``markers``: the texts of ``OPEN`` and ``CLOSE``. ``depth``: how deeply the JSON of the answer
    may nest; 0 counts nothing. ``large``: the grammar grows with the prompt (``library.limits``).
    """

    lark: str
    markers: tuple[str, ...] = ()
    control: str = ""
    depth: int = 0
    large: bool = False

    def __repr__(self) -> str:
        return "Envelope()"  # a grammar holds texts of the prompt


class EnvelopeError(Exception):
    """Not an envelope, or a larger one than any the gateway writes."""


_decoder = msgspec.json.Decoder(Envelope)


def write(envelope: Envelope) -> str:
    return msgspec.json.encode(envelope).decode()


def read(text: str) -> Envelope:
    """Raises: EnvelopeError."""
    if len(text) > MAX_CHARACTERS:
        raise EnvelopeError
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise EnvelopeError from None


def resolve(
    envelope: Envelope, control: Callable[[str], int | None]
) -> tuple[str, dict[int, bytes]]:
    """Return the grammar for a vocabulary, and the control tokens in it with their texts."""
    tokens = [control(text) for text in envelope.markers]
    if not tokens or tokens[0] is None:
        return envelope.lark, {}
    lark, shown = envelope.control, {}
    for place, text, token in zip((OPEN, CLOSE), envelope.markers, tokens, strict=False):
        written = msgspec.json.encode(text).decode() if token is None else f"<[{token}]>"
        lark = lark.replace(place, written)
        if token is not None:
            shown[token] = text.encode()
    return lark, shown


def source(lark: str) -> str:
    """The text that llguidance reads."""
    return msgspec.json.encode({"grammars": [{"lark_grammar": lark}]}).decode()
