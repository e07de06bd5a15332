"""What `gateway evaluate` reads, and what it shows of a report."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.evaluating import as_json, errors, gold_rows, plot, print_report
from gateway.scoring import Mark, Scored, report

ROW = {"id": "a", "text": "Ada came", "spans": [[0, 3, "PERSON", "DIRECT"]], "split": "dev"}
SCORED = [
    Scored("a", "Ada came on\nMonday", (Mark(0, 3, "PERSON"),), (Mark(12, 18, "DATE_TIME"),)),
    Scored("b", "Bo left", (Mark(0, 2, "PERSON"),), (Mark(0, 2, "PERSON"),)),
]


def test_a_row_may_say_more_than_is_asked():
    """Files of other tools are read as they are: more keys, more fields of a span, blank lines."""
    source = io.BytesIO(b"\n" + json.dumps(ROW).encode() + b"\n\n")
    ((row, marks),) = gold_rows(source)
    assert (row.id, marks) == ("a", (Mark(0, 3, "PERSON"),))


@pytest.mark.parametrize(
    "change",
    [
        {"spans": [[0, 9, "PERSON"]]},
        {"spans": [[3, 3, "PERSON"]]},
        {"spans": [["0", 3, "PERSON"]]},
        {"spans": [[0, 3]]},
        {"text": None},
        {"id": None},
    ],
)
def test_a_row_that_is_no_marked_text_names_its_line(change):
    """A misaligned file must not be scored; the message says where and shows nothing of it."""
    lines = [json.dumps(ROW), json.dumps(ROW | change)]
    with pytest.raises(RequestError, match="Line 2 is not a marked text") as caught:
        list(gold_rows(io.BytesIO("\n".join(lines).encode())))
    assert "Ada" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_our_error(data):
    """Nothing else comes out, whatever the file holds."""
    try:
        list(gold_rows(io.BytesIO(data)))
    except RequestError:
        return


def test_a_report_as_json_has_counts_and_intervals():
    """Every share says of how many it is, and how sure."""
    value = as_json(report(SCORED), errors(SCORED))
    assert value["rows"] == 2
    assert value["figures"]["recall"]["hits"] == 1
    assert value["figures"]["recall"]["total"] == 2
    low, high = value["figures"]["recall"]["interval"]
    assert low < 0.5 < high
    assert [(e["kind"], e["label"]) for e in value["errors"]] == [
        ("leak", "PERSON"),
        ("excess", "DATE_TIME"),
    ]
    assert "Ada" not in json.dumps(value)


def test_people_see_figures_and_each_error_in_its_context(capsys):
    """An error is one line, also where its text has several."""
    print_report(report(SCORED), errors(SCORED))
    shown = capsys.readouterr().out
    assert "recall PERSON" in shown
    assert "leak   PERSON           a: Ada came on Monday" in shown


def test_the_plot_is_a_picture(tmp_path):
    """One bar a figure, within the picture."""
    plot(report(SCORED), tmp_path / "p.svg")
    picture = ET.parse(tmp_path / "p.svg").getroot()  # noqa: S314 (our own file)
    bars = [e for e in picture if e.tag.endswith("rect")]
    assert len(bars) == len(as_json(report(SCORED))["figures"])
    assert all(float(bar.get("width")) <= 400 for bar in bars)


def test_a_plot_that_cannot_be_written_is_said(tmp_path):
    """A path that is a folder gives one line."""
    with pytest.raises(RequestError, match="cannot be written"):
        plot(report(SCORED), tmp_path)
