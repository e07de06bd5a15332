"""The network of the name model in numpy, and the file it is kept in."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.pii.ner import network
from gateway.pii.ner.features import GRAM_ROWS, SMALL_ROWS, WORD_ROWS, read
from gateway.pii.ner.network import DISTANCES, REACH, TAGS, Floats, Network, pack, unpack

TABLE, WIDTH = 8, 12


def weights() -> dict[str, Floats]:
    """A small network of random weights, in the shapes that the recipe exports."""
    source = np.random.default_rng(5)

    def draw(*shape: int) -> Floats:
        return source.normal(0, 0.5, shape).astype(np.float32)

    arrays = {
        "table_grams": draw(GRAM_ROWS, TABLE),
        "table_words": draw(WORD_ROWS, TABLE),
        "table_small": draw(SMALL_ROWS, TABLE),
        "weight_0": draw(3 * TABLE, WIDTH),
        "bias_0": draw(WIDTH),
        "weight_out": draw(WIDTH, TAGS),
        "bias_out": draw(TAGS),
    }
    for layer in range(1, len(DISTANCES)):
        arrays[f"weight_{layer}"] = draw(3 * WIDTH, WIDTH)
        arrays[f"shift_{layer - 1}"] = draw(WIDTH)
    return arrays


@pytest.fixture(scope="module")
def small() -> Network:
    return Network.from_bytes(pack(weights()))


def tags(net: Network, text: str) -> Floats:
    found = read([text])
    return net.tags(net.forms(found), found.forms, found.small)


def test_the_file_holds_the_weights_to_their_rounding() -> None:
    """Tables come back to half a step of their row's scale, the rest to float16."""
    arrays = weights()
    back = unpack(pack(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        step = np.abs(array).max(1, keepdims=True) / 127 if name.startswith("table_") else 1e-3
        assert np.all(np.abs(back[name] - array) <= 0.51 * step + 2e-3 * np.abs(array)), name


def test_weights_are_read_only(small: Network) -> None:
    """Threads share the arrays, so none can write to them."""
    with pytest.raises(ValueError, match="read-only"):
        small.arrays["bias_out"][0] = 1


def test_each_token_has_a_distribution_over_the_tags(small: Network) -> None:
    """Probabilities of the tags are positive and sum to one; no token, no row."""
    found = tags(small, "Ann saw Bo in Ulm on 3 May.")
    assert found.shape == (9, TAGS)
    assert np.all(found >= 0)
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    assert tags(small, "").shape == (0, TAGS)


def test_windows_change_nothing(small: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a window, the probabilities are the same."""
    text = "Ann saw Bo, then Cy and Di; nobody in Ulm knew 17 of them.\n" * 40
    whole = tags(small, text)
    monkeypatch.setattr(network, "WINDOW", 32)
    assert tags(small, text) == pytest.approx(whole, abs=1e-5)


def test_a_token_sees_as_far_as_the_reach(small: Network) -> None:
    """A change that is further away than the reach changes nothing, a nearer one does."""
    words = ["aa"] * 80
    before = tags(small, " ".join(words))
    words[40] = "bb"
    after = tags(small, " ".join(words))
    changed = np.flatnonzero(np.abs(after - before).max(1) > 1e-6)
    assert changed.min() >= 40 - REACH
    assert changed.max() <= 40 + REACH
    assert 40 in changed
    assert len(changed) > REACH
