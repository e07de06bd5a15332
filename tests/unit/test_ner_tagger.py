"""The shipped name model: what it finds, and that it is the file that its card names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.pii.ner import tagger as module
from gateway.pii.ner.network import LABELS, MAGIC, pack, unpack
from gateway.pii.ner.tagger import Span, Tagger

HERE = Path(module.__file__).parent
LEXICON = Path(__file__).parents[2] / "deploy" / "models" / "ner" / "generate" / "lexicon"

FOUND = [
    ("can you summarize the chart of Maria Gonzalez, mrn 4472910?", "PERSON", "Maria Gonzalez"),
    ("pls call mr. smith back", "PERSON", "mr. smith"),
    ("The patient lives in Springfield with her sister.", "LOCATION", "Springfield"),
    ("She was admitted to Mercy General Hospital on 3 May 2019.", "DATE_TIME", "3 May 2019"),
    ("She was admitted to Mercy General Hospital.", "ORGANIZATION", "Mercy General Hospital"),
    ("Herr Thomas Müller wohnt in Köln.", "PERSON", "Herr Thomas Müller"),
    ("Mme Claire Dubois habite à Lyon.", "PERSON", "Mme Claire Dubois"),
    ("Paciente Juan Pérez, ingresado ayer", "PERSON", "Juan Pérez"),
]
CLEAN = [
    "what is the max dose of metformin in ckd stage 3?",
    "BP 120/80, HR 72, SpO2 98%",
    "Explain the difference between Crohn's disease and ulcerative colitis.",
    "differential for acute chest pain in a young adult",
]


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped card and model."""
    card = (HERE / "card.toml").read_text()
    name = re.search(r'^file = "(.+)"', card, re.MULTILINE)
    assert name
    shutil.copy(HERE / "card.toml", tmp_path)
    shutil.copy(HERE / name[1], tmp_path / name[1])
    return tmp_path


def model(folder: Path) -> Path:
    return next(folder.glob("*.bin"))


@pytest.mark.parametrize(("text", "label", "value"), FOUND)
def test_plain_identifiers_are_found(tagger: Tagger, text: str, label: str, value: str) -> None:
    """What nobody would miss is found to its ends, with its type, above half."""
    start = text.index(value)
    spans = [s for s in tagger.spans([text])[0] if s.start == start and s.end == start + len(value)]
    assert [s.label for s in spans] == [label]
    assert spans[0].score > 0.5


@pytest.mark.parametrize("text", CLEAN)
def test_plain_questions_are_left_alone(tagger: Tagger, text: str) -> None:
    """A text that names nobody has no finding above half."""
    assert [s for s in tagger.spans([text])[0] if s.score >= 0.5 and s.label != "DEMOGRAPHIC"] == []


def test_a_text_has_the_same_spans_alone_beside_others_and_again(tagger: Tagger) -> None:
    """Spans depend on the text alone and are the same each time."""
    texts = [text for text, _, _ in FOUND] + CLEAN + ["", " ", "\n"]
    alone = [tagger.spans([text])[0] for text in texts]
    assert tagger.spans(texts) == alone
    assert tagger.spans(texts[::-1])[::-1] == alone
    assert Tagger.load().spans(texts) == alone


def test_a_long_text_is_read_as_its_parts_are(tagger: Tagger) -> None:
    """Windows and parts change nothing: a long text has the spans of what it is made of."""
    part = "The committee met again and nothing of note was said about the budget that day. " * 30
    name = "Dr. Anna Kowalski of Springfield was seen on 3 May 2019 by Mr. Brown. "
    text = part + (name + part) * 60
    twice = part + name + part + name + part  # a word sees whether it stands elsewhere, too
    first, last = len(part), len(part + name + part)
    once = [s for s in tagger.spans([twice])[0] if first <= s.start < last]
    found = {(s.start, s.label) for s in tagger.spans([text])[0] if s.start >= len(part)}
    step = len(name + part)
    expected = {(s.start - len(part), s.label) for s in once}
    assert len(expected) > 2
    seams = range(len(part), len(part) + 60 * step, step)
    assert found == {(start + seam, label) for start, label in expected for seam in seams}


def test_the_digest_names_code_card_and_model(tagger: Tagger, folder: Path) -> None:
    """The digest is the same for the same files and another when the card differs."""
    assert Tagger.load(folder).digest == tagger.digest
    with (folder / "card.toml").open("a") as card:
        card.write("# changed\n")
    assert Tagger.load(folder).digest != tagger.digest


def test_an_altered_model_is_refused(folder: Path) -> None:
    """One other byte in the model's file and it is not loaded."""
    data = bytearray(model(folder).read_bytes())
    data[-1] ^= 1
    model(folder).write_bytes(data)
    with pytest.raises(SettingsError, match="not the file that its card names"):
        Tagger.load(folder)


@pytest.mark.parametrize("name", ["card.toml", "*.bin"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    """Without its card or its file there is no model."""
    next(folder.glob(name)).unlink()
    with pytest.raises(SettingsError, match="missing or unreadable"):
        Tagger.load(folder)


def test_a_file_of_another_kind_is_refused() -> None:
    """Only the form of this version is read."""
    with pytest.raises(ValueError, match="not a tagger's file"):
        unpack(b"PK\x03\x04" + bytes(100))
    assert pack({}).startswith(MAGIC)


def test_spans_print_no_text_and_types_are_those_of_the_model(tagger: Tagger) -> None:
    """A span holds offsets, a type and a score; the tagger names every type it can give."""
    assert set(Span.__slots__) == {"start", "end", "label", "score"}
    assert tagger.entity_types == set(LABELS)


def test_the_model_holds_no_word_of_its_training(folder: Path) -> None:
    """No name and no word that the generator draws stands in the file in the clear."""
    words = {
        word.lower()
        for path in LEXICON.rglob("*.txt")
        for word in re.findall(r"[^\W\d_]{7,}", path.read_text(encoding="utf-8"))
    }
    assert len(words) > 1000
    data = model(folder).read_bytes().lower()
    runs = {run.decode() for run in re.findall(rb"[a-z]{7,}", data)}
    assert not {run for run in runs for word in words if word in run}


def test_the_model_is_small(folder: Path) -> None:
    """At most 15 MB on disk."""
    assert model(folder).stat().st_size <= 15_000_000
