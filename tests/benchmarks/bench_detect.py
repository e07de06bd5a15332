"""How much is found, how much is covered for nothing, and what it costs.

Recall and precision are those of ``gateway.scoring``, measured on what a request would lose: the
text goes through detection, masking and the tripwire, with every strong type masked and the weak
ones kept (HIPAA's view), or masked where the set scores those too: meddocan all of them, tab144
what it calls LOC, DATETIME and ORG (its DEM, our DEMOGRAPHIC, has no bar and stays).
Beside it stock Presidio, its pattern recognizers under English, on the same texts.
Cost is processor time of one thread, on texts cut from the notes of aci-bench.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gateway.domain import Category, Decision, Finding, Operator, Ruling
from gateway.errors import TripwireError
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.presidio.imports import import_presidio
from gateway.pii.recognizers.vocabulary import WEAK
from gateway.protect import Protector
from gateway.scoring import Mark, Report, Scored, report
from tests.benchmarks import corpora
from tests.benchmarks.corpora import Sample
from tests.benchmarks.harness import Figure, publish
from tests.running import cli, environment

SENTENCES = (
    "Mrs. Clara Oakfield came on 3 March 2021 with chest pain, MRN 4412877, and was sent home.",
    "The blood pressure was 128/80, the pulse was regular, and no allergy is known.",
    "Ramipril stays at 5 mg once a day; HbA1c 7.2 %, creatinine 1.1, potassium 4.1.",
    "Call her under 555-012-3456 when the result of the last test has come in.",
)
TEXTS = {150: 300, 2000: 60, 20000: 8}
BARS = {150: (10.0, 4.0), 2000: (30.0, 12.0), 20000: (300.0, 120.0)}  # ms: bar, reach
STOCK_TEXTS = 6
NOTES_TIMES = 5  # of about 230,000 characters
MODEL_FILES = Path(__file__).parents[2] / "gateway" / "pii" / "ner"
NUMBERS = ("MEDICAL_RECORD", "US_SSN", "PHONE_NUMBER", "EMAIL_ADDRESS", "CREDIT_CARD")
_FIRST_SPACE = re.compile(r"(?<=[.])\s+|\n+")

Cover = Callable[[str], Sequence[Mark]]
"""The spans of a text that are covered."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One set of texts with its bars: ``(figure, value of a report, bar, reach)``."""

    name: str
    samples: Sequence[Sample]
    weak: frozenset[str]  # weak types that are masked too, because the set scores them
    figures: tuple[tuple[str, Callable[[Report], float], float | None, float | None], ...]


def _label(name: str) -> Callable[[Report], float]:
    return lambda r: r.by_label[name].value if name in r.by_label else 0.0


def _recall(result: Report) -> float:
    return result.recall.value


def _precision(result: Report) -> float:
    return result.precision.value


def _touched(result: Report) -> float:
    return result.touched.value


