"""What was searched once within a scope is not searched again, and nobody else learns of it."""

from __future__ import annotations

import pytest

from gateway.errors import DetectorError
from gateway.pii import cache as module
from gateway.pii.cache import LIFETIME_S, FindingsCache
from tests.wordlist import detect

TEXT = "Ada Quill came in on Monday, and the rest of this line is long enough."
OTHER = TEXT.replace("Monday", "Friday")


def found(texts):
    return [tuple(detect({"Ada Quill": "PERSON"}, text)) for text in texts]


class Counting:
    """A detector that knows one name, and which texts it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = False

    def detect(self, texts, language=None, changed=None):
        self.asked += texts
        if self.fails:
            raise DetectorError
        return found(texts)


class At:
    """A clock that stands where it was put."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def parts():
    detector, clock = Counting(), At()
    return detector, clock, FindingsCache(detector, b"secret" * 6, clock)


def test_a_text_is_searched_once_within_a_scope(parts):
    """A conversation that grows by a turn pays for that turn; the answers are the detector's."""
    detector, _, cache = parts
    first = cache.detect([TEXT], None, b"a")
    both = cache.detect([TEXT, OTHER], None, b"a")
    assert detector.asked == [TEXT, OTHER]
    assert both == found([TEXT, OTHER])
    assert first[0] == both[0]
    assert both[0]


@pytest.mark.parametrize(("scope", "language"), [(b"b", None), (b"a", "de")])
def test_another_scope_or_language_is_searched_anew(parts, scope, language):
    """The time an answer takes tells nobody what someone else has asked."""
    detector, _, cache = parts
    cache.detect([TEXT], None, b"a")
    cache.detect([TEXT], language, scope)
    assert detector.asked == [TEXT, TEXT]


def test_what_was_found_near_changes_is_no_answer_for_the_text_itself(parts):
    """The tripwire asks about a part of a text; a user who sends that text gets a whole search."""
    detector, _, cache = parts
    cache.detect([TEXT], None, b"a", [[(0, 3)]])
    cache.detect([TEXT], None, b"a")
    cache.detect([TEXT], None, b"a", [[(0, 4)]])
    assert detector.asked == [TEXT, TEXT, TEXT]


def test_what_is_old_or_flushed_is_forgotten(parts):
    """Ten minutes, or until a policy is applied."""
    detector, clock, cache = parts
    cache.detect([TEXT], None, b"a")
    clock.now = LIFETIME_S - 1
    cache.detect([TEXT], None, b"a")
    assert len(detector.asked) == 1
    clock.now = LIFETIME_S
    cache.detect([TEXT], None, b"a")
    assert len(detector.asked) == 2
    cache.flush()
    assert len(cache) == 0
    cache.detect([TEXT], None, b"a")
    assert len(detector.asked) == 3


def test_it_is_bounded_by_texts_and_by_findings(parts, monkeypatch):
    """The least recently used goes first, and an answer is right whatever was dropped."""
    detector, _, cache = parts
    monkeypatch.setattr(module, "MOST_TEXTS", 2)
    texts = [f"{TEXT} {n}" for n in range(5)]
    expected = found(texts)
    assert cache.detect(texts, None, b"a") == expected
    assert len(cache) == 2
    monkeypatch.setattr(module, "MOST_FINDINGS", 1)
    assert cache.detect(texts, None, b"a") == expected
    assert len(cache) == 1
    assert len(detector.asked) == 5 + 3


def test_a_failed_search_leaves_nothing(parts):
    """An incomplete answer is no answer: the next request searches again."""
    detector, _, cache = parts
    detector.fails = True
    with pytest.raises(DetectorError):
        cache.detect([TEXT], None, b"a")
    assert len(cache) == 0
    detector.fails = False
    assert cache.detect([TEXT], None, b"a")[0]


def test_it_holds_no_text(parts):
    """Keys are MACs and values are offsets: a dump of this memory shows no name."""
    _, _, cache = parts
    cache.detect([TEXT], None, b"clara@ward-7")
    held = repr(vars(cache)["_known"])
    assert "Quill" not in held
    assert "clara" not in held
    assert all(len(key) == 32 for key in vars(cache)["_known"])
