"""The models of a home: ``CLOISTER_HOME/models/models.toml`` and the files beside it.

A file enters once, through ``add``: checked, copied and hashed. From then on the recorded SHA-256
decides, at every load. The bundled model is recorded the same way, in ``embedded/card.toml``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from gateway.domain import Decoding
from gateway.engine.gguf_header import GgufHeader, read_header
from gateway.engine.model_file import ModelSpec, check_file
from gateway.errors import ModelFileError, SettingsError, UnknownModelError

FOLDER: Final = "models"
LIST_FILE: Final = "models.toml"
RESERVED: Final = frozenset({"auto"})
_EMBEDDED: Final = Path(__file__).parent / "embedded"
_CARD: Final = "card.toml"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LICENSE: Final = re.compile(r"[ -~]{0,200}")
_KEYS: Final = frozenset(
    {"name", "file", "sha256", "decoding", "context", "tags", "zone", "license", "added"}
)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A line of the list. ``added`` is the caller's date, as text; ``bundled`` files are ours."""

    spec: ModelSpec
    added: str = ""
    bundled: bool = False


@dataclass(frozen=True, slots=True)
class NewModel:
    """What an operator says of a file. ``decoding`` None: what the file declares, else free."""

    name: str
    added: str
    decoding: Decoding | None = None
    context: int = 0
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    license: str = ""


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
    """Return the models of ``home``, the bundled one first.

    Raises:
        SettingsError: the list is unreadable, holds an unknown key, a name twice or a bad value.
    """
    listed = _read_list(home)
    records = (bundled_model(), *listed) if bundled else listed
    names = [record.spec.name for record in records]
    if len(set(names)) != len(names):
        raise SettingsError("Two models have the same name.")
    return records


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
    """Check header and SHA-256 of a model's file, as loading does.

    Raises:
        UnknownModelError: no such model.
        ModelFileError: the file is missing, corrupt, or not the recorded one.
    """
    record = find_model(home, name)
    try:
        with record.spec.path.open("rb") as file:
            check_file(file, record.spec.sha256)
    except OSError:
        raise ModelFileError("The model file cannot be read.") from None
    return record


def add_model(home: Path, path: Path, new: NewModel) -> ModelRecord:
    """Check a GGUF file, copy it into ``home`` and record it. All or nothing.

    Raises:
        ModelFileError: not a sound GGUF file.
        SettingsError: a bad or taken name, or the home cannot be written.
    """
    if not _NAME.fullmatch(new.name) or new.name in RESERVED or new.name.endswith(".gguf"):
        raise SettingsError("A model's name is letters, digits, dots, dashes and underscores.")
    folder = home / FOLDER
    with _locked(folder):
        if new.name in {record.spec.name for record in list_models(home)}:
            raise SettingsError("A model of this name exists.")
        spec = _copy(path, folder / f"{new.name}.gguf", new)
        record = ModelRecord(spec, added=new.added)
        try:
            _write_list(folder, (*_read_list(home), record))
        except SettingsError:
            spec.path.unlink(missing_ok=True)
            raise
    return record


def remove_model(home: Path, name: str) -> None:
    """Forget a model and delete its file.

    Raises:
        UnknownModelError: no such model.
        SettingsError: it is the bundled one, or the home cannot be written.
    """
    folder = home / FOLDER
    with _locked(folder):
        record = find_model(home, name)
        if record.bundled:
            raise SettingsError(
                "The bundled model stays: to offer it no more, set engine.bundled_model = false."
            )
        _write_list(folder, tuple(one for one in _read_list(home) if one.spec.name != name))
        with contextlib.suppress(OSError):
            record.spec.path.unlink(missing_ok=True)


def _copy(source: Path, target: Path, new: NewModel) -> ModelSpec:
    """Copy a file, then check the copy: what is hashed is what will be loaded."""
    try:
        with source.open("rb") as original:
            read_header(original, os.fstat(original.fileno()).st_size)  # before gigabytes move
            original.seek(0)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                header, digest = _fill(descriptor, original)
            except (OSError, ModelFileError):
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise SettingsError("A file of this name lies in the models folder already.") from None
    except OSError:
        raise SettingsError("The model file could not be copied into the home.") from None
    declared = header.metadata.get("cloister.decoding")
    quotes = declared == Decoding.EXTRACTIVE.value
    return ModelSpec(
        name=new.name,
        path=target,
        sha256=digest,
        decoding=new.decoding or (Decoding.EXTRACTIVE if quotes else Decoding.FREE),
        context=new.context,
        tags=new.tags,
        zone=new.zone,
        license=new.license,
    )


def _fill(descriptor: int, original: BinaryIO) -> tuple[GgufHeader, str]:
    with os.fdopen(descriptor, "r+b") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
        copy.seek(0)
        return check_file(copy, None)


# --- the list -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two commands at once must not lose each other's line."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise SettingsError("The models folder of the home cannot be used.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_list(home: Path) -> tuple[ModelRecord, ...]:
    path = home / FOLDER / LIST_FILE
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        raise SettingsError(f"{path} cannot be read as TOML.") from None
    models = entries.pop("model", [])
    if entries or not isinstance(models, list):
        raise SettingsError(f"{path}: only [[model]] tables belong here.")
    return tuple(_record(path, entry) for entry in models)


def _record(path: Path, entry: Any) -> ModelRecord:
    try:
        file, digest, context = entry["file"], entry["sha256"], entry.get("context", 0)
        tags, zone = entry.get("tags", []), entry.get("zone", "local")
        checks: tuple[object, ...] = (
            set(entry) <= _KEYS,
            _NAME.fullmatch(entry["name"]) and entry["name"] not in RESERVED,
            _NAME.fullmatch(file),  # a plain name: nothing outside the folder
            _DIGEST.fullmatch(digest),
            type(context) is int and context >= 0,
            isinstance(tags, list) and all(isinstance(tag, str) for tag in tags),
            isinstance(zone, str) and zone,
        )
        spec = ModelSpec(
            name=entry["name"],
            path=path.parent / file,
            sha256=digest,
            decoding=Decoding(entry["decoding"]),
            context=context,
            tags=frozenset(tags),
            zone=zone,
            license=str(entry.get("license", "")),
        )
    except (KeyError, TypeError, ValueError):
        checks = (False,)
    if not all(checks):
        raise SettingsError(f"{path}: a model's entry is not valid.") from None
    return ModelRecord(spec, added=str(entry.get("added", "")))


def _write_list(folder: Path, records: Sequence[ModelRecord]) -> None:
    """Replace the list at once: a crash leaves the old one or the new one."""
    text = "# Written by `gateway models`. The digest decides at every load.\n" + "".join(
        f"\n[[model]]\n{_entry(record)}" for record in records
    )
    path, draft = folder / LIST_FILE, folder / f".{LIST_FILE}.new"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(folder)
    except OSError:
        raise SettingsError("The list of models could not be written.") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(record: ModelRecord) -> str:
    spec = record.spec
    if not _LICENSE.fullmatch(spec.license):
        raise SettingsError("A licence is one line of printable ASCII.")
    values = {
        "name": spec.name,
        "file": spec.path.name,
        "sha256": spec.sha256,
        "decoding": spec.decoding.value,
        "context": spec.context,
        "tags": sorted(spec.tags),
        "zone": spec.zone,
        "license": spec.license,
        "added": record.added,
    }
    # JSON's strings, numbers and flat lists are TOML too (DEL excepted, which no field may hold).
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
