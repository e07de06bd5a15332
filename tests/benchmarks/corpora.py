"""The texts that detection is measured on, each as rows with what people marked in them.

Offsets are those of ``gateway.scoring``. Shared corpora lie beside the repository; a set that is
not there is an empty list, and the benchmark says so. What each label means, and which rows were
kept out of training, stands in docs/detection.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.scoring import Mark
from tests.benchmarks.gold.gold import HERE
from tests.benchmarks.gold.gold import rows as gold_rows

SHARED = Path(__file__).parents[3] / "shared" / "corpora"

TAB_SCORED = ("PERSON", "LOC", "DATETIME", "ORG", "CODE")
NOT_IDENTIFIERS = frozenset(
    # What pii-anon marks and 45 CFR 164.514(b)(2)(i) and docs/spec/entities.md do not count.
    {"MEDICATION_NAME", "HEALTH_CONDITION", "PROCEDURE_NAME", "JOB_TITLE", "SALARY", "AGE"}
    | {"POLITICAL_OPINION", "RELIGIOUS_BELIEF", "ETHNICITY", "GENDER", "NATIONALITY"}
    | {"HOUSEHOLD_SIZE", "MARITAL_STATUS", "EDUCATION_LEVEL", "VEHICLE_MODEL"}
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One text. ``gold`` counts for recall, ``spared`` may be covered or not."""

    id: str
    lang: str
    text: str = field(repr=False)
    gold: tuple[Mark, ...]
    spared: tuple[Mark, ...] = ()


def gold(name: str, half: str | None = None) -> list[Sample]:
    """A hand-written set; ``half`` is dev, held or both, or ``apart`` (gold/README.md)."""
    shared = set((HERE / "shared_once.csv").read_text(encoding="utf-8").split())
    return [
        Sample(row.id, row.lang, row.text, tuple(Mark(*span) for span in row.spans))
        for row in gold_rows(name)
        if half in {None, row.half} or (half == "apart" and f"{name},{row.id}" not in shared)
    ]


def tab144() -> list[Sample]:
    """Court cases, dev: direct and quasi identifiers count, what need not be masked is spared."""
    samples = []
    for row in _rows("tab144", "dev"):
        spared = {Mark(*span[:3]) for span in row["spans"] if span[3] == "NO_MASK"}
        samples.append(_sample(row, set(_marks(row)) - spared, spared))
    return samples


def meddocan() -> list[Sample]:
    """Spanish clinical cases, dev, every one of the 22 types."""
    return [_sample(row, _marks(row)) for row in _rows("meddocan", "dev")]


def uner() -> list[Sample]:
    """Web text that nothing was trained on: persons count, places and organisations are spared."""
    samples = []
    for row in _rows("uner-en-ewt", None):
        marks = _marks(row)
        persons = [mark for mark in marks if mark.label == "PER"]
        samples.append(_sample(row, persons, [m for m in marks if m.label != "PER"]))
    return samples


def pii_anon(name: str) -> list[Sample]:
    """The half of the rows that no training saw: the types that identify."""
    return [
        _sample(row, [m for m in _marks(row) if m.label not in NOT_IDENTIFIERS])
        for row in _rows(f"pii-anon-{name}", None)
        if not trained_on(row["id"])
    ]


def aci_bench() -> list[Sample]:
    """Visit notes, the validation part; nothing is marked in them."""
    return [_sample(row, ()) for row in _rows("aci-bench-notes", "valid")]


def trained_on(row_id: str) -> bool:
    """Whether the model's recipe may train on this row of pii-anon: half of them, by a hash."""
    return sha256(row_id.encode()).digest()[0] % 2 == 0


def _rows(name: str, split: str | None) -> Iterator[dict[str, Any]]:
    path = SHARED / f"{name}.jsonl"
    if not path.is_file():
        return
    for line in path.open(encoding="utf-8"):
        row = json.loads(line)
        if split in {None, row["split"]}:
            yield row


def _marks(row: dict[str, Any]) -> list[Mark]:
    return [Mark(*span[:3]) for span in row["spans"] if span[0] < span[1]]


def _sample(row: dict[str, Any], marks: Iterable[Mark], spared: Iterable[Mark] = ()) -> Sample:
    return Sample(str(row["id"]), row["lang"] or "", row["text"], _sorted(marks), _sorted(spared))


def _sorted(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    return tuple(sorted(marks, key=lambda mark: (mark.start, mark.end, mark.label)))
