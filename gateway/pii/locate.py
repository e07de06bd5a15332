"""Between segments and the detector: what it is asked, and where its answers lie."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import Finding
from gateway.pii.port import Changed
from gateway.pii.segments import Kind, Segment
from gateway.pii.views import spoken, view

STRUCTURE = "structure"
"""The source of findings that follow from the place of a text, not from the text."""

Findings = tuple[tuple[Finding, ...], ...]
"""Per segment, findings with offsets into the segment's text, sorted by start."""


def queries(segments: Sequence[Segment]) -> list[str]:
    """One text per segment for the detector: escapes undone, the JSON key in front.

    ``{"mrn": 12345678}`` asks about ``mrn: 12345678``: a bare number says nothing.
    """
    return [_prefix(segment) + spoken(segment.text) for segment in segments]


def changed_in(segment: Segment, spans: Changed) -> Changed | None:
    """Spans of the segment's text as spans of its query; None where escapes are in the way."""
    if view(segment.text) is not None:
        return None
    shift = len(_prefix(segment))
    return [(start + shift, end + shift) for start, end in spans]


def locate(segments: Sequence[Segment], detected: Sequence[Sequence[Finding]]) -> Findings:
    """The detector's answers to ``queries`` as findings in the segments' own texts.

    What lies in the label is the label's (it is a segment of its own). A number is found whole.
    A text whose place makes it a name is a finding as a whole, besides what the detector says.

    Raises:
        ValueError: not one answer for each segment.
    """
    return tuple(
        tuple(sorted(_in_segment(s, found), key=lambda f: (f.start, -f.end, f.entity_type)))
        for s, found in zip(segments, detected, strict=True)
    )


def _in_segment(segment: Segment, detected: Sequence[Finding]) -> list[Finding]:
    text = segment.text
    findings = []
    if segment.forced and text:
        findings.append(Finding(segment.forced, 0, len(text), 1.0, STRUCTURE))
    shift = len(_prefix(segment))
    escaped = view(text)
    length = len(text) if escaped is None else len(escaped.text)
    for finding in detected:
        start, end = max(0, finding.start - shift), min(length, finding.end - shift)
        if start >= end:
            continue
        if escaped is not None:
            start, end = escaped.source_span(start, end)
        if segment.kind is Kind.JSON_NUMBER:
            start, end = 0, len(text)
        findings.append(Finding(finding.entity_type, start, end, finding.score, finding.source))
    return findings


def _prefix(segment: Segment) -> str:
    return f"{segment.label}: " if segment.label else ""
