"""The list of a home's models, ``CLOISTER_HOME/models/models.toml``: read, checked, replaced.

Entries grow at the end; a key that an older release did not write may be missing. Whoever changes
the list holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.domain import Decoding
from gateway.engine.model_file import ModelSpec
from gateway.errors import SettingsError

FOLDER: Final = "models"
LIST_FILE: Final = "models.toml"
RESERVED: Final = frozenset({"auto"})
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NO_DIGEST: Final = re.compile(r"[0-9a-f]{64}|")
LINE: Final = re.compile(r"[ -~]{0,200}")
MAX_SCALE: Final = 100.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read from a file when it was added; what an older list does not say is "" or 0."""

    size_bytes: int = 0
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""
    template_sha256: str = ""
    card_sha256: str = ""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A line of the list. ``added`` is the caller's date, as text; ``bundled`` files are ours."""

    spec: ModelSpec
    added: str = ""
    bundled: bool = False
    facts: Facts = Facts()

    @property
    def card(self) -> Path:
        """Where the model's card lies, if ``facts.card_sha256`` says that there is one."""
        return self.spec.path.with_name(f"{self.spec.name}.card.txt")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
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


def read_list(home: Path) -> tuple[ModelRecord, ...]:
    """Return the models that were added to ``home``.

    Raises:
        SettingsError: unreadable, an unknown key, a bad value, an adapter without its base.
    """
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
        known = {**_DEFAULTS, **entry}
        sound = (
            known.keys() == _CHECKS.keys()
            and all(_CHECKS[key](value) for key, value in known.items())
            and bool(known["base"]) == bool(known["base_sha256"])
        )
    except (TypeError, ValueError, KeyError):
        sound = False
    if not sound:
        raise SettingsError(f"{path}: a model's entry is not valid.") from None
    spec = ModelSpec(
        name=known["name"],
        path=path.parent / known["file"],
        sha256=known["sha256"],
        decoding=Decoding(known["decoding"]),
        context=known["context"],
        tags=frozenset(known["tags"]),
        zone=known["zone"],
        license=known["license"],
        base=known["base"],
        base_sha256=known["base_sha256"],
        scale=float(known["scale"]),
    )
    facts = Facts(**{key: known[key] for key in Facts.__dataclass_fields__})
    return ModelRecord(spec, added=str(known["added"]), facts=facts)


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _text(value: object) -> bool:
    return isinstance(value, str) and LINE.fullmatch(value) is not None


_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    "name": lambda value: NAME.fullmatch(value) and value not in RESERVED,
    "file": NAME.fullmatch,  # a plain name: nothing outside the folder
    "sha256": _DIGEST.fullmatch,
    "decoding": Decoding,
    "context": _count,
    "tags": lambda value: isinstance(value, list) and all(isinstance(tag, str) for tag in value),
    "zone": lambda value: isinstance(value, str) and value,
    "license": lambda value: isinstance(value, str),
    "added": lambda value: str(value) or True,
    "size_bytes": _count,
    "architecture": _text,
    "parameters": _count,
    "quantization": _text,
    "template_sha256": _NO_DIGEST.fullmatch,
    "card_sha256": _NO_DIGEST.fullmatch,
    "base": lambda value: value == "" or NAME.fullmatch(value),
    "base_sha256": _NO_DIGEST.fullmatch,
    "scale": lambda value: type(value) in (int, float) and 0 < value <= MAX_SCALE,
}
_DEFAULTS: Final[Mapping[str, object]] = {
    "context": 0,
    "tags": [],
    "zone": "local",
    "license": "",
    "added": "",
    "size_bytes": 0,
    "architecture": "",
    "parameters": 0,
    "quantization": "",
    "template_sha256": "",
    "card_sha256": "",
    "base": "",
    "base_sha256": "",
    "scale": 1.0,
}


def write_list(folder: Path, records: Sequence[ModelRecord]) -> None:
    """Replace the list at once: a crash leaves the old one or the new one.

    Raises:
        SettingsError: it cannot be written, or a licence is more than a line.
    """
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
        sync(folder)
    except OSError:
        raise SettingsError("The list of models could not be written.") from None


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(record: ModelRecord) -> str:
    spec, facts = record.spec, record.facts
    if not LINE.fullmatch(spec.license):
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
        **{key: getattr(facts, key) for key in Facts.__dataclass_fields__},
    }
    if spec.base:
        values |= {"base": spec.base, "base_sha256": spec.base_sha256, "scale": spec.scale}
    # JSON's strings, numbers and flat lists are TOML too (DEL excepted, which no field may hold).
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
