"""The detector: Presidio and the gateway's own recognizers, in process, without a model.

One pass of an RE2 set over the folded text tells which recognizers can match at all; only those
run. So cost grows with the text and with what stands in it, not with the number of recognizers.
Presidio's ``AnalyzerEngine`` is left out: its context enhancer walks all tokens for each finding,
and its regex timeouts skip a pattern and go on. Here whatever does not complete is an error.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Protocol

import re2

from gateway.domain import Finding
from gateway.errors import DetectorError
from gateway.pii.presidio.phones import build_phones
from gateway.pii.presidio.registry import build_registry, presidio_version
from gateway.pii.presidio.resolve import resolve
from gateway.pii.recognizers.disguise import expand
from gateway.pii.recognizers.folding import fold
from gateway.pii.recognizers.load import Candidate, load_rules

LANGUAGES = ("en", "es", "fr", "de")
LONGEST_TEXT = 8_000_000  # characters
BASE_SECONDS, SECONDS_PER_MEGABYTE = 5.0, 30.0  # of the thread's processor time
_CHECK_TIME_EVERY = 1024  # candidates
_SET_MEMORY = 64 << 20  # bytes the prefilter's automaton may grow to before it starts over
_ALWAYS = ""  # matches every text: if the set does not report it, the set gave up
_CODE = (
    ("gateway.pii.presidio", ("detector", "imports", "loosen", "phones", "registry", "resolve")),
    (
        "gateway.pii.recognizers",
        ("load", "labelled", "disguise", "edits", "decode", "folding", "vocabulary"),
    ),
    (
        "gateway.pii.recognizers.checks",
        ("__init__", "common", "companies", "europe", "objects", "world"),
    ),
)


class Recognizer(Protocol):
    """What the detector runs. ``cue`` matches, in RE2, wherever ``find`` can find anything.

    ``find`` yields None after work that found nothing, for the caller to look at the clock.
    """

    @property
    def id(self) -> str: ...

    @property
    def entity_type(self) -> str: ...

    @property
    def cue(self) -> str: ...

    def find(self, data: bytes) -> Iterable[Candidate | None]: ...


class PresidioDetector:
    """Implements ``pii.port.Detector``. Immutable after construction, safe in threads.

    ``languages`` are those served. Every recognizer runs for each of them, because an identifier
    does not change with the language around it; they are part of the digest.
    """

    def __init__(
        self, languages: Sequence[str] = LANGUAGES, *, extra: Sequence[Recognizer] = ()
    ) -> None:
        if not languages:
            raise DetectorError("No language is served.")
        rules, data_digest = load_rules()
        self._recognizers: tuple[Recognizer, ...] = (
            *rules,
            *build_registry(),
            build_phones(),
            *extra,
        )
        self._set = _prefilter([r.cue for r in self._recognizers])
        self._digest = _digest(data_digest, languages, self._recognizers)
        self._types = frozenset(r.entity_type for r in self._recognizers)
        self._set.Match(b"")  # builds the automaton's start now rather than in the first request

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over code, data, tables, languages and Presidio's version."""
        return self._digest

    @property
    def entity_types(self) -> frozenset[str]:
        """Every type that a finding can have."""
        return self._types

    def detect(
        self,
        texts: Sequence[str],
        language: str | None = None,  # noqa: ARG002
    ) -> list[tuple[Finding, ...]]:
        """Findings per text; see the port. Every language's recognizers run on every text."""
        try:
            expanded = expand(texts)
            return expanded.merge([self._detect(text) for text in expanded.texts])
        except DetectorError:
            raise
        except Exception:  # noqa: BLE001 - foreign code: whatever it raises, detection failed
            raise DetectorError from None

    def _detect(self, text: str) -> tuple[Finding, ...]:
        if len(text) > LONGEST_TEXT:
            raise DetectorError("A text is longer than detection accepts.")
        folded = fold(text)
        data = folded.text.encode()
        deadline = time.thread_time() + BASE_SECONDS + SECONDS_PER_MEGABYTE * len(data) / (1 << 20)
        candidates: list[Candidate] = []
        for index in self._possible(data):
            for candidate in self._recognizers[index].find(data):
                if candidate is not None:
                    candidates.append(candidate)
                if candidate is None or len(candidates) % _CHECK_TIME_EVERY == 0:
                    _in_time(deadline)
            _in_time(deadline)
        return resolve(candidates, folded, data)

    def _possible(self, data: bytes) -> Sequence[int]:
        """Indices of the recognizers that can match in ``data``."""
        hits: list[int] = self._set.Match(data) or []
        sentinel = len(self._recognizers)
        if sentinel not in hits:  # the automaton ran out of memory: run everything
            return range(sentinel)
        return sorted(hit for hit in hits if hit != sentinel)


def _in_time(deadline: float) -> None:
    if time.thread_time() > deadline:
        raise DetectorError("Detection took too long.")


def _prefilter(cues: Sequence[str]) -> Any:
    options = re2.Options()
    options.max_mem = _SET_MEMORY
    options.log_errors = False
    prefilter = re2.Set.SearchSet(options)
    for cue in (*cues, _ALWAYS):
        prefilter.Add(cue)
    prefilter.Compile()
    return prefilter


def _digest(data_digest: str, languages: Sequence[str], recognizers: Sequence[Recognizer]) -> str:
    digest = hashlib.sha256()
    parts = [data_digest, presidio_version(), ",".join(sorted(languages))]
    parts += [f"{r.id}|{r.entity_type}|{r.cue}" for r in recognizers]
    for package, modules in _CODE:
        folder = resources.files(package)
        parts += [(folder / f"{name}.py").read_text() for name in modules]
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
