"""The embeddings of OpenAI's API as a client reads them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from gateway.engine.port import Embedded
from gateway.engine.remote.answers import ToldUsage
from gateway.engine.remote.sse import StreamError


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: ToldUsage | None = None


def read_embeddings(body: bytes, count: int) -> Embedded:
    """Read the vectors of ``count`` texts, in the order of the texts, each made 1 long.

    Raises:
        StreamError: another number of vectors, of several lengths, not finite, or all zero.
    """
    try:
        told = msgspec.json.decode(body, type=_Vectors)
    except msgspec.DecodeError:
        raise StreamError from None
    by_index = {vector.index: vector.embedding for vector in told.data}
    if len(told.data) != count or by_index.keys() != set(range(count)):
        raise StreamError
    vectors = [by_index[index] for index in range(count)]
    if len({len(vector) for vector in vectors}) > 1:
        raise StreamError
    return Embedded([_unit(vector) for vector in vectors], (told.usage or ToldUsage()).value())


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    if not math.isfinite(length) or length == 0:
        raise StreamError
    return [number / length for number in vector]
