"""The header of a GGUF file, read and checked in Python before native code sees the file.

``read_header`` takes any bytes and gives a value or ``ModelFileError``. What it promises of an
accepted file: every count, length and offset stays inside the file, types are known, tensors lie
one behind the other, the architecture is one that the build of llama.cpp runs, the dimensions fit
each other and the tensors, and the fields the engine relies on are there and of the right type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import BinaryIO, Final

from gateway.engine.dimensions import Dimensions, check_tensors, read_dimensions
from gateway.engine.gguf_reader import (
    FLOAT32,
    UINT32,
    Metadata,
    Reader,
    Tensor,
    Value,
    read_metadata,
    read_tensors,
)
from gateway.engine.gguf_types import ENCODERS, FILE_TYPES, KNOWN, RECURRENT
from gateway.errors import ModelFileError

__all__ = ["GgufHeader", "Kind", "Tensor", "Value", "read_header"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_TENSORS = 65_536
_MAX_FIELDS = 65_536
_MAX_CONTEXT = 2**27
_DEFAULT_ALIGNMENT = 32
_GUESSED = 1024  # a bit of general.file_type: LLAMA_FTYPE_GUESSED
_VECTOR_POOLING: Final = frozenset({1, 2, 3})  # mean, cls, last (llama.h, llama_pooling_type)
_RANKS: Final = 4
_TOKENS: Final = "tokenizer.ggml.tokens"


class Kind(StrEnum):
    MODEL = "model"
    ADAPTER = "adapter"
    """Low-rank changes (LoRA) of a model, which it cannot run without."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """``template`` is "" for a model that has none. An adapter has neither words nor context.

    ``alpha`` of an adapter: the scale its training used; llama.cpp multiplies by alpha / rank.
    """

    kind: Kind
    version: int
    size_bytes: int
    architecture: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    metadata: Mapping[str, Value] = field(repr=False)
    context: int = 0
    words: int = 0
    template: str = field(repr=False, default="")
    dimensions: Dimensions = field(default_factory=Dimensions)
    alpha: float = 0.0

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def quantization(self) -> str:
        """What the file calls itself, else the type of most of its bytes."""
        declared = self.metadata.get("general.file_type")
        if isinstance(declared, int) and FILE_TYPES.get(declared & ~_GUESSED, "-") != "-":
            return FILE_TYPES[declared & ~_GUESSED]
        bytes_of: Counter[str] = Counter()
        for tensor in self.tensors.values():
            bytes_of[tensor.type] += tensor.size_bytes
        return bytes_of.most_common(1)[0][0]

    @property
    def embeds(self) -> bool:
        """Whether it gives vectors for texts, and no texts."""
        pooling = self.metadata.get(f"{self.architecture}.pooling_type")
        return self.architecture in ENCODERS or pooling in _VECTOR_POOLING

    @property
    def recurrent(self) -> bool:
        """Whether what it remembers cannot be cut back: no part of a prefix can be reused."""
        return self.architecture in RECURRENT


def read_header(file: BinaryIO, size: int) -> GgufHeader:
    """Read and check the header at the start of ``file``, which is ``size`` bytes long.

    Raises:
        ModelFileError: the bytes are not a whole, sound GGUF model or adapter that can run here.
    """
    reader = Reader(file, size)
    if reader.take(4) != _MAGIC:
        raise ModelFileError("The model file is not a GGUF file.")
    version = reader.number("<I")
    if version not in _VERSIONS:
        raise ModelFileError("The model file has an unknown GGUF version or byte order.")
    count, fields = reader.number("<Q"), reader.number("<Q")
    if not 0 < count <= _MAX_TENSORS or fields > _MAX_FIELDS:
        raise ModelFileError("The model file has an impossible number of tensors or fields.")
    metadata = read_metadata(reader, fields)
    kind, architecture = _identity(metadata)
    tensors = read_tensors(reader, count, _alignment(metadata))
    known = metadata.values
    if kind is Kind.ADAPTER:
        alpha = _alpha(metadata)
        return GgufHeader(kind, version, size, architecture, tensors, known, alpha=alpha)
    context, template = known.get(f"{architecture}.context_length"), _template(metadata)
    words = metadata.counts.get(_TOKENS, 0)
    if type(context) is not int or not 0 < context <= _MAX_CONTEXT or not words:
        raise ModelFileError("The model file lacks fields that a language model has.")
    dimensions = read_dimensions(architecture, known)
    check_tensors(architecture, dimensions, words, tensors)
    return GgufHeader(
        *(kind, version, size, architecture, tensors, known),
        *(context, words, template, dimensions),
    )


def _identity(metadata: Metadata) -> tuple[Kind, str]:
    """Return what the file is and of which architecture.

    Raises:
        ModelFileError: something else than a language model, a part of one, or one that llama.cpp
            as it is built here does not run.
    """
    values = metadata.values
    kind, architecture = values.get("general.type", "model"), values.get("general.architecture")
    if kind not in (Kind.MODEL, Kind.ADAPTER):
        raise ModelFileError("The model file is neither a language model nor an adapter.")
    if values.get("split.count", 1) not in (0, 1):
        raise ModelFileError("The model is split over several files: merge them into one first.")
    if not isinstance(architecture, str) or architecture not in KNOWN:
        raise ModelFileError("The model file has an architecture that does not run here.")
    if values.get(f"{architecture}.pooling_type") == _RANKS:
        raise ModelFileError("The model ranks texts, which this gateway has no use for.")
    return Kind(str(kind)), architecture


def _alignment(metadata: Metadata) -> int:
    key = "general.alignment"
    alignment = metadata.values.get(key, _DEFAULT_ALIGNMENT)
    if (
        metadata.kinds.get(key, UINT32) != UINT32
        or not isinstance(alignment, int)
        or alignment < 1
        or alignment & (alignment - 1)
    ):
        raise ModelFileError("The model file has an impossible alignment.")
    return alignment


def _template(metadata: Metadata) -> str:
    template = metadata.values.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise ModelFileError("The model file has a chat template that is no text.")
    return template


def _alpha(metadata: Metadata) -> float:
    """Raises: ModelFileError: no LoRA, or one of a kind that native code would not survive."""
    key = "adapter.lora.alpha"
    alpha = metadata.values.get(key)
    if metadata.values.get("adapter.type") != "lora" or "adapter.alora.invocation_tokens" in (
        metadata.kinds
    ):
        raise ModelFileError("The adapter is not a plain LoRA adapter.")
    if metadata.kinds.get(key) != FLOAT32 or not isinstance(alpha, float) or not 0 < alpha < inf:
        raise ModelFileError("The adapter does not say its alpha.")
    return alpha
