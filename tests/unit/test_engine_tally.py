"""The counters of models: coarse on disk, whole after any crash, never in the way of an answer."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.domain import Usage
from gateway.engine.energy import Energy, EnergySource
from gateway.engine.tally import FILE, Tally, Total, read_tally, totals
from gateway.errors import SettingsError

ROOT = Path(__file__).parents[2]
MEASURED = Energy(2_600, EnergySource.RAPL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


def tally(path: Path, day: str = "2026-11-22") -> Tally:
    return Tally(path, lambda: day)


def test_what_was_counted_is_there_after_a_restart(path: Path):
    """By model and day; adding goes on where it stopped."""
    first = tally(path)
    first.add("m", Usage(250, 130, cached_tokens=100), MEASURED)
    first.add("n", Usage(100, 100), None)
    assert first.save()
    second = tally(path, "2026-11-23")
    second.add("m", Usage(100, 200), Energy(1_000, EnergySource.MODEL))
    assert second.save()
    days = read_tally(path)
    assert days["2026-11-22"]["n"] == Total(requests=1, prompt=100, completion=100)
    assert totals(days, "2026-11-01")["m"] == Total(
        requests=2, prompt=300, cached=100, completion=300, millijoules=3_000, measured=2_000
    )
    assert totals(days, "2026-11-23") == {
        "m": Total(requests=1, prompt=100, completion=200, millijoules=1_000)
    }


def test_the_file_is_coarse_and_private(path: Path):
    """Hundreds of tokens and whole joules: one request's figures cannot be read from it."""
    counted = tally(path)
    counted.add("m", Usage(199, 99, cached_tokens=1), MEASURED)
    counted.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "version": 1,
        "days": {
            "2026-11-22": {
                "m": {
                    "requests": 1, "prompt": 100, "cached": 0, "completion": 0,
                    "millijoules": 2000, "measured": 2000,
                }
            }
        },
    }  # fmt: skip
    counted.add("m", Usage(1, 1), None)  # what did not fill a hundred was kept in memory
    counted.save()
    assert read_tally(path)["2026-11-22"]["m"].prompt == 200
    assert read_tally(path)["2026-11-22"]["m"].completion == 100


def test_nothing_is_written_when_nothing_was_counted(path: Path):
    """An idle gateway does not touch the disk."""
    idle = tally(path)
    assert idle.save()
    assert not path.exists()
    idle.add("m", Usage(1, 1), None)
    idle.save()
    before = path.stat().st_mtime_ns
    assert idle.save()
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b'{"version":2,"days":{}}', b"[]"])
def test_a_damaged_file_is_set_aside_and_counting_goes_on(path: Path, damage: bytes):
    """The report says that it cannot be read; the gateway does not stop for it."""
    path.write_bytes(damage)
    with pytest.raises(SettingsError):
        read_tally(path)
    counted = tally(path)
    assert path.with_name(f"{FILE}.unreadable").read_bytes() == damage
    counted.add("m", Usage(100, 0), None)
    assert counted.save()
    assert totals(read_tally(path), "")["m"].prompt == 100


def test_a_disk_that_cannot_be_written_loses_nothing_in_memory(path: Path):
    """It is tried again with all that came since."""
    path.parent.joinpath(f".{FILE}.new").mkdir()  # in the way of the draft
    counted = tally(path)
    counted.add("m", Usage(100, 0), None)
    assert not counted.save()
    counted.add("m", Usage(100, 0), None)
    path.parent.joinpath(f".{FILE}.new").rmdir()
    assert counted.save()
    assert totals(read_tally(path), "")["m"].prompt == 200


def test_old_days_are_dropped(path: Path):
    """The file does not grow for ever."""
    days = {f"{1000 + n}-01-01": {"m": {"requests": 1}} for n in range(900)}
    path.write_text(json.dumps({"version": 1, "days": days}))
    counted = tally(path)
    counted.add("m", Usage(100, 0), None)
    counted.save()
    assert len(read_tally(path)) == 800
    assert "2026-11-22" in read_tally(path)


def test_answers_may_be_counted_while_it_saves(path: Path):
    """Two threads, nothing lost."""
    counted = tally(path)
    saver = threading.Thread(target=lambda: [counted.save() for _ in range(20)])
    saver.start()
    for _ in range(2000):
        counted.add("m", Usage(100, 100), MEASURED)
    saver.join()
    counted.save()
    assert read_tally(path)["2026-11-22"]["m"].requests == 2000


WRITER = """
import sys
from pathlib import Path
from gateway.domain import Usage
from gateway.engine.tally import Tally
tally = Tally(Path(sys.argv[1]), lambda: "2026-11-22")
print("ready", flush=True)
while True:
    tally.add("m", Usage(100, 100), None)
    tally.save()
"""


def test_a_crash_leaves_a_whole_file(path: Path):
    """Kill -9 in the middle of saving: the old or the new, never half."""
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        child.stdout.readline()
        while not path.exists():
            pass
        child.kill()
        child.communicate()
        before = read_tally(path)["2026-11-22"]["m"]
        assert before.requests * 100 == before.prompt == before.completion > 0
