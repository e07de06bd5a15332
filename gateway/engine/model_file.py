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
from gateway.engine.gguf_header import GgufHeader, read_header
from gateway.errors import ModelFileError

_DEFAULT_CONTEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model file and what is recorded of it. ``context`` 0: the model's own, at most 4096."""

    name: str
    path: Path
    sha256: str
    decoding: Decoding = Decoding.FREE
    context: int = 0
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    license: str = ""


def check_file(file: BinaryIO, sha256: str | None) -> tuple[GgufHeader, str]:
    """Check header and digest of an open model file; return the header and the SHA-256 in hex.

    Blocks; leaves the file at its start. ``sha256`` None: any digest.

    Raises:
        ModelFileError: not a regular file, corrupt, truncated, or not the recorded one.
    """
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError("The model file is not a regular file.")
        header = read_header(file, status.st_size)
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


def card(spec: ModelSpec, header: GgufHeader, digest: str) -> ModelCard:
    template = hashlib.sha256(header.template.encode()).hexdigest() if header.template else ""
    return ModelCard(
        name=spec.name,
        digest=digest,
        backend="llama",
        size_bytes=header.size_bytes,
        context=min(spec.context or _DEFAULT_CONTEXT, header.context),
        decoding=spec.decoding,
        tags=spec.tags,
        zone=spec.zone,
        template_digest=template,
        license=spec.license,
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
