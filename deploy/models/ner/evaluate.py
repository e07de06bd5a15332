"""What the exported model finds by itself: ``python -m deploy.models.ner.evaluate FOLDER``.

Held-out parts of the shared corpora; the rules of the gateway are not asked. A span is found when
no letter or digit of it stays uncovered; precision counts covered letters and digits that no
labelled span holds.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from deploy.models.ner import corpora
from gateway.pii.ner.tagger import Span, Tagger
from gateway.pii.recognizers.folding import fold

Row = dict[str, Any]
_CASE = {"DIRECT", "QUASI"}


def found(tagger: Tagger, rows: list[Row], least: float) -> list[list[Span]]:
    """Spans of at least ``least`` in the original offsets of each row."""
    folds = [fold(r["text"]) for r in rows]
    result = []
    for folded, spans in zip(folds, tagger.spans([f.text for f in folds]), strict=True):
        kept = []
        for s in spans:
            if s.score >= least:
                start, end = folded.original(s.start, s.end)
                kept.append(Span(start, end, s.label, s.score))
        result.append(kept)
    return result


def covered(text: str, spans: Iterable[tuple[int, int]]) -> set[int]:
    return {i for a, b in spans for i in range(a, b) if text[i].isalnum()}


def score(
    rows: list[Row],
    spans: list[list[Span]],
    gold: Callable[[Row], list[tuple[int, int, str]]],
    everything: Callable[[Row], list[tuple[int, int]]] | None = None,
    misses: Counter[str] | None = None,
) -> dict[str, str]:
    """Recall by kind, and precision by characters."""
    hit: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    right = total = 0
    for row, mine in zip(rows, spans, strict=True):
        text = row["text"]
        cover = covered(text, ((s.start, s.end) for s in mine))
        for a, b, kind in gold(row):
            need = covered(text, [(a, b)])
            ok = need <= cover
            hit[kind][0] += ok
            hit[kind][1] += 1
            if not ok and misses is not None:
                misses[f"{kind}: {text[a:b]}"] += 1
        true = covered(
            text, everything(row) if everything else [(s[0], s[1]) for s in row["spans"]]
        )
        right += len(cover & true)
        total += len(cover)
        if misses is not None:
            for s in mine:
                if not covered(text, [(s.start, s.end)]) & true:
                    misses[f"+{s.label}: {text[s.start : s.end]}"] += 1
    table = {kind: f"{a / b:.3f} of {b}" for kind, (a, b) in sorted(hit.items())}
    return table | {"character precision": f"{right / max(1, total):.3f}"}


def merged_f1(rows: list[Row], spans: list[list[Span]]) -> str:
    """F1 of spans merged where at most separators lie between them, types apart from it."""

    def merge(text: str, pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        out: list[list[int]] = []
        for a, b in sorted(pairs):
            if out and not any(c.isalnum() for c in text[out[-1][1] : a]):
                out[-1][1] = max(b, out[-1][1])
            else:
                out.append([a, b])
        trimmed = set()
        for a, b in out:
            inside = [i for i in range(a, b) if text[i].isalnum()]
            if inside:
                trimmed.add((inside[0], inside[-1] + 1))
        return trimmed

    tp = fp = fn = 0
    for row, mine in zip(rows, spans, strict=True):
        gold = merge(row["text"], ((s[0], s[1]) for s in row["spans"]))
        got = merge(row["text"], ((s.start, s.end) for s in mine))
        tp, fp, fn = tp + len(gold & got), fp + len(got - gold), fn + len(gold - got)
    precision, recall = tp / max(1, tp + fp), tp / max(1, tp + fn)
    return f"P {precision:.3f} R {recall:.3f} F1 {2 * tp / max(1, 2 * tp + fp + fn):.3f}"


def by_label(row: Row) -> list[tuple[int, int, str]]:
    return [(s[0], s[1], s[2]) for s in row["spans"]]


def tab_gold(row: Row) -> list[tuple[int, int, str]]:
    return [(s[0], s[1], s[2]) for s in row["spans"] if s[3] in _CASE]


def note_words(rows: list[Row], spans: list[list[Span]]) -> str:
    """Share of the words of visit notes that findings other than weak ones cover."""
    weak = {"REGION", "YEAR", "DEMOGRAPHIC", "AUTHORITY"}
    words = hit = 0
    for row, mine in zip(rows, spans, strict=True):
        words += len(row["text"].split())
        hit += sum(len(row["text"][s.start : s.end].split()) for s in mine if s.label not in weak)
    return f"{100 * hit / words:.2f} % of {words}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--least", type=float, default=0.5, help="least score that counts")
    parser.add_argument("--misses", type=int, default=0, help="most frequent errors to show")
    parser.add_argument("--web", action="store_true", help="also uner-en-ewt (report only)")
    parser.add_argument("--generated", type=Path, help="held-out generated rows, JSON lines")
    options = parser.parse_args()
    tagger = Tagger.load(options.folder)
    sets: list[tuple[str, list[Row], Callable[[Row], list[tuple[int, int, str]]]]] = [
        ("tab144 dev", [r for r in corpora.rows("tab144") if r["split"] == "dev"], tab_gold),
        (
            "meddocan dev",
            [r for r in corpora.rows("meddocan") if r["split"] == "dev"][::3],
            by_label,
        ),
        (
            "wikigold half",
            [r for r in corpora.rows("wikigold") if not corpora.half(r)][:300],
            by_label,
        ),
        ("wnut17 dev", [r for r in corpora.rows("wnut17") if r["split"] == "dev"][:400], by_label),
    ]
    for name in ("clinical", "legal", "adversarial"):
        rows = [r for r in corpora.rows(f"pii-anon-{name}") if not corpora.half(r)][:120]
        sets.append((f"anon {name}", rows, by_label))
    if options.web:
        sets.append(("uner-en-ewt", list(corpora.rows("uner-en-ewt")), by_label))
    if options.generated:
        rows = [json.loads(line) for line in options.generated.read_text().splitlines()[:1500]]
        sets.append(("generated", rows, by_label))
    for name, rows, gold in sets:
        spans = found(tagger, rows, options.least)
        misses: Counter[str] = Counter()
        print(f"\n{name}: {score(rows, spans, gold, misses=misses)}")
        if "meddocan" in name:
            print(f"{name} merged: {merged_f1(rows, spans)}")
        if options.misses:
            print("   ", misses.most_common(options.misses))
    notes = [r for r in corpora.rows("aci-bench-notes") if r["split"] == "valid"]
    spans = found(tagger, notes, options.least)
    print(f"\nnotes covered: {note_words(notes, spans)}")
    if options.misses:
        print(
            Counter(
                f"{s.label} {r['text'][s.start : s.end]}"
                for r, m in zip(notes, spans, strict=True)
                for s in m
                if s.label != "DEMOGRAPHIC"
            ).most_common(options.misses)
        )


if __name__ == "__main__":
    main()
