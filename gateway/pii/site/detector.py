"""Detection with a site's own knowledge, tried out on the site's own cases before it serves."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from gateway.domain import Band, Finding, band_of
from gateway.errors import DataFileError, DetectorError
from gateway.pii.port import Changed, Detector
from gateway.pii.recognizers.folding import fold
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK, WEAK
from gateway.pii.site.allow import spare
from gateway.pii.site.examples import Example
from gateway.pii.site.files import Knowledge, SiteFile
from gateway.pii.site.words import Words


class SiteDetector:
    """Implements ``pii.port.Detector``: another one, and after it the site's allow lists.

    ``detector`` MUST run ``site.recognizers``.
    """

    def __init__(self, detector: Detector, site: Knowledge) -> None:
        self._detector = detector
        self._allowed = site.allowed if any(file.allowed for file in site.files) else None
        raw = f"{detector.digest}|{site.digest}".encode()
        self._digest = hashlib.sha256(raw).hexdigest()
        lists = [each for file in site.files for each in (*file.lists, *file.denied)]
        self._types = frozenset(each.entity_type for each in lists) | detector.entity_types

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the detector's and all files of the site."""
        return self._digest

    @property
    def entity_types(self) -> frozenset[str]:
        """Every type that a finding can have."""
        return self._types

    def detect(
        self,
        texts: Sequence[str],
        language: str | None = None,
        changed: Sequence[Changed | None] | None = None,
    ) -> list[tuple[Finding, ...]]:
        """Findings per text; see the port.

        Raises:
            DetectorError: as the port.
        """
        found = self._detector.detect(texts, language, changed)
        if self._allowed is None:
            return found
        try:
            return [spare(t, f, self._allowed) for t, f in zip(texts, found, strict=True)]
        except Exception:  # noqa: BLE001 - whatever it is, its text must not leave
            raise DetectorError from None


# --- cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A case that does not hold, or what no case shows. ``where`` is ``file:line:col``."""

    where: str
    fault: str


def try_out(file: SiteFile, detector: Detector) -> list[Fault]:
    """Run the cases of ``file`` on the detector that will serve; empty when all hold.

    Raises:
        DetectorError: detection did not complete.
    """
    found = detector.detect([example.text for example in file.examples])
    faults = [
        Fault(example.where, fault)
        for example, findings in zip(file.examples, found, strict=True)
        for fault in _differences(example, findings)
    ]
    shown = _shown(file)
    for source in file.sources:
        if source not in shown:
            name = source.rpartition("/")[2]
            fault = f"no case shows what '{name}' is for; add one in which it finds something"
            faults.append(Fault(f"{file.file}:1:1", fault))
    return faults


def check(site: Knowledge, detector: Detector) -> None:
    """Run every case of every file.

    Raises:
        DataFileError: one does not hold, with its place; nothing of the text.
        DetectorError: detection did not complete.
    """
    for file in site.files:
        for fault in try_out(file, detector):
            raise DataFileError(fault.fault, where=fault.where)


def _differences(example: Example, findings: Sequence[Finding]) -> Iterator[str]:
    """What is not as marked, by offsets of the text without its marks.

    Beside the marks, findings of weak types and of low confidence may be: policy weighs those.
    """
    for entity_type, start, end in example.spans:
        covered = _covered([f for f in findings if f.entity_type == entity_type])
        if _letters(example.text, start, end) - covered:
            others = {f.entity_type for f in findings if f.start < end and start < f.end}
            instead = f", but as {', '.join(sorted(others))}" if others - {entity_type} else ""
            yield f"characters {start} to {end} are not found as {entity_type}{instead}"
    marked = {i for _, start, end in example.spans for i in range(start, end)}
    for finding in findings:
        if finding.entity_type in WEAK or band_of(finding.score) is Band.LOW:
            continue
        if _letters(example.text, finding.start, finding.end) - marked:
            yield (
                f"characters {finding.start} to {finding.end} are found as {finding.entity_type} "
                "and are not marked so; mark them or choose another text"
            )


def _covered(findings: Sequence[Finding]) -> set[int]:
    return {i for f in findings for i in range(f.start, f.end)}


def _letters(text: str, start: int, end: int) -> set[int]:
    return {i for i in range(start, end) if text[i].isalnum()}


def _shown(file: SiteFile) -> Collection[str]:
    """The sources of the file that find something in one of its cases."""
    every = Words((*file.lists, *file.denied))
    allowed = Words(file.allowed)
    shown = set()
    for example in file.examples:
        text = fold(example.text).text
        data = text.encode()
        hits = chain(every.find(data), *(rule.find(data) for rule in file.patterns))
        shown |= {hit.source.removesuffix(CHECKSUM_MARK) for hit in hits if hit is not None}
        shown |= {place[2].source for place in allowed.places(text) if place is not None}
    return shown
