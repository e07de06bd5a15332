"""The truth tables of ``tests/truth``: what is found, as what, and what is left alone beside it."""

from __future__ import annotations

import pytest

from gateway.pii.presidio.detector import PresidioDetector
from tests import marked
from tests.silent import Silent

TABLES = ("dates", "weak", "labels", "evasions", "places")
ROWS = [(table, row) for table in TABLES for row in marked.rows(table)]


@pytest.fixture(scope="module")
def detector() -> PresidioDetector:
    return PresidioDetector(tagger=Silent())


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{t}:{r.text[:50]}" for t, r in ROWS])
def test_rows(detector, table, row):
    """Each marked span is found whole, as one of the row's types; outside nothing is found."""
    left, outside = marked.wrong(detector, row.text, row.types, row.ignored)
    assert (left, outside) == ([], []), table


def test_every_table_is_read():
    """No table is empty, and none lies there without being a test."""
    assert {t for t, _ in ROWS} == set(TABLES) == {p.stem for p in marked.TRUTH.glob("*.txt")}
