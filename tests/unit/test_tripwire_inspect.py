"""The tripwire: what stops a request, what is masked in another pass, what is excepted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.domain import Band, Finding
from gateway.errors import TripwireError
from gateway.pii import forms, tripwire


@dataclass(frozen=True)
class Span:
    start: int
    end: int
    kept: tuple[str, Band] | None = None


def span_of(text: str, part: str) -> Span:
    start = text.index(part)
    return Span(start, start + len(part))


def finding(text: str, part: str, entity_type: str = "PERSON", source: str = "s") -> Finding:
    span = span_of(text, part)
    return Finding(entity_type, span.start, span.end, 0.9, source)


STOPS = [
    ("a mapped value in another form", "seen: ANNA-SCHMIDT", None, ["Anna Schmidt"]),
    ("a mapped number with other separators", "no 123 45 6789 here", None, ["123 45 6789"]),
    ("a checksummed identifier", "card 4111111111111111", ("4111111111111111", "CREDIT_CARD",
                                                           "card+checksum"), []),
    ("a secret", "pw hunter2!", ("hunter2!", "SECRET", "password"), []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found", "values"), [row[1:] for row in STOPS])
def test_what_stops_a_request(text, found, values):
    """A known value, a checksummed identifier or a secret outside the excepted spans stops."""
    findings = [finding(text, *found)] if found else []
    normal = {forms.searchable(value) for value in values}
    with pytest.raises(TripwireError):
        tripwire.inspect([text], [findings], [[]], normal)
    everything = [[Span(0, len(text))]]
    assert tripwire.inspect([text], [findings], everything, normal) == ((),)


def test_other_findings_are_handed_back():
    """A new finding is not refused: it is what the next pass masks."""
    text = "<PERSON_1> met Wilson"
    found = finding(text, "Wilson")
    assert tripwire.inspect([text], [[found]], [[span_of(text, "<PERSON_1>")]], set()) == (
        (found,),
    )


def test_a_finding_is_cut_to_what_mask_did_not_write():
    """What reaches into an excepted span is cut; punctuation that remains is nothing."""
    text = "<PERSON_1>, Wilson"
    whole = Finding("PERSON", 0, len(text), 0.9, "s")
    edge = Finding("PERSON", 0, 12, 0.9, "s")
    excepted = [[span_of(text, "<PERSON_1>")]]
    (left,) = tripwire.inspect([text], [[whole, edge]], excepted, set())
    assert [text[f.start : f.end] for f in left] == [", Wilson"]


def test_texts_and_findings_must_be_aligned():
    """A text without its findings is an error, never an empty pass."""
    with pytest.raises(ValueError, match="zip"):
        tripwire.inspect(["a", "b"], [[]], [[], []], set())


KEPT = [
    # kept as, found as, score, is handed back
    ("REGION", "REGION", 0.9, False),
    ("REGION", "ORGANIZATION", 0.9, True),
    ("ORGANIZATION", "ORGANIZATION", 0.4, False),
    ("ORGANIZATION", "ORGANIZATION", 0.5, True),
]


@pytest.mark.parametrize(("kept", "found", "score", "handed_back"), KEPT)
def test_what_was_kept_shields_nothing_else(kept, found, score, handed_back):
    """A kept span excepts its own type, found no more surely; anything else there is masked."""
    text = "at Texas Health today"
    span = span_of(text, "Texas")
    band = Band.LOW if kept == "ORGANIZATION" else Band.HIGH
    excepted = [[Span(span.start, span.end, (kept, band))]]
    whole = Finding(found, span.start, span.end, score, "s")
    assert tripwire.inspect([text], [[whole]], excepted, set()) == ((whole,) * handed_back,)


def test_a_mapped_value_in_kept_text_stops():
    """What is masked elsewhere must not stand readable where another finding was kept."""
    text = "the Anna Schmidt Agency"
    excepted = [[Span(0, len(text), ("AUTHORITY", Band.HIGH))]]
    with pytest.raises(TripwireError):
        tripwire.inspect([text], [[]], excepted, {"anna schmidt"})


def test_many_findings_cost_no_look_at_every_span():
    """What a finding costs grows with the logarithm of the spans, not with their number."""

    class Spans(list):
        looked = 0

        def __getitem__(self, index):
            self.looked += 1
            return super().__getitem__(index)

        def __iter__(self):
            for index in range(len(self)):
                yield self[index]

    count = 2000
    spans = Spans((10 * i, 10 * i + 5) for i in range(count))
    for i in range(count):
        assert list(tripwire._outside(10 * i + 5, 10 * i + 9, spans)) == [(10 * i + 5, 10 * i + 9)]
    assert count < spans.looked < count * 20
