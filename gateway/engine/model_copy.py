"""How a model enters a home: looked at, copied, checked again, named. Nothing half stays."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from gateway.domain import Decoding
from gateway.engine.adapters import check_adapter
from gateway.engine.gguf_header import GgufHeader, Kind, read_header
from gateway.engine.model_file import ModelSpec, check_file, template_digest
from gateway.engine.model_list import LINE, Facts, ModelRecord, sync
from gateway.errors import ModelFileError, SettingsError

_PART: Final = ".part"
_MAX_CARD: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class NewModel:
    """What an operator says of a file. ``decoding`` None: what the file declares, else free.

    ``license`` "": what the file says. ``base`` makes it an adapter of that model.
    """

    name: str
    added: str
    decoding: Decoding | None = None
    context: int = 0
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    license: str = ""
    card: Path | None = None
    base: str = ""
    scale: float = 1.0


def copy_model(
    source: Path, target: Path, new: NewModel, base: ModelRecord | None, card: bytes | None
) -> ModelRecord:
    """Copy a file, then check the copy: what is hashed is what will be loaded.

    It gets its name only when it is whole; what an ``add`` left that was killed is swept away.
    """
    if os.path.lexists(target):
        raise SettingsError("A file of this name, which no list names, lies in the models folder.")
    part = target.with_name(f".{new.name}{_PART}")
    kind = Kind.ADAPTER if base else Kind.MODEL
    try:
        for stale in target.parent.glob(f".*{_PART}"):
            stale.unlink()
        with source.open("rb") as original:
            _look(original, kind)  # before gigabytes move
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(part, flags, 0o600), "r+b") as copy:
                header, digest = _fill(copy, original, kind)
        if base is None and new.context > header.context:
            raise SettingsError(f"The model's own context is {header.context} tokens, no more.")
        if base is not None:
            with base.spec.path.open("rb") as file:
                check_adapter(header, read_header(file, base.spec.path.stat().st_size))
        part.rename(target)
        sync(target.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SettingsError("There is no space in the home for the model.") from None
        raise SettingsError("The model file could not be copied into the home.") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return ModelRecord(
        _spec(target, new, base, header, digest), new.added, facts=facts_of(header, card)
    )


def _look(file: BinaryIO, kind: Kind) -> None:
    header = read_header(file, os.fstat(file.fileno()).st_size)
    file.seek(0)
    if header.kind is not kind:
        check_file(file, None, kind)  # says why not


def _fill(copy: BinaryIO, original: BinaryIO, kind: Kind) -> tuple[GgufHeader, str]:
    shutil.copyfileobj(original, copy, 1 << 20)
    copy.flush()
    os.fsync(copy.fileno())
    copy.seek(0)
    return check_file(copy, None, kind)


def _spec(
    target: Path, new: NewModel, base: ModelRecord | None, header: GgufHeader, digest: str
) -> ModelSpec:
    said = header.metadata.get("general.license")
    known = said if isinstance(said, str) and LINE.fullmatch(said) else ""
    return ModelSpec(
        name=new.name,
        path=target,
        sha256=digest,
        decoding=base.spec.decoding if base else new.decoding or _decoding(header),
        context=base.spec.context if base else new.context,
        tags=new.tags,
        zone=base.spec.zone if base else new.zone,
        license=new.license or known,
        base=base.spec.name if base else "",
        base_sha256=base.spec.sha256 if base else "",
        scale=new.scale,
    )


def _decoding(header: GgufHeader) -> Decoding:
    quotes = header.metadata.get("cloister.decoding") == Decoding.EXTRACTIVE.value
    return Decoding.EXTRACTIVE if quotes else Decoding.FREE


def facts_of(header: GgufHeader, card: bytes | None = None) -> Facts:
    """What a list tells of a file."""
    return Facts(
        size_bytes=header.size_bytes,
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        template_sha256=template_digest(header),
        card_sha256="" if card is None else card_digest(card),
    )


# --- cards ----------------------------------------------------------------------------------------


def read_card(path: Path) -> bytes:
    """Raises: ModelFileError: not a text of at most 64 KiB."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CARD + 1)
        text.decode()
    except (OSError, UnicodeDecodeError):
        raise ModelFileError("The card cannot be read as text.") from None
    if len(text) > _MAX_CARD:
        raise ModelFileError("The card is longer than 64 KiB.")
    return text


def write_card(path: Path, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def card_digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
