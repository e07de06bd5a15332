"""Template files of the training texts: names defined, spans exact, clean texts clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

corpus = pytest.importorskip(
    "deploy.models.ner.generate.corpus", reason="the recipes of deploy/ or Faker are not here"
)

TEMPLATES = Path(__file__).parents[2] / "deploy" / "models" / "ner" / "generate" / "templates"
FILES = sorted(p.stem for p in TEMPLATES.glob("*.txt") if not p.stem.startswith("shared"))
LANGUAGES = ("en", "es", "fr", "de")


def drawn(name: str, count: int, *, held_out: bool = False) -> list[Any]:
    return list(corpus.examples(7, count, held_out, files=(name,), noisy=False))


def test_every_name_in_the_template_files_is_defined() -> None:
    """A slot, a production or a lexicon that a line names exists in the language of the file."""
    assert corpus.check() == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_language_has_texts_with_names_and_texts_without(lang: str) -> None:
    """A fifth of a language is clean (a tenth of English), two fifths name somebody."""
    texts = list(corpus.examples(3, 400, langs=(lang,)))
    labels = [{s.label for s in e.spans} for e in texts]
    clean = sum(e.clean for e in texts)
    assert clean >= (40 if lang == "en" else 80)
    assert sum("PERSON" in found for found in labels) >= 160


@pytest.mark.parametrize("name", FILES)
def test_spans_are_exact_and_apart(name: str) -> None:
    """Spans are sorted, do not touch another's text, and neither begin nor end with a blank."""
    for e in drawn(name, 60):
        end = 0
        for s in e.spans:
            value = e.text[s.start : s.end]
            assert end <= s.start < s.end <= len(e.text)
            assert value == value.strip()
            end = s.end


@pytest.mark.parametrize("name", FILES)
def test_held_out_texts_come_from_every_file(name: str) -> None:
    """The lines kept for measuring make whole texts, too."""
    assert all(e.text.strip() for e in drawn(name, 20, held_out=True))


def test_one_seed_gives_one_sequence() -> None:
    """The same arguments give the same texts and spans."""
    first, again = (list(corpus.examples(11, 120)) for _ in range(2))
    assert first == again
    assert first != list(corpus.examples(12, 120))


@pytest.mark.parametrize("name", ["en-negatives", "fr-neutre", "de-neutral", "es-limpio"])
def test_files_of_clean_texts_hold_no_identifier(name: str) -> None:
    """A template meant to name nobody never yields a strong type."""
    assert all(e.clean for e in drawn(name, 150))
