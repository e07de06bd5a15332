"""What counts as a leak, as covered too much, and how sure a share is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring import Mark, Scored, Share, excess, leaks, report

TEXT = "Ms Ana Ruiz, MRN 44-12, came in."


def _row(gold: str, covered: str, ignored: str = "") -> Scored:
    """Spans written as ``x`` under the text."""
    return Scored("r", TEXT, _marks(gold), _marks(covered), _marks(ignored))


def _marks(line: str) -> tuple[Mark, ...]:
    marks, start = [], None
    for index, character in enumerate(line + " "):
        if character == "x" and start is None:
            start = index
        elif character != "x" and start is not None:
            marks.append(Mark(start, index, "T"))
            start = None
    return tuple(marks)


@pytest.mark.parametrize(
    ("gold", "covered", "leaked", "over"),
    [
        ("   xxxxxxxx", "   xxxxxxxx", 0, 0),
        ("   xxxxxxxx", "   xxx xxxx", 0, 0),  # the space between says nothing
        ("   xxxxxxxx", "   xxx  xxx", 1, 0),  # one letter does
        ("   xxxxxxxx", "xxxxxxxxxxxx", 0, 2),
        ("   xxxxxxxx", "", 1, 0),
        ("                 xxxxx", "                 xx xx", 0, 0),
    ],
)
def test_a_span_leaks_when_one_letter_or_digit_stays(
    gold: str, covered: str, leaked: int, over: int
) -> None:
    """Punctuation and spaces count neither as leaked nor as covered."""
    row = _row(gold, covered)
    result = report([row])
    assert len(leaks(row)) == leaked
    assert result.recall == Share(1 - leaked, 1)
    assert result.leak_free == Share(1 - leaked, 1)
    assert result.precision.total - result.precision.hits == over


def test_a_row_without_marks_is_touched_by_one_letter() -> None:
    """Over-redaction counts rows, words and spans; what is ignored counts nowhere."""
    touched = _row("", "   xxx")
    assert report([touched]).touched == Share(1, 1)
    assert report([touched]).words_touched == Share(1, 7)
    assert excess(touched) == [Mark(3, 6, "T")]
    spared = _row("", "   xxx", "   xxx")
    assert report([spared]).touched == Share(0, 1)
    assert excess(spared) == []


def test_spans_with_only_punctuation_between_them_are_one() -> None:
    """The merged measure joins "Ana" and "Ruiz", and asks for exact ends."""
    assert report([_row("   xxxxxxxx", "   xxx xxxx")]).merged_f1 == 1.0
    assert report([_row("   xxxxxxxx", "   xxx")]).merged_f1 == 0.0


def test_nothing_to_score_is_an_error() -> None:
    """Zero rows are no pass."""
    with pytest.raises(ValueError, match="nothing to score"):
        report([])


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 3), (5, 99)])
def test_a_span_outside_its_text_is_refused(start: int, end: int) -> None:
    """A misaligned file must not be scored as if it were sound."""
    with pytest.raises(ValueError, match="outside"):
        report([Scored("r", TEXT, (Mark(start, end, "T"),), ())])


def test_the_interval_is_wilsons() -> None:
    """9 of 10 lies between .596 and .982 (Wilson 1927); nothing counted says nothing."""
    low, high = Share(9, 10).interval
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert Share(0, 0).interval == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_its_share(hits: int, misses: int) -> None:
    """The interval stays within 0 and 1 and around the value."""
    share = Share(hits, hits + misses)
    low, high = share.interval
    assert 0 <= low <= high <= 1
    assert not share.total or low - 1e-9 <= share.value <= high + 1e-9
