"""The energy of an answer: measured where the processor tells, otherwise a stated model.

Measured: the counters of RAPL (Linux powercap) over the time of the request, times the request's
share of all processor time that the machine spent then. Idle power is shared in the same way, so
that what is told of all requests is never more than the packages took. Memory outside the package,
disks and fans are left out. Otherwise: processor seconds times the watts of a core from settings.

Source: Linux, Documentation/power/powercap/powercap.rst (zones, energy_uj, max_energy_range_uj).
``energy_uj`` is root's alone since Linux 5.10 (CVE-2020-8694): not to be allowed to is normal.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.domain import Usage

_POWERCAP: Final = Path("/sys/class/powercap")
_STAT: Final = Path("/proc/stat")
_NOT_BUSY: Final = frozenset({3, 4, 7, 8, 9})
"""Of /proc/stat: idle, iowait, what other machines took; guests count as user already."""

_MICROJOULES: Final = 1e6
_JOULES_PER_KWH: Final = 3.6e6
_MAX_SHARE: Final = 1.0


class EnergySource(StrEnum):
    RAPL = "rapl"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Energy:
    """Whole numbers, as the ledger's canonical JSON wants them. ``co2e_ug`` None: not told."""

    millijoules: int
    source: EnergySource
    co2e_ug: int | None = None

    def record(self) -> dict[str, object]:
        """The energy as it stands in a record."""
        return {
            "millijoules": self.millijoules,
            "source": self.source.value,
            "co2e_ug": self.co2e_ug,
        }


@dataclass(frozen=True, slots=True)
class Rates:
    """What settings say. ``grid_gco2e_per_kwh`` 0: CO2e is not told."""

    watts_per_core: float
    grid_gco2e_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment: microjoules of each package, and busy processor seconds."""

    packages: Mapping[str, int] = field(default_factory=dict)
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """What the machine spent from one reading to another. ``joules`` None: nothing was measured."""

    joules: float | None = None
    busy_s: float = 0.0


NOTHING_MEASURED: Final = Window()


def energy_of(usage: Usage, window: Window, rates: Rates) -> Energy | None:
    """Return the energy of one answer; None where its processor time is not known.

    Pure. ``window``: from before the model was called until its answer was complete.
    """
    seconds = usage.processor_s
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    if window.joules is not None and window.busy_s > 0:
        share = min(seconds / window.busy_s, _MAX_SHARE)
        millijoules, source = round(window.joules * share * 1000), EnergySource.RAPL
    else:
        millijoules = round(seconds * rates.watts_per_core * 1000)
        source = EnergySource.MODEL
    return Energy(millijoules, source, micrograms(millijoules, rates.grid_gco2e_per_kwh))


def micrograms(millijoules: int, grid_gco2e_per_kwh: float) -> int | None:
    """Return the CO2e of some energy in micrograms, None where no factor is given."""
    if not grid_gco2e_per_kwh:
        return None
    return round(millijoules / 1000 / _JOULES_PER_KWH * grid_gco2e_per_kwh * 1e6)


class Meter:
    """Reads the counters of this machine. Which packages there are is found out once."""

    def __init__(self, powercap: Path = _POWERCAP, stat: Path = _STAT) -> None:
        self._stat = stat
        self._ranges = _packages(powercap)
        self._tick = os.sysconf("SC_CLK_TCK")

    @property
    def measures(self) -> bool:
        """Whether there is a package whose counter may be read."""
        return bool(self._ranges)

    def read(self) -> Reading:
        """Read all counters now; a few file reads, microseconds each."""
        packages = {}
        for zone in self._ranges:
            count = _number(zone / "energy_uj")
            if count is not None:
                packages[str(zone)] = count
        return Reading(packages, self._busy())

    def since(self, start: Reading) -> Window:
        """Return what was spent since ``start``; a counter may have begun anew once."""
        if not self.measures:
            return NOTHING_MEASURED
        now = self.read()
        spent = 0
        for zone, limit in self._ranges.items():
            before, after = start.packages.get(str(zone)), now.packages.get(str(zone))
            if before is None or after is None:
                return NOTHING_MEASURED
            spent += after - before if after >= before else limit - before + after
        return Window(spent / _MICROJOULES, now.busy_s - start.busy_s)

    def _busy(self) -> float:
        try:
            fields = self._stat.read_text("ascii").split("\n", 1)[0].split()[1:]
            ticks = sum(int(f) for place, f in enumerate(fields) if place not in _NOT_BUSY)
        except (OSError, ValueError, IndexError):
            return 0.0
        return ticks / self._tick


def _packages(powercap: Path) -> dict[Path, int]:
    """Return the zones of whole packages that may be read, and where their counters begin anew."""
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        limit = _number(zone / "max_energy_range_uj")
        if name.startswith("package-") and limit and _number(zone / "energy_uj") is not None:
            found[zone] = limit
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
