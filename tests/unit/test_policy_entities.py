"""The annotation policy is complete: every type, every clause, every category."""

from __future__ import annotations

import re

import pytest

from gateway.domain import Category
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES, WEAK


@pytest.fixture(scope="module")
def text(root):
    return (root / "docs" / "spec" / "entities.md").read_text()


def section(text: str, number: int) -> str:
    parts = re.split(r"(?m)^## (\d+)\. ", text)
    return parts[parts.index(str(number)) + 1]


def test_every_strong_type_is_defined_with_an_example(text):
    """A heading or a row of a table for each, and something marked in it."""
    strong = section(text, 3)
    for entity in ENTITY_TYPES.keys() - WEAK:
        places = re.findall(rf"(?ms)^### {entity}: .*?(?=^###|\Z)", strong)
        places += re.findall(rf"(?m)^\| {entity} \|.*$", strong)
        assert len(places) == 1, entity
        assert re.search(r"\[[^\]]+\]", places[0]), entity


def test_every_weak_type_is_defined_with_both_kinds_of_example(text):
    """The table of weak types has exactly these rows, each with what is not marked."""
    rows = re.findall(r"(?m)^\| ([A-Z]+) \| (.+) \| (.+) \| (.+) \|$", section(text, 4))
    assert {row[0] for row in rows} == WEAK
    assert all("[" in marked and unmarked.strip() for _, _, marked, unmarked in rows)


def test_every_type_stands_beside_its_clause(text):
    """The last table leads from the regulation to every type but those that none lists."""
    named = set(re.findall(r"[A-Z]{2,}(?:_[A-Z]+)*", section(text, 8)))
    assert ENTITY_TYPES.keys() - named == {"AUTHORITY"}
    letters = re.findall(r"\(([A-R])\)", section(text, 8))
    assert sorted(letters) == list("ABCDEFGHIJKLMNOPQR")


def test_every_category_is_named(text):
    """What policies can ask for is described where a reader looks for it."""
    listed = section(text, 5)
    assert all(re.search(rf"(?i)\b{each.value}\b", listed) for each in Category)
