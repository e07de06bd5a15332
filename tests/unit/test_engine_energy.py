"""The energy of an answer: measured where counters can be read, otherwise stated; never made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.api.metrics import Metrics
from gateway.domain import Usage
from gateway.engine.energy import (
    NOTHING_MEASURED,
    Energy,
    EnergySource,
    Meter,
    Rates,
    Window,
    energy_of,
    micrograms,
)

RANGE = 1_000_000_000  # microjoules, after which the counters here begin anew
STAT = "cpu  {user} 0 {system} 900000 50 1 1 7000 30 0\ncpu0 1 2 3\n"


class Machine:
    """The files of a machine with two packages, one of them with a memory zone inside."""

    def __init__(self, root: Path) -> None:
        self.root, self.stat = root, root / "stat"
        for zone, name in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
        ):
            (root / zone).mkdir()
            (root / zone / "name").write_text(f"{name}\n")
            (root / zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            (root / zone / "energy_uj").write_text("0\n")
        self.busy(0)

    def energy(self, package: int, microjoules: int) -> None:
        (self.root / f"intel-rapl:{package}" / "energy_uj").write_text(f"{microjoules}\n")

    def busy(self, ticks: int) -> None:
        self.stat.write_text(STAT.format(user=ticks // 2, system=ticks - ticks // 2))

    def meter(self) -> Meter:
        return Meter(self.root, self.stat)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_packages_are_added_up_and_shared_by_processor_time(machine: Machine):
    """Zones inside a package and of the whole board are not counted again."""
    meter = machine.meter()
    assert meter.measures
    machine.energy(0, 5_000_000)
    machine.busy(1000)
    start = meter.read()
    machine.energy(0, 25_000_000)
    machine.energy(1, 10_000_000)
    machine.energy(2, 999_000_000)
    machine.busy(1000 + 1000)  # ten seconds at 100 a second
    window = meter.since(start)
    assert window == Window(30.0, 10.0)
    energy = energy_of(Usage(1, 1, processor_s=2.5), window, Rates(6.25))
    assert energy == Energy(7500, EnergySource.RAPL, None)


def test_a_counter_that_began_anew_is_followed(machine: Machine):
    """max_energy_range_uj is where it does."""
    meter = machine.meter()
    machine.energy(0, RANGE - 1_000_000)
    start = meter.read()
    machine.energy(0, 2_000_000)
    assert meter.since(start).joules == 3.0


def test_a_share_is_never_more_than_all(machine: Machine):
    """Two clocks that disagree do not make energy."""
    energy = energy_of(Usage(processor_s=9.0), Window(4.0, 3.0), Rates(6.25))
    assert energy == Energy(4000, EnergySource.RAPL, None)


@pytest.mark.parametrize("broken", ["gone", "no number", "no range"])
def test_what_cannot_be_read_is_not_measured(machine: Machine, broken: str):
    """Root alone may read the counters, mostly: then nothing is measured, and nothing fails."""
    for package in (0, 1):
        zone = machine.root / f"intel-rapl:{package}"
        if broken == "gone":
            (zone / "energy_uj").unlink()
        elif broken == "no number":
            (zone / "energy_uj").write_text("denied")
        else:
            (zone / "max_energy_range_uj").write_text("0")
    meter = machine.meter()
    assert not meter.measures
    assert meter.since(meter.read()) == NOTHING_MEASURED


def test_a_counter_that_goes_away_meanwhile_measures_nothing(machine: Machine):
    """Part of the energy is not told as if it were all."""
    meter = machine.meter()
    start = meter.read()
    (machine.root / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.since(start) == NOTHING_MEASURED


def test_without_counters_a_core_takes_what_the_settings_say():
    """Processor seconds times watts, and the source says so."""
    energy = energy_of(Usage(processor_s=2.0), NOTHING_MEASURED, Rates(6.25, 400.0))
    assert energy == Energy(12_500, EnergySource.MODEL, 1389)
    assert energy.record() == {"millijoules": 12_500, "source": "model", "co2e_ug": 1389}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_unknown_processor_time_is_unknown_energy(seconds: float):
    """A remote model's: not zero, but not told."""
    assert energy_of(Usage(5, 5, processor_s=seconds), Window(4.0, 3.0), Rates(6.25)) is None


def test_co2e_needs_a_factor():
    """A kilowatt-hour at 400 g is 400 g; without a factor there is no figure."""
    assert micrograms(3_600_000_000, 400.0) == 400_000_000
    assert micrograms(3_600_000_000, 0.0) is None


def test_metrics_count_tokens_and_joules_by_source():
    """Labels are closed: what kind of token, and how the energy is known."""
    metrics = Metrics()
    metrics.generated(Usage(100, 20, cached_tokens=60), Energy(2500, EnergySource.MODEL))
    metrics.generated(Usage(1, 2), None)
    text = metrics.render().decode()
    for line in (
        'cloister_tokens_total{kind="prompt"} 101.0',
        'cloister_tokens_total{kind="cached"} 60.0',
        'cloister_tokens_total{kind="completion"} 22.0',
        'cloister_energy_joules_total{source="model"} 2.5',
    ):
        assert line in text
    assert 'source="rapl"' not in text
