"""Make scores probabilities: ``python -m deploy.models.ner.calibrate FOLDER --generated FILE``.

Each span that the exported model finds in held-out texts is right when gold spans hold more than
half of its letters and digits. For each label a slope and an offset on the logit are fitted to
that (Platt 1999), drawn to the identity where spans are few, and written to the card.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np

from deploy.models.ner import card, corpora
from deploy.models.ner.evaluate import Row, covered, found
from gateway.pii.ner.network import LABELS
from gateway.pii.ner.tagger import Tagger

PEOPLE_AND_PLACES = frozenset({"PERSON", "LOCATION", "REGION", "ORGANIZATION"})
ROWS = 1500  # generated rows that are used
PRIOR = 4.0  # strength with which the identity is kept, in spans
ENOUGH = 40  # spans under which nothing is fitted


def outcomes(
    tagger: Tagger, rows: list[Row], labels: frozenset[str] | None = None
) -> dict[str, list[tuple[float, bool]]]:
    """For each label the score of each span that is found, and whether it is right."""
    seen: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for row, spans in zip(rows, found(tagger, rows, 0.0), strict=True):
        gold = covered(row["text"], [(s[0], s[1]) for s in row["spans"]])
        for s in spans:
            mine = covered(row["text"], [(s.start, s.end)])
            if mine and (labels is None or s.label in labels):
                seen[s.label].append((s.score, len(mine & gold) * 2 > len(mine)))
    return seen


def fitted(pairs: list[tuple[float, bool]]) -> tuple[float, float]:
    """Slope and offset on the logit of the score, by Newton's method."""
    if len(pairs) < ENOUGH:
        return 1.0, 0.0
    scores = np.clip([p[0] for p in pairs], 1e-3, 1 - 1e-3)
    logits = np.log(scores / (1 - scores))
    right = np.array([p[1] for p in pairs], float)
    design = np.stack([logits, np.ones_like(logits)], 1)
    identity = np.array([1.0, 0.0])
    weights = identity.copy()
    for _ in range(200):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (chance - right) + PRIOR * (weights - identity)
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + PRIOR * np.eye(2)
        step = np.linalg.solve(curve, slope)
        weights = weights - step * min(1.0, 0.2 / float(np.linalg.norm(step) + 1e-9))
    return float(np.clip(weights[0], 0.3, 3)), float(np.clip(weights[1], -3, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--generated", type=Path, required=True, help="held-out rows, JSON lines")
    options = parser.parse_args()
    values = tomllib.loads((options.folder / "card.toml").read_text())
    plain = dict.fromkeys(LABELS, (1.0, 0.0, 0.0))
    path = options.folder / "card.toml"
    path.write_text(card.written(values["sha256"], plain))
    tagger = Tagger.load(options.folder)
    generated = [json.loads(line) for line in options.generated.read_text().splitlines()[:ROWS]]
    every: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for rows, labels in (
        (generated, frozenset(LABELS) - {"DEMOGRAPHIC"}),
        ([r for r in corpora.rows("tab144") if r["split"] == "dev"], None),
        ([r for r in corpora.rows("meddocan") if r["split"] == "dev"][::4], None),
        ([r for r in corpora.rows("wikigold") if not corpora.half(r)], PEOPLE_AND_PLACES),
    ):
        for label, pairs in outcomes(tagger, rows, labels).items():
            every[label] += pairs
    curves = {}
    for label in LABELS:
        slope, offset = fitted(every[label])
        curves[label] = (slope, offset, card.FLOOR)
        right = [p[1] for p in every[label]]
        share = np.mean(right or [0])
        print(f"{label:14} {len(right):6} spans, {share:.3f} right: {slope:.2f} {offset:+.2f}")
    path.write_text(card.written(values["sha256"], curves))


if __name__ == "__main__":
    main()
