"""The benchmark's own models: what is compared on them means what it says."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from gateway.domain import FinishReason, Message, Prompt, Sampling
from gateway.engine.gguf_header import read_header
from gateway.engine.llama import LlamaEngine
from gateway.engine.port import Generation
from tests.benchmarks import texts
from tests.benchmarks.alone import spec
from tests.benchmarks.randommodel import CONTEXT, M10, M125, Shape, model, vocabulary

SMALL = Shape("small", width=64, blocks=2, heads=2, feed_forward=96, vocabulary=3_000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(SMALL, tmp_path_factory.mktemp("models"))


def test_the_header_is_sound_and_counts_are_those_of_the_shape(small: Path) -> None:
    """Our own check accepts the file, and its size is that of its weights in blocks of 34 bytes."""
    with small.open("rb") as file:
        header = read_header(file, small.stat().st_size)
    assert header.context == CONTEXT
    assert header.metadata["llama.vocab_size"] == SMALL.vocabulary
    weights = SMALL.parameters * 34 / 32
    assert weights < header.size_bytes < weights + 200_000


def test_the_same_shape_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    """A figure of today is compared on the file of yesterday."""
    again = model(SMALL, tmp_path)
    assert again.name == small.name
    assert again.read_bytes() == small.read_bytes()


def test_a_file_that_is_there_is_not_written_again(small: Path) -> None:
    """The folder is a cache."""
    before = small.stat().st_mtime_ns
    assert model(SMALL, small.parent) == small
    assert small.stat().st_mtime_ns == before


def test_sizes_are_those_that_figures_name() -> None:
    """About 125 and about 10 million parameters, within a tenth."""
    assert abs(M125.parameters / 125e6 - 1) < 0.1
    assert abs(M10.parameters / 10e6 - 1) < 0.1


@pytest.mark.parametrize("shape", [M10, M125])
def test_a_vocabulary_is_whole_and_its_merges_lead_to_its_tokens(shape: Shape) -> None:
    """Every token once, every merge of two known tokens into a third."""
    words = vocabulary(shape.vocabulary)
    assert len(words.tokens) == len(set(words.tokens)) == shape.vocabulary
    known = set(words.tokens)
    for merge in words.merges:
        before, after = merge.split(" ")
        assert {before, after, before + after} <= known
    assert len(words.spoken) > 1000
    assert all(re.fullmatch("Ġ[a-z]+", words.tokens[place]) for place in words.spoken)


def test_more_words_than_the_lists_have_are_refused() -> None:
    """A vocabulary is never silently smaller than its name."""
    with pytest.raises(ValueError, match="too few words"):
        vocabulary(200_000)


def test_notes_share_no_beginning_and_hold_what_is_masked() -> None:
    """No cache of prefixes can help; a name, a date or a number is in each."""
    some = list(itertools.islice(texts.notes(220, seed=1), 1000))
    assert len({note[:12] for note in some}) > 900
    assert len(set(some)) == 1000
    assert all(re.search(r"MRN \d{7}|555-01\d\d|\d{4} with pain", note) for note in some)


async def test_greedy_decoding_writes_whole_words_and_never_ends(small: Path) -> None:
    """64 tokens asked for are 64 tokens of text, for every prompt."""
    engine = LlamaEngine([spec(SMALL, small)], isolation="none")
    try:
        await engine.start()
        for note in itertools.islice(texts.notes(220, seed=2), 4):
            prompt = Prompt((Message("user", note),), sampling=Sampling(64, temperature=0.0))
            chunks = [c async for c in engine.generate(Generation(SMALL.name, prompt, 60))]
            assert chunks[-1].finish is FinishReason.LENGTH
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens == 64
            assert re.fullmatch("(?: [A-Za-z]+){64}", "".join(c.text for c in chunks))
    finally:
        await engine.aclose()
