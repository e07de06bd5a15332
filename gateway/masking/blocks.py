"""A piece of a file: its source, and the fields in it that are read and may be written again.

What is no field stays byte for byte. A file is one block where it is small; a longer one is a
sequence of them, so that what is held in memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.pii.segments import Segment

BLOCK_CHARS = 100_000
BLOCK_FIELDS = 2_000

Encode = Callable[[str], str]
"""A text as the format writes it in the place of a field."""


def as_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Field:
    """``source[start:end]`` says ``segment.text``; ``markup``: what is written there is escaped."""

    start: int
    end: int
    segment: Segment
    encode: Encode = as_is
    markup: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    source: str = field(repr=False)
    fields: tuple[Field, ...]

    def write(self, texts: Sequence[str]) -> str:
        """The source with ``texts[i]`` in the place of the i-th field; the rest as it was."""
        out, position = [], 0
        for each, text in zip(self.fields, texts, strict=True):
            if text != each.segment.text:
                out += [self.source[position : each.start], each.encode(text)]
                position = each.end
        return "".join(out) + self.source[position:]


def gathered(pieces: Iterable[tuple[str, Sequence[Field]]]) -> Iterator[Block]:
    """Small pieces (rows, lines), with fields relative to each, as blocks of bounded size."""
    sources: list[str] = []
    fields: list[Field] = []
    length = 0
    for source, found in pieces:
        sources.append(source)
        fields += [_moved(each, length) for each in found]
        length += len(source)
        if length >= BLOCK_CHARS or len(fields) >= BLOCK_FIELDS:
            yield Block("".join(sources), tuple(fields))
            sources, fields, length = [], [], 0
    if sources:
        yield Block("".join(sources), tuple(fields))


def _moved(each: Field, by: int) -> Field:
    return Field(each.start + by, each.end + by, each.segment, each.encode, each.markup)
