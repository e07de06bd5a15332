"""The memory of an export that is handed out while it is made does not grow with the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

from audit.streaming import kinds
from tests.auditkit import make_home

_CHILD = """
import resource, sys
from pathlib import Path
from audit.formats.view import Selection
from audit.store import LedgerStore
from audit.streaming import pieces
store = LedgerStore(Path(sys.argv[1]) / "ledger.db", readonly=True)
with store.reading() as reader:
    size = reader.newest_checkpoint()[0]
passed = sum(map(len, pieces(store.reading, sys.argv[2], size, Selection())))
print(size, passed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Two logs, the second ten times as long."""
    found = []
    for count in (500, 5000):
        home = make_home(tmp_path_factory.mktemp("log"))
        for _ in range(count // 500):
            home.fill(500)
        found.append(home)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds())
def test_a_long_log_takes_the_memory_of_a_short_one(homes, kind):
    """Ten times the records take less than 4 MiB more."""
    peaks, sizes = [], []
    for home in homes:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(home.path), kind],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        size, passed, peak = map(int, done.stdout.split())
        assert passed > 10_000
        peaks.append(peak)
        sizes.append(size)
    assert sizes[1] > 9 * sizes[0]
    assert peaks[1] - peaks[0] < 4096, peaks
