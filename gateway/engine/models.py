"""The models of a home: the list and the files beside it.

A file enters once, through ``add``: checked, copied and hashed. From then on the recorded SHA-256
decides, at every load. The bundled model is recorded the same way, in ``embedded/card.toml``.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.domain import Decoding
from gateway.engine.model_copy import (
    NewModel,
    card_digest,
    copy_model,
    read_card,
    write_card,
)
from gateway.engine.model_file import SIZE_CLASSES, ModelSpec, check_file, template_digest
from gateway.engine.model_list import (
    FOLDER,
    MAX_SCALE,
    NAME,
    RESERVED,
    ModelRecord,
    locked,
    read_list,
    write_list,
)
from gateway.errors import ModelFileError, SettingsError, UnknownModelError

__all__ = [
    "FOLDER",
    "ModelRecord",
    "NewModel",
    "add_model",
    "bundled_model",
    "check_bases",
    "find_model",
    "list_models",
    "remove_model",
    "verify_model",
]

_EMBEDDED: Final = Path(__file__).parent / "embedded"
_CARD: Final = "card.toml"
_TAG: Final = re.compile(r"[a-z0-9][a-z0-9._:-]{0,63}")


def bundled_model() -> ModelRecord:
    """Return the record of the model in the box; its file is checked when it is loaded.

    Raises:
        ModelFileError: the card is missing or not readable as one.
    """
    try:
        card = tomllib.loads((_EMBEDDED / _CARD).read_text("utf-8"))
        spec = ModelSpec(
            name=str(card["name"]),
            path=_EMBEDDED / str(card["file"]),
            sha256=str(card["sha256"]),
            decoding=Decoding(card["decoding"]),
            context=int(card["context"]),
            tags=frozenset(map(str, card.get("tags", ()))),
            license=str(card["license"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelFileError("The card of the bundled model is not readable.") from None
    return ModelRecord(spec, bundled=True)


def list_models(home: Path, *, bundled: bool = True) -> tuple[ModelRecord, ...]:
    """Return the models and adapters of ``home``, the bundled one first.

    Raises:
        SettingsError: the list is unreadable, holds an unknown key, a name twice or a bad value.
    """
    listed = read_list(home)
    records = (bundled_model(), *listed) if bundled else listed
    if len({record.spec.name for record in records}) != len(records):
        raise SettingsError("Two models have the same name.")
    return records


def check_bases(records: Sequence[ModelRecord]) -> None:
    """Refuse an adapter whose base is not among ``records`` or not the one it was added for.

    Raises:
        SettingsError: naming the adapter.
    """
    named = {record.spec.name: record.spec for record in records}
    for spec in named.values():
        base = named.get(spec.base)
        if spec.base and (base is None or base.base or base.sha256 != spec.base_sha256):
            raise SettingsError(f"{spec.name}: its base is not there, or not what it was made for.")


def find_model(home: Path, name: str) -> ModelRecord:
    """Return the record of one model.

    Raises:
        UnknownModelError: no such model.
    """
    for record in list_models(home):
        if record.spec.name == name:
            return record
    raise UnknownModelError


def verify_model(home: Path, name: str) -> ModelRecord:
    """Check header and SHA-256 of a model's file, as loading does, its chat template and its card.

    Raises:
        UnknownModelError: no such model.
        ModelFileError: the file or card is missing, corrupt, or not the recorded one.
    """
    record = find_model(home, name)
    facts = record.facts
    if record.spec.base:
        check_bases([find_model(home, record.spec.base), record])
    try:
        with record.spec.path.open("rb") as file:
            header, _ = check_file(file, record.spec.sha256, record.spec.kind)
    except OSError:
        raise ModelFileError("The model file cannot be read.") from None
    if facts.template_sha256 and template_digest(header) != facts.template_sha256:
        raise ModelFileError("The chat template is not the one that was recorded.")
    if facts.card_sha256 and card_digest(read_card(record.card)) != facts.card_sha256:
        raise ModelFileError("The model's card is not the one that was recorded.")
    return record


def _check_new(new: NewModel) -> None:
    """Raises: SettingsError: something that no model can have, or this one cannot."""
    if new.name in RESERVED:
        raise SettingsError("This name is reserved: it leaves the choice to the gateway.")
    if not NAME.fullmatch(new.name) or new.name.endswith(".gguf"):
        raise SettingsError("A model's name is letters, digits, dots, dashes and underscores.")
    if new.base and (new.context or new.decoding is not None):
        raise SettingsError("An adapter has the context and the decoding of its base.")
    if not new.base and new.scale != 1:
        raise SettingsError("A scale is an adapter's: name its base, too.")
    if not all(map(_TAG.fullmatch, new.tags)) or new.tags & SIZE_CLASSES:
        raise SettingsError(
            "A tag is small letters, digits, dots, colons, dashes and underscores, and no size: "
            f"{', '.join(sorted(SIZE_CLASSES))} are told from the file."
        )
    if not 0 < new.scale <= MAX_SCALE:
        raise SettingsError(f"An adapter's scale is above 0 and at most {MAX_SCALE:g}.")


def add_model(home: Path, path: Path, new: NewModel) -> ModelRecord:
    """Check a GGUF file, copy it into ``home`` and record it. All or nothing.

    Raises:
        ModelFileError: not a sound GGUF file, or an adapter that does not fit its base.
        UnknownModelError: no model has the base's name.
        SettingsError: a bad or taken name, a bad tag, or the home cannot be written.
    """
    _check_new(new)
    folder = home / FOLDER
    with locked(folder):
        records = list_models(home)
        if new.name in {record.spec.name for record in records}:
            raise SettingsError("A model of this name exists.")
        base = find_model(home, new.base) if new.base else None
        card = read_card(new.card) if new.card else None
        record = copy_model(path, folder / f"{new.name}.gguf", new, base, card)
        try:
            if card is not None:
                write_card(record.card, card)
            write_list(folder, (*read_list(home), record))
        except (OSError, SettingsError) as error:
            record.spec.path.unlink(missing_ok=True)
            record.card.unlink(missing_ok=True)
            if isinstance(error, SettingsError):
                raise
            raise SettingsError("The model's card could not be copied into the home.") from None
    return record


def remove_model(home: Path, name: str) -> None:
    """Forget a model and delete its file and card.

    Raises:
        UnknownModelError: no such model.
        SettingsError: it is the bundled one, it has adapters, or the home cannot be written.
    """
    folder = home / FOLDER
    with locked(folder):
        record = find_model(home, name)
        if record.bundled:
            raise SettingsError(
                "The bundled model stays: to offer it no more, set engine.bundled_model = false."
            )
        others = tuple(one for one in read_list(home) if one.spec.name != name)
        if adapters := [one.spec.name for one in others if one.spec.base == name]:
            raise SettingsError(
                f"The model has adapters; remove them first: {', '.join(adapters)}."
            )
        write_list(folder, others)
        for path in (record.spec.path, record.card):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
