"""A model file: what is recorded of it, and the check it must pass before it is loaded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from gateway.domain import Decoding, ModelCard
from gateway.engine import extractive
from gateway.engine.gguf_header import GgufHeader, Kind, read_header
from gateway.errors import ModelFileError

_DEFAULT_CONTEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model file and what is recorded of it. ``context`` 0: the model's own, at most 4096.

    An adapter names its ``base``; ``base_sha256`` is of the base it was added for, and ``scale``
    is how strongly it is applied (1: as it was trained). It has nothing of its own otherwise:
    decoding, context and zone are its base's.
    """

    name: str
    path: Path
    sha256: str
    decoding: Decoding = Decoding.FREE
    context: int = 0
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    license: str = ""
    base: str = ""
    base_sha256: str = ""
    scale: float = 1.0

    @property
    def kind(self) -> Kind:
        return Kind.ADAPTER if self.base else Kind.MODEL


def check_file(
    file: BinaryIO, sha256: str | None, kind: Kind = Kind.MODEL
) -> tuple[GgufHeader, str]:
    """Check header and digest of an open model file; return the header and the SHA-256 in hex.

    Blocks; leaves the file at its start. ``sha256`` None: any digest.

    Raises:
        ModelFileError: not a regular file, corrupt, truncated, of another kind, or not the
            recorded one.
    """
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError("The model file is not a regular file.")
        header = read_header(file, status.st_size)
        if header.kind is not kind:
            raise ModelFileError(_WRONG_KIND[kind])
        file.seek(0)
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
        file.seek(0)
    except OSError:
        raise ModelFileError("The model file cannot be read.") from None
    digest = sha.hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ModelFileError("The model file is not the one whose digest was recorded.")
    return header, digest


_WRONG_KIND: Final = {
    Kind.MODEL: "The file is an adapter: add it with --adapter-of BASE.",
    Kind.ADAPTER: "The file is a whole model and no adapter.",
}


def template_digest(header: GgufHeader) -> str:
    return hashlib.sha256(header.template.encode()).hexdigest() if header.template else ""


SIZE_CLASSES: Final = frozenset({"tiny", "small", "medium", "large"})


def size_class(parameters: int) -> str:
    """Return the tag that tells how large a model is: a fact of the file, which nobody types in."""
    for name, below in (("tiny", 500_000_000), ("small", 4 * 10**9), ("medium", 15 * 10**9)):
        if parameters < below:
            return name
    return "large"


def context_of(spec: ModelSpec, header: GgufHeader) -> int:
    """Tokens of one conversation, prompt and answer together."""
    return min(spec.context or _DEFAULT_CONTEXT, header.context)


def card(spec: ModelSpec, header: GgufHeader, digest: str) -> ModelCard:
    return ModelCard(
        name=spec.name,
        digest=digest,
        backend="llama",
        size_bytes=header.size_bytes,
        context=context_of(spec, header),
        decoding=spec.decoding,
        tags=spec.tags | {size_class(header.parameters)},
        zone=spec.zone,
        template_digest=template_digest(header),
        license=spec.license,
        quantization=header.quantization,
        writes=not header.embeds,
    )


def adapter_card(spec: ModelSpec, size_bytes: int, base: ModelCard) -> ModelCard:
    """The card of an adapter on its base: what the base can do, under the adapter's name.

    Its tags are its own, the size excepted: a policy that asks for a tag means the adapted model.
    """
    return ModelCard(
        name=spec.name,
        digest=spec.sha256,
        backend=base.backend,
        size_bytes=base.size_bytes + size_bytes,
        context=base.context,
        decoding=base.decoding,
        tags=spec.tags | (base.tags & SIZE_CLASSES),
        zone=base.zone,
        template_digest=base.template_digest,
        license=spec.license,
        quantization=base.quantization,
        base=base.name,
        base_digest=base.digest,
        writes=base.writes,
    )


def declared(metadata: Mapping[str, object], key: str, default: str) -> str:
    value = metadata.get(f"cloister.{key}")
    return value if isinstance(value, str) else default


def label_form(metadata: Mapping[str, object]) -> tuple[str, str, str, int] | None:
    """Return the fields of ``extractive.LabelForm`` that a file declares, None when it has none."""
    label, labels = declared(metadata, "label", ""), metadata.get("cloister.labels")
    if not label or not isinstance(labels, int):
        return None
    abstain = declared(metadata, "abstain", "")
    return label, abstain, declared(metadata, "line", extractive.LINE), labels
