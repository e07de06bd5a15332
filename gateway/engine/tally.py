"""What each model was used for, by day: a small file of counters under ``CLOISTER_HOME``.

The ledger cannot serve for this: the gateway cannot read what it sealed. The file is coarse, so
that it tells nothing of a person: no more than a day and a model's name, tokens in hundreds, energy
in joules. It is replaced whole, at most once a minute and at the end; a crash loses what was
counted since, and never the file. What does not fill a hundred yet is lost at every end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from gateway.domain import Usage
from gateway.engine.energy import Energy, EnergySource
from gateway.errors import SettingsError

FILE: Final = "usage.json"
SAVE_S: Final = 60.0
_DAYS: Final = 800  # kept; two years and some
_GRAIN: Final = 100  # tokens
_JOULE: Final = 1000  # millijoules


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model on one day. ``measured``: the part of ``millijoules`` that RAPL told."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    millijoules: int = 0
    measured: int = 0

    def __add__(self, other: Total) -> Total:
        return Total(**{f: getattr(self, f) + getattr(other, f) for f in Total.__struct_fields__})

    def coarse(self) -> Total:
        """Round down to what may stand in the file."""
        grains = {"requests": 1, "millijoules": _JOULE, "measured": _JOULE}
        return Total(
            **{
                f: getattr(self, f) // grains.get(f, _GRAIN) * grains.get(f, _GRAIN)
                for f in Total.__struct_fields__
            }
        )


Days = Mapping[str, Mapping[str, Total]]
"""By day (ISO 8601, UTC), then by model."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    days: dict[str, dict[str, Total]]


class Tally:
    """Counts in memory and saves now and then. ``today`` returns the day, ISO 8601, UTC.

    ``add`` never blocks; ``save`` does and belongs into a thread. Neither raises: counting must
    not stop an answer. A file that cannot be read is set aside under another name.
    """

    def __init__(self, path: Path, today: Callable[[], str]) -> None:
        self._path = path
        self._today = today
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._changed = False
        try:
            self._days = {day: dict(models) for day, models in read_tally(path).items()}
        except SettingsError:
            _set_aside(path)
            self._days = {}

    def add(self, model: str, usage: Usage, energy: Energy | None) -> None:
        """Count one answer of a model or adapter."""
        spent = energy.millijoules if energy else 0
        total = Total(
            requests=1,
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            completion=usage.completion_tokens,
            millijoules=spent,
            measured=spent if energy and energy.source is EnergySource.RAPL else 0,
        )
        with self._lock:
            models = self._days.setdefault(self._today(), {})
            models[model] = models.get(model, Total()) + total
            self._changed = True

    def save(self) -> bool:
        """Replace the file if anything was counted since; tell whether it is as counted."""
        with self._saving:
            with self._lock:
                if not self._changed:
                    return True
                for day in sorted(self._days)[:-_DAYS]:
                    del self._days[day]
                days = {
                    day: {name: total.coarse() for name, total in models.items()}
                    for day, models in self._days.items()
                }
                self._changed = False
            try:
                _replace(self._path, msgspec.json.encode(_File(1, days)))
            except OSError:
                self._changed = True
                return False
        return True


def read_tally(path: Path) -> Days:
    """Return what the file holds; nothing if there is none.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        held = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        raise SettingsError(f"{path} cannot be read.") from None
    if held.version != 1:
        raise SettingsError(f"{path} was written by another release.")
    return held.days


def totals(days: Days, since: str) -> dict[str, Total]:
    """Add up by model, from the day ``since`` on."""
    result: dict[str, Total] = {}
    for day, models in sorted(days.items()):
        for name, total in models.items() if day >= since else ():
            result[name] = result.get(name, Total()) + total
    return result


def _replace(path: Path, data: bytes) -> None:
    """Write beside it, make it durable, then take its place: a crash leaves the old or the new."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _set_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(f"{path.name}.unreadable"))
    except OSError:
        return
