"""The detector: our trained model, Presidio's recognizers and the gateway's own, in process.

The model reads every text. Of the recognizers ``prefilter`` tells which can match at all; only
those run. So cost grows with the text and with what stands in it, not with their number.
Presidio's ``AnalyzerEngine`` is left out: its context enhancer walks all tokens for each finding,
and its regex timeouts skip a pattern and go on. Here whatever does not complete is an error.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Protocol

from gateway.domain import Finding
from gateway.errors import DetectorError
from gateway.pii.ner.tagger import Span, Tagger
from gateway.pii.placeholders import CANONICAL
from gateway.pii.port import MODEL, Changed
from gateway.pii.presidio.phones import build_phones
from gateway.pii.presidio.prefilter import Prefilter
from gateway.pii.presidio.registry import build_registry, presidio_version
from gateway.pii.presidio.resolve import resolve
from gateway.pii.recognizers.disguise import expand
from gateway.pii.recognizers.folding import Folded, fold
from gateway.pii.recognizers.load import Candidate, load_rules
from gateway.pii.terms import Terms

LANGUAGES = ("en", "es", "fr", "de")
LONGEST_TEXT = 8_000_000  # characters
BASE_SECONDS, SECONDS_PER_MEGABYTE = 5.0, 60.0  # of the thread's processor time
_CHECK_TIME_EVERY = 1024  # candidates
_PACKAGES = (
    "gateway.pii",
    "gateway.pii.presidio",
    "gateway.pii.recognizers",
    "gateway.pii.recognizers.checks",
)
_DECIDING = (".py", ".toml")  # the files of a package that decide what is found


_PLACEHOLDER = re.compile(CANONICAL.encode())


def _blank(match: re.Match[bytes]) -> bytes:
    """A placeholder of as many bytes that says nothing: its type is no label of what follows."""
    return b"<" + b"~" * (len(match[0]) - 2) + b">"


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


class SpanReader(Protocol):
    """What reads a text for spans that a pattern cannot know: the trained model."""

    @property
    def digest(self) -> str: ...

    @property
    def entity_types(self) -> frozenset[str]: ...

    def spans(
        self, texts: Sequence[str], changed: Sequence[Changed | None] | None = None
    ) -> list[list[Span]]: ...


class PresidioDetector:
    """Implements ``pii.port.Detector``. Immutable after construction, safe in threads.

    ``languages`` are those served. Every recognizer runs for each of them, because an identifier
    does not change with the language around it; they are part of the digest. ``tagger`` is the
    model that ships unless another is given; ``extra`` are recognizers of the site.

    Raises:
        SettingsError: a file of the recognizers or the model is missing or altered.
    """

    def __init__(
        self,
        languages: Sequence[str] = LANGUAGES,
        *,
        tagger: SpanReader | None = None,
        extra: Sequence[Recognizer] = (),
    ) -> None:
        if not languages:
            raise DetectorError("No language is served.")
        rules, _ = load_rules()
        self._recognizers: tuple[Recognizer, ...] = (
            *rules,
            *build_registry(),
            build_phones(),
            *extra,
        )
        self._prefilter = Prefilter([r.cue for r in self._recognizers])
        self._tagger: SpanReader = Tagger.load() if tagger is None else tagger
        self._terms = Terms()
        self._digest = _digest(self._tagger.digest, languages, self._recognizers)
        self._types = self._tagger.entity_types | {r.entity_type for r in self._recognizers}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over code, data, model, languages and Presidio's version."""
        return self._digest

    @property
    def entity_types(self) -> frozenset[str]:
        """Every type that a finding can have."""
        return self._types

    def detect(
        self,
        texts: Sequence[str],
        language: str | None = None,  # noqa: ARG002
        changed: Sequence[Changed | None] | None = None,
    ) -> list[tuple[Finding, ...]]:
        """Findings per text; see the port. Every language's recognizers run on every text."""
        if any(len(text) > LONGEST_TEXT for text in texts):
            raise DetectorError("A text is longer than detection accepts.")
        try:
            expanded = expand(texts)
            folded = [fold(text) for text in expanded.texts]
            places = [*(changed or ()), *(None,) * (len(folded) - len(changed or ()))]
            return expanded.merge(self._detect(folded, places))
        except DetectorError:
            raise
        except Exception:  # noqa: BLE001 - foreign code: whatever it raises, detection failed
            raise DetectorError from None

    def _detect(
        self, texts: Sequence[Folded], changed: Sequence[Changed | None]
    ) -> list[tuple[Finding, ...]]:
        size = sum(len(folded.text) for folded in texts)
        deadline = time.thread_time() + BASE_SECONDS + SECONDS_PER_MEGABYTE * size / (1 << 20)
        places = [p and folded.places(p) for folded, p in zip(texts, changed, strict=True)]
        tagged = self._tagger.spans([folded.text for folded in texts], places)
        _in_time(deadline)
        findings = []
        for folded, spans in zip(texts, tagged, strict=True):
            data = folded.text.encode()
            candidates = _in_bytes(self._terms.spare(folded.text, spans), folded.text, data)
            candidates += self._recognized(_PLACEHOLDER.sub(_blank, data), deadline)
            findings.append(resolve(candidates, folded, data))
        return findings

    def _recognized(self, data: bytes, deadline: float) -> list[Candidate]:
        """What the recognizers find.

        Raises:
            DetectorError: it took too long.
        """
        candidates: list[Candidate] = []
        for index in self._prefilter.possible(data):
            for candidate in self._recognizers[index].find(data):
                if candidate is not None:
                    candidates.append(candidate)
                if candidate is None or len(candidates) % _CHECK_TIME_EVERY == 0:
                    _in_time(deadline)
            _in_time(deadline)
        return candidates


def _in_time(deadline: float) -> None:
    if time.thread_time() > deadline:
        raise DetectorError("Detection took too long.")


def _in_bytes(spans: Iterable[Span], text: str, data: bytes) -> list[Candidate]:
    """Sorted spans in characters as candidates in bytes."""
    if len(data) == len(text):
        return [Candidate(s.label, s.start, s.end, s.score, MODEL) for s in spans]
    candidates = []
    character = byte = 0
    for span in spans:
        byte += len(text[character : span.start].encode())
        start = byte
        byte += len(text[span.start : span.end].encode())
        character = span.end
        candidates.append(Candidate(span.label, start, byte, span.score, MODEL))
    return candidates


def _digest(model: str, languages: Sequence[str], recognizers: Sequence[Recognizer]) -> str:
    digest = hashlib.sha256()
    parts = [model, presidio_version(), ",".join(sorted(languages))]
    parts += [f"{r.id}|{r.entity_type}|{r.cue}" for r in recognizers]
    for package in _PACKAGES:
        files = sorted(resources.files(package).iterdir(), key=lambda file: file.name)
        parts += [f.read_text(encoding="utf-8") for f in files if f.name.endswith(_DECIDING)]
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
