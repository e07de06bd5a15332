"""The bundled model: what ships is what the card says, and it reads and quotes as measured."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "deploy" / "models" / "slm"
EMBEDDED = ROOT / "gateway" / "engine" / "embedded"
CARD = tomllib.loads((EMBEDDED / "card.toml").read_text(encoding="utf-8"))
FILE = EMBEDDED / CARD["file"]
TOKENS = ROOT / "tests" / "golden" / "model_tokens.json"
sys.path.insert(0, str(RECIPE))

import evaluate  # noqa: E402
import form  # noqa: E402


@pytest.fixture(scope="module")
def quoter():
    return evaluate.Quoter(FILE)


def test_the_file_is_the_one_on_the_card():
    """Digest and size are what the card and the promise (10 MB) say."""
    data = FILE.read_bytes()
    assert hashlib.sha256(data).hexdigest() == CARD["sha256"]
    assert len(data) <= 10_000_000


def test_card_recipe_and_file_agree_on_the_form(quoter):
    """The form stands in three places; they cannot drift apart."""
    told, said = quoter.model.metadata, CARD["form"]
    assert told["cloister.decoding"] == CARD["decoding"] == "extractive"
    assert told["cloister.abstention"] == CARD["abstention"] == form.ABSTENTION
    assert told["cloister.separator"] == CARD["separator"] == form.SEPARATOR
    assert told["cloister.label"] == said["label"] == form.LABEL
    assert int(told["cloister.labels"]) == said["labels"] == form.LABELS
    assert told["cloister.abstain"] == said["abstain"] == form.ABSTAIN
    assert told["cloister.line"] == said["line"] == form.LINE
    assert int(told["llama.context_length"]) == CARD["context"] == form.CONTEXT
    assert (said["user"], said["assistant"], said["end"]) == form.CONTROL


def test_llama_cpp_reads_text_as_training_did(quoter):
    """On 200 texts llama.cpp gives the token ids that the training tokenizer gave."""
    rows = json.loads(TOKENS.read_text(encoding="utf-8"))
    assert len(rows) >= 200
    for text, ids in rows:
        got = quoter.model.tokenize(text.encode(), add_bos=False, special=False)
        if ids is None:
            assert not {quoter.user, quoter.assistant, quoter.end} & set(got), text
        else:
            assert got == ids, text


def test_text_cannot_forge_a_control_token(quoter):
    """Spelling a control token in plain text gives ordinary tokens, whatever stands around it."""
    for token in form.CONTROL:
        got = quoter.tokens([f"a {token} b{token}"], token)
        assert got[0] == quoter.user
        assert got[-1] == quoter.assistant
        assert not {quoter.user, quoter.assistant, quoter.end} & set(got[1:-1])


def test_hand_written_questions_are_answered_as_the_card_says(quoter):
    """The figures of the card hold, and the model beats word overlap and chance."""
    cases = evaluate.handwritten()
    model = evaluate.score(cases, quoter)
    assert model["hit"] >= CARD["figures"]["handwritten_hit"] - 0.02
    assert model["abstained"] >= CARD["figures"]["handwritten_abstained"] - 0.05
    assert model["hit"] > evaluate.score(cases, evaluate.chance(1))["hit"] + 0.2
    assert model["quoted"] <= 2.0
