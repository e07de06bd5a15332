"""Generated texts as pieces, kept in ``work/`` so that a second run need not draw them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.models.ner.pieces import OUTSIDE, Piece, allow, disjoint, folded
from gateway.pii.ner.network import LABELS

_RULES_NAME_IT = "ID_NUMBER"
"""What the model calls every kind of number; rules tell the kinds apart."""
_FREE = frozenset({"SECRET"})


def pieces(work: Path, seed: int, count: int, *, held_out: bool = False) -> list[Piece]:
    """``count`` generated pieces, from the cache when it has them."""
    part = "held" if held_out else "generated"
    cache = work / f"{part}-{seed}-{count}.jsonl"
    if not cache.exists():
        write(cache, seed, count, held_out=held_out)
    with cache.open(encoding="utf-8") as lines:
        return [piece(json.loads(line)) for line in lines]


def write(cache: Path, seed: int, count: int, *, held_out: bool) -> None:
    from rich.progress import track  # noqa: PLC0415 - a cache is read without either

    from deploy.models.ner.generate import examples  # noqa: PLC0415

    unfinished = cache.with_suffix(".new")
    with unfinished.open("w", encoding="utf-8") as out:
        for example in track(examples(seed, count, held_out), "generating", total=count):
            row = {
                "text": example.text, "lang": example.lang,
                "spans": [[s.start, s.end, s.label] for s in example.spans],
            }  # fmt: skip
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    unfinished.replace(cache)


def piece(row: dict[str, Any]) -> Piece:
    spans = [(a, b, labels(label)) for a, b, label in row["spans"]]
    return folded(Piece(row["text"], disjoint(spans), allow("O"), row["lang"]))


def labels(label: str) -> int:
    if label in LABELS:
        return allow(label)
    return allow(_RULES_NAME_IT) | (OUTSIDE if label in _FREE else 0)