def qualities() -> list[Quality]:
    """What is measured, against which bars (issue 3)."""
    hand = (("recall", _recall, 0.98, 0.995), ("precision", _precision, 0.95, 0.97))
    foreign = (("recall", _recall, 0.93, 0.97), ("precision", _precision, 0.90, 0.95))
    numbers = tuple((name, _label(name), 0.995, 1.0) for name in NUMBERS)
    leak_free = ("leak_free", lambda r: r.leak_free.value, 0.93, 0.98)
    clean = (("touched", _touched, 0.05, 0.02),)
    tab_bars = dict(
        zip(
            corpora.TAB_SCORED,
            ((0.96, 0.99), (0.90, 0.96), (0.92, 0.97), (0.82, 0.92), (0.85, 0.97)),
            strict=True,
        )
    )
    tab = (
        *((name, _label(name), *bars) for name, bars in tab_bars.items()),
        ("precision", _precision, 0.85, None),
    )
    all_hand = (*hand, leak_free, ("PERSON", _label("PERSON"), 0.99, 1.0), *numbers)
    none = frozenset[str]()
    sets = [
        Quality("queries", corpora.gold("queries.en"), none, all_hand),
        Quality("queries_held", corpora.gold("queries.en", "held"), none, all_hand),
        Quality("queries_apart", corpora.gold("queries.en", "apart"), none, all_hand),
        Quality("clean", corpora.gold("clean.en"), none, clean),
        Quality("clean_apart", corpora.gold("clean.en", "apart"), none, clean),
        Quality("clean_held", corpora.gold("clean.en", "held"), none, clean),
        Quality("documents", corpora.gold("documents.en"), none, hand),
        Quality("documents_held", corpora.gold("documents.en", "held"), none, hand),
        Quality("french", corpora.gold("queries.fr"), none, foreign),
        Quality("french_held", corpora.gold("queries.fr", "held"), none, foreign),
        Quality("german", corpora.gold("queries.de"), none, foreign),
        Quality("german_held", corpora.gold("queries.de", "held"), none, foreign),
        Quality("spanish", corpora.gold("queries.es"), none, _no_bars(foreign)),
        Quality("tab144", corpora.tab144(), WEAK - {"DEMOGRAPHIC"}, tab),
        Quality("meddocan", corpora.meddocan(), WEAK, (("f1", lambda r: r.merged_f1, 0.88, 0.93),)),
        Quality("uner", corpora.uner(), none, (("PER", _label("PER"), 0.85, 0.92),)),
        Quality(
            "aci_bench",
            corpora.aci_bench(),
            none,
            (("words_touched", lambda r: r.words_touched.value, 0.01, 0.003),),
        ),
    ]
    for name, bar, reach in (
        ("legal", 0.97, 0.99),
        ("clinical", 0.97, 0.99),
        ("adversarial", 0.90, 0.97),
    ):
        samples = corpora.pii_anon(name)
        sets.append(Quality(f"pii_anon_{name}", samples, none, (("recall", _recall, bar, reach),)))
    return [quality for quality in sets if quality.samples]


