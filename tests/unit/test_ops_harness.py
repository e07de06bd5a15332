"""The harness: it writes what DESIGN §3 says, and a missed bar is no success."""

from __future__ import annotations

import json
import math

import pytest

from tests.benchmarks.harness import Figure, percentile, publish

MET = Figure("p50_ms", 4.2, "ms", "lower", 15, 6)
MISSED = Figure("requests_per_s", 90.0, "1/s", "higher", 100, 300)
CONTEXT = Figure("direct_ms", 1.5, "ms", "lower")


@pytest.mark.parametrize(
    ("figures", "code"),
    [([MET], 0), ([MET, CONTEXT], 0), ([MISSED], 1), ([MET, MISSED], 1), ([CONTEXT], 0)],
)
def test_the_exit_code_tells_whether_every_bar_was_met(tmp_path, figures, code):
    """One missed bar fails the run; a figure without a bar fails nothing."""
    assert publish("x", figures, folder=tmp_path) == code


def test_the_file_has_the_published_shape(tmp_path, capsys):
    """Exactly the keys of DESIGN §3, the figures as given, a plot beside, a table on stdout."""
    publish("x", [MET, MISSED], notes="40 requests", folder=tmp_path)
    written = json.loads((tmp_path / "x.json").read_text())
    assert list(written) == ["machine", "versions", "when", "figures"]
    assert written["figures"][1] == {
        "id": "requests_per_s",
        "value": 90.0,
        "unit": "1/s",
        "better": "higher",
        "bar": 100,
        "reach": 300,
    }
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")
    shown = capsys.readouterr().out
    assert "missed" in shown
    assert "40 requests" in shown


def test_nothing_measured_is_no_pass(tmp_path):
    """No figures, or a figure that is no number, is an error."""
    with pytest.raises(ValueError, match="proves nothing"):
        publish("x", [], folder=tmp_path)
    with pytest.raises(ValueError, match="not measured"):
        Figure("x", math.nan, "ms", "lower")


def test_a_percentile_is_a_measured_value():
    """Nearest rank: p50 of four values is the second, p95 of twenty the nineteenth."""
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile(list(range(1, 21)), 0.95) == 19
    assert percentile([7], 0.95) == 7
