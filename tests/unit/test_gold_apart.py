"""The measuring sets and the texts that the model is trained on have nothing in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks.gold.gold import HERE, rows

TEMPLATES = Path(__file__).parents[2] / "deploy" / "models" / "ner" / "generate" / "templates"
SETS = sorted(path.name.removesuffix(".txt") for path in HERE.glob("*.txt"))
SHINGLE = 5  # words in a row
LONGEST = 8  # words of a value
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def measured() -> tuple[set[str], set[str]]:
    """Every five words in a row of the measuring sets, and their values that say something.

    Dates and ages are the same in many texts, and so are single words and short codes.
    """
    shingles, values = set(), set()
    for row in (row for name in SETS for row in rows(name)):
        found = words(row.text)
        shingles |= {" ".join(found[i : i + SHINGLE]) for i in range(len(found) - SHINGLE + 1)}
        for start, end, label in row.spans:
            value = " ".join(words(row.text[start:end]))
            telling = " " in value or any(c.isdigit() for c in value)
            if label not in {"DATE_TIME", "AGE"} and telling and len(value) >= 7:
                values.add(value)
    return shingles, values


def written() -> list[tuple[str, list[str]]]:
    """The lines of the files of whole texts, as they read without their marks."""
    lines = []
    for path in sorted(TEMPLATES.glob("*-[xyz]-*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line and line[0] not in "#%@":
                plain = re.sub(r"\{[A-Z_]+=([^{}]*)\}", r"\1", line).replace("\\n", " ")
                lines.append((f"{path.name}:{number}", words(plain)))
    return lines


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason="the recipes of deploy/ are not here")
def test_no_text_to_train_on_shares_a_value_or_five_words_with_a_measuring_set():
    """A model that has met what it is measured on tells nothing about texts it has not met."""
    shingles, values = measured()
    assert len(shingles) > 10_000
    assert len(values) > 500
    lines = written()
    assert len(lines) > 10_000
    shared = [
        where
        for where, found in lines
        if any(" ".join(found[i : i + SHINGLE]) in shingles for i in range(len(found) - 4))
        or any(
            " ".join(found[i : i + size]) in values
            for size in range(1, LONGEST + 1)
            for i in range(len(found) - size + 1)
        )
    ]
    assert shared == []