def _no_bars(figures: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    return tuple((name, value, None, None) for name, value, _, _ in figures)


def measured(cover: Cover, samples: Iterable[Sample]) -> Report:
    """The report over ``samples`` of what ``cover`` covers."""
    return report(Scored(s.id, s.text, s.gold, tuple(cover(s.text)), s.spared) for s in samples)


def masking(detector: PresidioDetector, weak: frozenset[str] = frozenset()) -> Cover:
    """What a request would lose: detection, masking and the tripwire together.

    Every strong type is masked, and those of ``weak``.
    """
    protector = Protector(detector, splice, lambda: datetime(2026, 1, 1, tzinfo=UTC), Categorizer())

    def decide(findings: Sequence[Finding], _categories: frozenset[Category]) -> Decision:
        return Decision(tuple(_ruling(f, weak) for f in findings))

    def cover(text: str) -> Sequence[Mark]:
        try:
            _, protected = protector.protect_text(text, decide)
        except TripwireError:  # the request stops: nothing leaks, everything is lost
            return (Mark(0, len(text), "refused"),)
        return [Mark(r.start, r.end, r.entity_type) for r in protected.replacements[0]]

    return cover


def _ruling(finding: Finding, weak: frozenset[str]) -> Ruling:
    kept = finding.entity_type in WEAK - weak
    return Ruling(Operator.KEEP if kept else Operator.PSEUDONYM, restore=True)


def stock() -> Callable[[str], list[Any]]:
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
    return lambda text: [hit for r in recognizers for hit in r.analyze(text, r.supported_entities)]


# --- cost ----------------------------------------------------------------------------------------


def notes() -> list[str]:
    """Long texts to cut from."""
    path = corpora.SHARED / "aci-bench-notes.jsonl"
    if path.is_file():
        return [json.loads(line)["text"] for line in path.open(encoding="utf-8")]
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


def refused(cover: Cover, texts: Sequence[str]) -> float:
    """Share of ordinary texts that the tripwire refuses, with everything found masked."""
    return sum(any(m.label == "refused" for m in cover(text)) for text in texts) / len(texts)


def costs() -> tuple[PresidioDetector, list[Figure]]:
    """Build the detector, and what it costs in time and memory."""
    begin = time.process_time()
    import_presidio()  # a detector would; apart, so that its own cost shows
    imported = time.process_time() - begin
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    detector = PresidioDetector()
    built = time.process_time() - begin
    figures = [
        Figure("import_presidio", imported * 1000, "ms", "lower", 2500, 1000),
        Figure("build", built * 1000, "ms", "lower", 1500, 500),
    ]
    cover, whole = masking(detector), "\n".join(notes())
    for length, count in TEXTS.items():
        bar, reach = BARS[length]
        spent = milliseconds(cover, cut(whole, length, count))
        figures.append(Figure(f"detect_mask_tripwire_{length}", spent, "ms", "lower", bar, reach))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(p.stat().st_size for p in MODEL_FILES.rglob("*") if p.suffix not in {".py", ".pyc"})
    sentences = [s for s in _FIRST_SPACE.split(whole) if s.strip()][:2000]
    figures += [
        Figure("memory_added", (after - before) / 1024, "MiB", "lower", 350, 200),
        Figure("model_on_disk", size / 2**20, "MiB", "lower", 15, 8),
        Figure("clean_refused", refused(cover, sentences) * 100, "%", "lower", 0.2, 0.0),
        Figure("stock_2000", milliseconds(stock(), cut(whole, 2000, STOCK_TEXTS)), "ms", "lower"),
    ]
    return detector, figures


def throughput() -> list[Figure]:
    """Characters a second of `gateway mask --jsonl`, the start of the command included.

    Whole notes, and their sentences as a row each: short rows cost more by the character.
    """
    texts = {"notes": notes() * NOTES_TIMES}
    texts["sentences"] = [s for t in notes() for s in _FIRST_SPACE.split(t) if s.strip()]
    texts["sentences"] *= NOTES_TIMES
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        cli(home, "init")
        for name, rows in texts.items():
            source = Path(folder, f"{name}.jsonl")
            lines = (json.dumps({"id": n, "text": t}) for n, t in enumerate(rows))
            source.write_text("\n".join(lines) + "\n", encoding="utf-8")
            command = [sys.executable, "-m", "gateway", "mask", "--jsonl"]
            begin = time.perf_counter()
            with source.open("rb") as lines_in:
                done = subprocess.run(  # exit 0: every row was masked
                    command,
                    stdin=lines_in,
                    stdout=subprocess.PIPE,
                    env=environment(home),
                    check=True,
                    timeout=600,
                )
            spent = time.perf_counter() - begin
            if done.stdout.count(b"\n") != len(rows):
                raise AssertionError("rows were lost")
            bar, reach = (80_000, 250_000) if name == "notes" else (None, None)
            speed = sum(map(len, rows)) / spent
            figures.append(Figure(f"mask_jsonl_{name}", speed, "1/s", "higher", bar, reach))
    return figures


def main() -> int:
    """Measure, print, write; the exit code says whether a bar was missed."""
    detector, figures = costs()
    figures += throughput()
    peer = stock()
    for quality in qualities():
        result = measured(masking(detector, quality.weak), quality.samples)
        other = measured(
            lambda text: [Mark(h.start, h.end, h.entity_type) for h in peer(text)], quality.samples
        )
        for name, value, bar, reach in quality.figures:
            better: Literal["higher", "lower"] = "lower" if "touched" in name else "higher"
            figures.append(
                Figure(f"{quality.name}_{name}", value(result), "share", better, bar, reach)
            )
            figures.append(Figure(f"{quality.name}_{name}_stock", value(other), "share", better))
    return publish("detect", figures, notes="One thread, processor time; shares of spans or rows.")


if __name__ == "__main__":
    sys.exit(main())
