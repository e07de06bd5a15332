"""What one pass of detection costs, beside stock Presidio on the same texts in the same run.

One thread, processor time: a request pays two passes (detection and the tripwire). Texts are cut
from the notes of the shared corpora where they are, else from the sentences below.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.domain import Decision, Finding, Operator, Ruling
from gateway.errors import TripwireError
from gateway.pii.mask import splice
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.presidio.imports import import_presidio
from gateway.protect import Protector
from tests.benchmarks.harness import Figure, publish

NOTES = Path(__file__).parents[3] / "shared" / "corpora" / "aci-bench-notes.jsonl"
SENTENCES = (
    "Mrs. Clara Oakfield came on 3 March 2021 with chest pain, MRN 4412877, and was sent home.",
    "The blood pressure was 128/80, the pulse was regular, and no allergy is known.",
    "Ramipril stays at 5 mg once a day; HbA1c 7.2 %, creatinine 1.1, potassium 4.1.",
    "Call her under 555-012-3456 when the result of the last test has come in.",
)
TEXTS = {125: 300, 2000: 60, 20000: 8}
BARS = {125: (1.5, 0.5), 2000: (12.0, 2.0), 20000: (120.0, 20.0)}  # ms per pass: bar, reach
STOCK_TEXTS = 6
_FIRST_SPACE = re.compile(r"(?<=[.])\s+|\n+")


def notes() -> list[str]:
    """Long texts to cut from."""
    if NOTES.is_file():
        return [json.loads(line)["text"] for line in NOTES.open(encoding="utf-8")]
    return [" ".join(SENTENCES) * 8] * 20


def cut(whole: str, length: int, count: int) -> list[str]:
    """``count`` different texts of ``length`` characters."""
    step = max(1, (len(whole) - length) // count)
    return [whole[i * step : i * step + length] for i in range(count)]


def milliseconds(call: Callable[[str], object], texts: Sequence[str]) -> float:
    """Processor time per text, after one warm round over all of them."""
    for text in texts:
        call(text)
    start = time.process_time()
    for text in texts:
        call(text)
    return (time.process_time() - start) / len(texts) * 1000


def stock() -> Callable[[str], object]:
    """Every pattern recognizer of Presidio under English, as its analyzer would run them."""
    import presidio_analyzer.predefined_recognizers as predefined  # noqa: PLC0415
    from presidio_analyzer import PatternRecognizer  # noqa: PLC0415

    names = [
        name
        for name, kind in vars(predefined).items()
        if isinstance(kind, type)
        and issubclass(kind, PatternRecognizer)
        and name != "EmailRecognizer"  # it would fetch a suffix list
    ]
    recognizers: list[Any] = [getattr(predefined, name)() for name in names]
    return lambda text: [r.analyze(text, r.supported_entities) for r in recognizers]


def refused(detector: PresidioDetector, texts: Sequence[str]) -> float:
    """Share of ordinary texts that the tripwire refuses, with everything found masked."""
    protector = Protector(detector, splice, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    count = 0
    for text in texts:
        try:
            protector.protect_text(text, _pseudonyms)
        except TripwireError:
            count += 1
    return count / len(texts)


def _pseudonyms(findings: Sequence[Finding]) -> Decision:
    return Decision(tuple(Ruling(Operator.PSEUDONYM, restore=True) for _ in findings))


def main() -> int:
    """Measure, print, write; the exit code says whether a bar was missed."""
    begin = time.process_time()
    import_presidio()  # a detector would; apart, so that its own cost shows
    imported = time.process_time() - begin
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    detector = PresidioDetector()
    built = time.process_time() - begin
    whole = "\n".join(notes())
    figures = [
        Figure("import_presidio", imported * 1000, "ms", "lower", 2500, 1000),
        Figure("build", built * 1000, "ms", "lower", 1500, 500),
    ]
    for length, count in TEXTS.items():
        texts = cut(whole, length, count)
        bar, reach = BARS[length]
        spent = milliseconds(lambda text: detector.detect([text]), texts)
        figures.append(Figure(f"pass_{length}", spent, "ms", "lower", bar, reach))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures.append(Figure("memory_added", (after - before) / 1024, "MiB", "lower", 100, 40))
    figures.append(Figure("memory_process", after / 1024, "MiB", "lower"))
    sentences = [s for s in _FIRST_SPACE.split(whole) if s.strip()][:2000]
    figures.append(
        Figure("clean_refused", refused(detector, sentences) * 100, "%", "lower", 0.2, 0.0)
    )
    peer = milliseconds(stock(), cut(whole, 2000, STOCK_TEXTS))
    figures.append(Figure("stock_presidio_2000", peer, "ms", "lower"))
    source = "aci-bench notes" if NOTES.is_file() else "sentences of this file"
    return publish("detect", figures, notes=f"One thread, processor time per pass; {source}.")


if __name__ == "__main__":
    sys.exit(main())
