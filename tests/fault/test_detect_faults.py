"""Detection fails closed, says nothing of the text, and needs no network."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from gateway.errors import DetectorError
from gateway.pii.presidio import detector as module
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.load import Candidate
from tests.silent import Silent

PLANTED = "Zebulon-Quixote-77"


@dataclass(frozen=True)
class Broken:
    """A recognizer whose code has a bug that one text shows."""

    id: str = "broken"
    entity_type: str = "PERSON"
    cue: str = "Zebulon"

    def find(self, data: bytes) -> Iterator[Candidate]:
        yield Candidate("PERSON", 0, 1, 0.5, self.id)
        raise RuntimeError(data.decode())


@dataclass(frozen=True)
class Endless:
    """A recognizer that never ends of itself."""

    id: str = "endless"
    entity_type: str = "PERSON"
    cue: str = "Zebulon"

    def find(self, data: bytes) -> Iterator[Candidate]:
        while True:
            yield Candidate("PERSON", 0, 1, 0.5, self.id)


@dataclass(frozen=True)
class Barren:
    """A recognizer that looks for ever and finds nothing."""

    id: str = "barren"
    entity_type: str = "PERSON"
    cue: str = "Zebulon"

    def find(self, data: bytes) -> Iterator[Candidate | None]:
        while data:
            yield None


def test_a_recognizer_that_raises_fails_the_whole_call():
    """No partial findings: one text that fails takes the others with it, and no text leaks."""
    detector = PresidioDetector(extra=[Broken()])
    assert detector.detect(["Mr. Smith"])[0]
    with pytest.raises(DetectorError) as caught:
        detector.detect(["Mr. Smith", PLANTED])
    assert PLANTED not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_recognizer_that_takes_too_long_fails(monkeypatch):
    """Time runs out between candidates too, not only after a recognizer has ended."""
    monkeypatch.setattr(module, "BASE_SECONDS", 0.2)
    with pytest.raises(DetectorError):
        PresidioDetector(extra=[Endless()]).detect([PLANTED])


def test_a_text_beyond_the_bound_is_refused(monkeypatch):
    """A text that is too long to search is not searched in part."""
    monkeypatch.setattr(module, "LONGEST_TEXT", 10)
    with pytest.raises(DetectorError):
        PresidioDetector().detect(["x" * 11])


def test_a_prefilter_that_gives_up_costs_time_and_no_finding(monkeypatch):
    """Where the automaton has no memory, every recognizer runs."""
    texts = ["Mrs. Wilson, MRN 1234567, 03/04/1956", "a@b.co"]
    usual = PresidioDetector()
    expected = usual.detect(texts)
    starved = PresidioDetector()
    parts = starved._prefilter._parts
    starved._prefilter._parts = [(first, count, _Silent()) for first, count, _ in parts]
    assert starved.detect(texts) == expected


class _Silent:
    def Match(self, _data):  # noqa: N802 (the name is RE2's)
        return None


def test_no_languages_is_no_detector():
    """Zero languages served is an error, never a detector that finds nothing."""
    with pytest.raises(DetectorError):
        PresidioDetector([])


def test_nothing_is_logged_and_nothing_connects(monkeypatch, caplog):
    """E-mail and IBAN recognizers of Presidio's would fetch a list and log the value."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    caplog.set_level(logging.DEBUG)
    texts = [f"{PLANTED}@mail.example", "IBAN DE00 3704 0044 0532 0130 00", f"Mr. {PLANTED}"]
    assert all(PresidioDetector().detect(texts))
    assert [r for r in caplog.records if PLANTED in r.getMessage()] == []
    assert [r for r in caplog.records if r.name == "presidio-analyzer"] == []


HOSTILE = [
    "a" * 300_000,
    "1" * 100_000,
    "a." * 100_000 + "@b.co",
    "-----BEGIN PRIVATE KEY-----" * 3000,
    "Mr. " * 50_000,
    "\ud800" * 100_000,
    "\x00" * 100_000,
    "\u200b" * 100_000,
    "\u05d0\u05d1 " * 50_000,
    "@" * 50_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(t[:12]) for t in HOSTILE])
def test_hostile_texts_end(text):
    """Long texts without spaces, repeated cues and odd characters take time linear in length."""
    (found,) = _shared().detect([text])
    assert all(f.end <= len(text) for f in found)


_SHARED: list[PresidioDetector] = []


def _shared() -> PresidioDetector:
    if not _SHARED:
        _SHARED.append(PresidioDetector())
    return _SHARED[0]


def test_threads_share_a_detector():
    """Findings are the same whichever thread asks."""
    texts = [
        f"Mr. Smith, MRN 12345{i:02}, 0{i % 9 + 1}/04/1956, DE89370400440532013000"
        for i in range(40)
    ]
    expected = _shared().detect(texts)
    with ThreadPoolExecutor(4) as pool:
        assert [r[0] for r in pool.map(lambda t: _shared().detect([t]), texts)] == expected


def test_hostile_addresses_take_no_time():
    """No pattern backtracks over text that is nearly a web address: it ends within the limit."""
    detector = PresidioDetector(tagger=Silent())  # of what the model sees there, nothing is said
    assert detector.detect(["eyJa." * 4000 + " 1.1." * 2000]) == [()]


def test_time_runs_out_while_nothing_is_found(monkeypatch):
    """Work that yields no candidate is within the limit as well."""
    monkeypatch.setattr(module, "BASE_SECONDS", 0.0)
    monkeypatch.setattr(module, "SECONDS_PER_MEGABYTE", 0.0)
    with pytest.raises(DetectorError):
        PresidioDetector(extra=[Barren()]).detect([PLANTED])
