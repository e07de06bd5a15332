"""An export's memory does not grow with the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.auditkit import make_home

_LINES = """
import resource, sys
from pathlib import Path
from audit.export import open_evidence, views, write_records
from audit.formats.view import Selection
with open_evidence(Path(sys.argv[1])) as evidence:
    count = write_records(Path(sys.argv[2]), "jsonl", views(evidence.items(), Selection()))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_PARQUET = _LINES.replace("write_records", "write_parquet").replace(', "jsonl"', "").replace(
    "from pathlib", "from audit.formats.parquet import write_parquet\nfrom pathlib"
).replace("open_evidence, views, write_parquet", "open_evidence, views")  # fmt: skip
_BUNDLE = """
import resource, sys
from pathlib import Path
from audit.bundle import export_bundle
from audit.formats.view import Selection
chosen = SELECTION
count = export_bundle(Path(sys.argv[1]) / "ledger.db", Path(sys.argv[2]), selection=chosen)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_CHILDREN = {
    "lines": (_LINES, 4096),
    "bundle": (_BUNDLE.replace("SELECTION", "None"), 4096),
    # The nodes high in the tree are remembered, 4,096 of them at most.
    "partial": (_BUNDLE.replace("SELECTION", 'Selection("2000-01-01T00:00Z")'), 6144),
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """A short log and one of twenty times its records, about 18 MB of them."""
    made = {}
    for count in (250, 5000):
        made[count] = make_home(tmp_path_factory.mktemp("memory") / str(count))
        for _ in range(count // 250):  # what the queue takes at once
            made[count].fill(250)
    return made


def peak(child, home, out):
    done = subprocess.run(
        [sys.executable, "-c", child, str(home.path), str(out)], check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return map(int, done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", _CHILDREN)
def test_a_long_log_takes_the_memory_of_a_short_one(homes, tmp_path, kind):
    """Twenty times the records take a few MiB more, whichever the format."""
    child, more = _CHILDREN[kind]
    peaks = []
    for count, home in homes.items():
        records, highest = peak(child, home, tmp_path / f"{count}.zip")
        assert records >= 2 * count
        peaks.append(highest)
    assert peaks[1] - peaks[0] < more, peaks


@pytest.mark.slow
def test_parquet_holds_one_row_group(homes, tmp_path):
    """Arrow's own buffers are large and of one size: at most a row group's more for a long log."""
    peaks = []
    for count, home in homes.items():
        records, highest = peak(_PARQUET, home, tmp_path / f"{count}.parquet")
        assert records >= 2 * count
        peaks.append(highest)
    assert peaks[1] - peaks[0] < 64 << 10, peaks
