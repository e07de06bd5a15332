"""The recipe of the name model: sets of labels, changed texts, and what is never trained on."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest

from deploy.models.ner import augment, calibrate, corpora, words
from deploy.models.ner.pieces import ANYTHING, Piece, allow, disjoint, folded, targets
from gateway.pii.ner.features import read
from gateway.pii.ner.network import LABELS, TAGS

TEXT = "Seen by Dr. Ana María López on 3 May 2019 in Soria.\nShe (Ana) returned. Thanks, Ana"


def span(value: str, labels: str, start: int = 0) -> tuple[int, int, int]:
    at = TEXT.index(value, start)
    return at, at + len(value), allow(labels)


PIECE = Piece(
    TEXT,
    disjoint([
        span("Ana María López", "PERSON"),
        span("3 May 2019", "DATE_TIME"),
        span("Soria", "LOCATION REGION"),
        span("Ana", "PERSON", TEXT.index("(")),
        span("Ana", "PERSON", TEXT.index("Thanks")),
    ]),
    allow("O"),
)  # fmt: skip


def random(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - texts, not secrets


def names(tags: int) -> set[str]:
    every = ["O", *(f"{edge}-{label}" for label in LABELS for edge in "BI")]
    return {name for n, name in enumerate(every) if tags >> n & 1}


@pytest.mark.parametrize(
    ("labels", "first", "second"),
    [
        ("PERSON", {"B-PERSON"}, {"I-PERSON"}),
        ("LOCATION REGION", {"B-LOCATION", "B-REGION"}, {"I-LOCATION", "I-REGION"}),
        ("O PERSON", {"O", "B-PERSON"}, {"O", "B-PERSON", "I-PERSON"}),
        ("O", {"O"}, {"O"}),
    ],
)
def test_a_span_allows_the_tags_of_its_labels(
    labels: str, first: set[str], second: set[str]
) -> None:
    """A span begins once; one that may be nothing may also begin later."""
    piece = Piece("x Ana López", ((2, 11, allow(labels)),), allow("O"))
    allowed = targets([piece], read([piece.text])).tolist()
    assert [names(t) for t in allowed] == [{"O"}, first, second]


def test_what_a_corpus_does_not_label_allows_everything() -> None:
    """Where nothing is known every tag is allowed, and there are as many as the network gives."""
    piece = Piece("x y", (), ANYTHING)
    assert [len(names(t)) for t in targets([piece], read([piece.text])).tolist()] == [TAGS, TAGS]


def test_spans_of_a_folded_text_hold_the_same_letters() -> None:
    """Characters that nobody sees go, and the spans move along."""
    piece = folded(Piece("a\u200bb \u200bAn\u00ada!", ((4, 9, allow("PERSON")),), allow("O")))
    ((start, end, _),) = piece.spans
    assert piece.text[start:end] == "Ana"


@pytest.mark.parametrize("seed", range(60))
def test_a_changed_text_keeps_its_spans_on_its_values(seed: int) -> None:
    """However a text is changed, spans stay in order, apart, inside, and on words of their own."""
    known = augment.Names([PIECE])
    other = words.Words([PIECE])
    changed = augment.varied(PIECE, known, random(seed), rename=0.0, limit=70, words=other)
    values = {TEXT[a:b].casefold().replace(" ", "") for a, b, _ in PIECE.spans}
    at = 0
    for start, end, bits in changed.spans:
        assert at <= start < end <= len(changed.text)
        if bits == allow("O"):
            assert re.fullmatch(r"<[A-Z_]+_[1-9](_[23])?>", changed.text[start:end])
            at = end
            continue
        assert bits in {b for _, _, b in PIECE.spans}
        value = changed.text[start:end]
        assert value[0].isalnum()
        assert value[-1].isalnum()
        near = value.casefold().replace(" ", "").replace("\n", "")
        assert any(abs(len(near) - len(v)) <= 3 and near[0] == v[0] for v in values)
        at = end


def test_a_name_is_replaced_by_the_same_name_everywhere() -> None:
    """The words around stay; one word of a name becomes one other word throughout the text."""
    known = augment.Names([Piece("Bo Quist", ((0, 8, allow("PERSON")),), allow("O"))])
    changed = augment.renamed(PIECE, known, random(3))
    people = [changed.text[a:b] for a, b, bits in changed.spans if bits == allow("PERSON")]
    assert "Ana" not in changed.text
    assert people[1] == people[2] == people[0].split()[0]
    assert changed.text.startswith("Seen by Dr. ")
    assert changed.text.endswith(f"Thanks, {people[2]}")


def test_scores_are_fitted_to_how_often_they_are_right() -> None:
    """A label whose spans are right less often than they say gets lower scores, few spans none."""
    pairs = [(0.9, k % 2 == 0) for k in range(400)] + [(0.5, k % 10 == 0) for k in range(400)]
    slope, offset = calibrate.fitted(pairs)
    at_half, at_nine = (
        1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + offset))) for p in (0.5, 0.9)
    )
    assert at_half == pytest.approx(0.1, abs=0.03)
    assert at_nine == pytest.approx(0.5, abs=0.03)
    assert calibrate.fitted(pairs[:10]) == (1.0, 0.0)


def test_what_is_measured_is_not_trained_on() -> None:
    """No text of a held-out part is among the pieces; the web treebank is not read at all."""
    if not corpora.CORPORA.exists():
        pytest.skip("the shared corpora are not here")
    trained = {p.text for pieces in corpora.training([]).values() for p in pieces}
    held = [r for name in ("tab144", "meddocan") for r in corpora.rows(name) if r["split"] == "dev"]
    held += [r for r in corpora.rows("aci-bench-notes") if r["split"] == "valid"]
    held += [r for r in corpora.rows("uner-en-ewt") if len(r["text"]) > 40]
    assert len(trained) > 10_000
    assert not [r["id"] for r in held if r["text"] in trained]


def test_masked_texts_have_placeholders_in_the_place_of_spans() -> None:
    """A placeholder is nothing to be found; one value has one number in a text."""
    changed = next(p for p in (augment.masked(PIECE, random(n)) for n in range(99)) if p.spans)
    found = [changed.text[a:b] for a, b, bits in changed.spans if bits == allow("O")]
    assert found
    assert all(re.fullmatch(r"<[A-Z_]+_[1-9](_[23])?>", value) for value in found)
    assert re.sub(r"<.*?>", "", changed.text).startswith("Seen by Dr. ")


def test_other_words_stand_only_where_no_span_is() -> None:
    """Ordinary words change to other ordinary words, values and the commonest words stay."""
    letters = "abcdefghijklmnopqrstuvwxyzäöüß"
    texts = [" ".join(f"{a}{b}rgh" for a in letters for b in letters)] * 2
    known = words.Words([Piece(t, (), allow("O")) for t in texts])
    piece = Piece(f"{texts[0]} Ana", ((len(texts[0]) + 1, len(texts[0]) + 4, allow("PERSON")),), 1)
    edits = known.edits(piece, random(1), 0.5)
    assert 50 < len(edits) < 150
    assert all(new.isalpha() and new.islower() and b <= len(texts[0]) for _, b, new in edits)
