"""An export's memory does not grow with the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.auditkit import make_home

_CHILD = """
import resource, sys
from pathlib import Path
from audit.export import open_evidence, views, write_records
from audit.formats.view import Selection
with open_evidence(Path(sys.argv[1])) as evidence:
    count = write_records(Path(sys.argv[2]), sys.argv[3], views(evidence.items(), Selection()))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_long_log_takes_the_memory_of_a_short_one(tmp_path):
    """Twenty times the records, about 18 MB of them, take less than 4 MiB more."""
    peaks = []
    for count in (250, 5000):
        home = make_home(tmp_path / str(count))
        for _ in range(count // 250):  # what the queue takes at once
            home.fill(250)
        words = [str(home.path), str(tmp_path / f"{count}.jsonl"), "jsonl"]
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *words], check=True, capture_output=True, text=True
        )
        records, peak = map(int, done.stdout.split())
        assert records >= 2 * count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 4096, peaks
