"""The measuring sets: the reader refuses malformed files, and the files say what they claim."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.gold.gold import HERE, STRONG, GoldError, Row, parse, rows

FILES = sorted(path.name.removesuffix(".txt") for path in HERE.glob("*.txt"))


def test_marks_become_spans_of_the_plain_text():
    """Offsets count characters of the text without marks; a span may run over lines."""
    content = "=== q1\n\nSee [[PERSON|Ana\nRuiz]], [[AGE|91]].\n\n=== q2\nnothing\n"
    assert parse(content, "queries.en.txt") == [
        Row("q1", "en", "queries", "See Ana\nRuiz, 91.", ((4, 12, "PERSON"), (14, 16, "AGE"))),
        Row("q2", "en", "queries", "nothing", ()),
    ]


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        ("", 1, "no record"),
        ("hello\n=== q1\nx", 1, "text before"),
        ("=== Q1\nx", 1, "bad id"),
        ("=== q1\n\n=== q2\nx", 2, "empty text"),
        ("=== q1\nx\n=== q1\ny", 3, "repeated id"),
        ("=== q1\nx\n[[NAME|Ana]]", 3, "unknown type"),
        ("=== q1\n[[REGION|Texas]]", 2, "unknown type"),
        ("=== q1\n[[Ana]]", 2, "unknown type"),
        ("=== q1\n[[PERSON|Ana [[AGE|91]]]]", 2, "nested"),
        ("=== q1\nx\ny\n[[PERSON|Ana", 4, "never closed"),
        ("=== q1\n[[PERSON|Ana\n=== q2\nx]]", 2, "never closed"),
        ("=== q1\nAna]]", 2, "before it was opened"),
        ("=== q1\n[[PERSON|Ana ]]", 2, "space at its end"),
        ("=== q1\n[[PERSON|]]", 2, "empty span"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(content, line, why):
    """Every breach of the format is an error that starts with file and line."""
    with pytest.raises(GoldError, match=rf"^queries\.en\.txt:{line}: .*{why}"):
        parse(content, "queries.en.txt")


@given(st.lists(st.sampled_from(["=== q1", "\n", "[[PERSON|", "[[", "]]", "|", "a", " "])))
def test_any_text_gives_rows_or_the_error(pieces):
    """Whatever the file holds: rows whose spans hold text without marks, or a GoldError."""
    try:
        found = parse("".join(pieces), "queries.en.txt")
    except GoldError:
        return
    for row in found:
        for start, end, _ in row.spans:
            covered = row.text[start:end]
            assert covered.strip() == covered != ""


def test_odd_ids_are_dev_and_even_ids_are_held():
    """The last digit of the id tells the half."""
    content = "=== q11\nx\n=== q12\ny\n"
    assert [row.half for row in parse(content, "a.en.txt")] == ["dev", "held"]


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_well_formed_and_their_texts_differ(name):
    """Each file parses, no text occurs twice, and spans do not overlap."""
    found = rows(name)
    assert len({row.text for row in found}) == len(found)
    for row in found:
        ends = [0, *(end for _, end, _ in row.spans)]
        assert all(end <= start for end, (start, _, _) in zip(ends, row.spans, strict=False))


def test_clean_rows_hold_no_identifier_and_english_queries_hold_at_least_one():
    """No row of the clean file is marked; every row of its counterpart is."""
    assert not any(row.spans for row in rows("clean.en"))
    assert all(row.spans for row in rows("queries.en"))


def test_the_english_sets_are_large_and_hold_every_type():
    """At least 400 of each, every strong type among them, both halves of like size."""
    queries = rows("queries.en")
    assert len(queries) >= 400
    assert len(rows("clean.en")) >= 400
    assert {kind for row in queries for *_, kind in row.spans} == STRONG
    held = sum(row.half == "held" for row in queries)
    assert abs(held - len(queries) / 2) <= 1
