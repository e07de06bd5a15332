"""How the tagger reads a text: tokens and rows of tables."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.pii.ner.features import GRAM_ROWS, SMALL_ROWS, WORD_ROWS, Features, read


def tokens(text: str) -> list[str]:
    found = read([text])
    return [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)]


def rows(found: Features, number: int) -> tuple[object, ...]:
    """What the network sees of the tokens of text ``number``."""
    bounds = np.append(found.gram_starts, len(found.grams))
    which = np.flatnonzero(found.texts == number)
    return tuple(
        (
            int(found.starts[i]),
            int(found.ends[i]),
            int(found.words[form]),
            tuple(found.grams[bounds[form] : bounds[form + 1]].tolist()),
            tuple(found.small[i].tolist()),
            int(found.classes[i]),
        )
        for i, form in ((i, found.forms[i]) for i in which)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t ", []),
        ("Dr. Ana-María", ["Dr", ".", "Ana", "-", "María"]),
        ("MRN12345", ["MRN", "12345"]),
        ("a  b\n\n c", ["a", "b", "\n\n ", "c"]),
        ("-----x", ["-----", "x"]),
        ("Zoe\u0308 B", ["Zoe\u0308", "B"]),
        ("山田太郎", ["山", "田", "太", "郎"]),
        ("a\x00b", ["a", "\x00", "b"]),
        ("\ud800x", ["\ud800", "x"]),
        ("x" * 90, ["x" * 40, "x" * 40, "x" * 10]),
        ("\U0001f600 ok", ["\U0001f600", "ok"]),
    ],
)
def test_a_text_is_runs_of_letters_digits_signs_and_line_breaks(
    text: str, expected: list[str]
) -> None:
    """Letters, digits, signs and line breaks are tokens of their own; other space is none."""
    assert tokens(text) == expected


def test_a_text_is_read_alike_alone_and_beside_others() -> None:
    """What is read of a text does not depend on the texts beside it."""
    texts = ["Mr. SMITH saw Smith", "", "smith\n\nAnn  1931", "Ann", "\n"]
    together = read(texts)
    for number, text in enumerate(texts):
        assert rows(together, number) == rows(read([text]), 0)


def test_case_is_a_matter_of_shape_alone() -> None:
    """A word's table rows are those of its small letters; only its shape tells them apart."""
    upper, lower = read(["GARCÍA"]), read(["garcía"])
    assert upper.words.tolist() == lower.words.tolist()
    assert upper.grams.tolist() == lower.grams.tolist()
    assert upper.small.tolist() != lower.small.tolist()


def test_numbers_are_known_by_length_and_years_by_decade() -> None:
    """No identifier's digits reach the tables: long numbers of one length look the same."""
    words = {
        t: int(read([t]).words[0]) for t in ("8472910", "1930284", "1931", "1938", "1941", "17")
    }
    assert words["8472910"] == words["1930284"]
    assert words["1931"] == words["1938"] != words["1941"]
    assert words["17"] != int(read(["18"]).words[0])


def test_rows_are_rows_of_the_tables() -> None:
    """Every row named exists, whatever the characters."""
    text = "".join(map(chr, range(1, 0x3000))) + "\U0001f600\U00020000" + "9" * 100
    found = read([text, text.upper()])
    assert 0 <= found.words.min() <= found.words.max() < WORD_ROWS
    assert 0 <= found.grams.min() <= found.grams.max() < GRAM_ROWS
    assert 0 <= found.small.min() <= found.small.max() < SMALL_ROWS
    assert len(found.gram_starts) == len(found.words)
