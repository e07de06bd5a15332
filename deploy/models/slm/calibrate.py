"""Set how readily the model abstains: ``python deploy/models/slm/calibrate.py`` after training.

On templates it has not seen the model is less sure, and being less sure it abstains: one abstention
stands against many sentences that share the rest. The row of the abstention in the embeddings
(which is never an input) is moved along the mean hidden state to where, on validation documents
from held-out templates, most choices are right if four of five questions have an answer. The test
documents of ``evaluate.py`` have other seeds, and hand-written ones have no part in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import grammar
import tokens
import torch
from form import Packer
from generate import HELD_OUT, Document, Writer
from model import Model, Shape
from torch import Tensor
from train import mask_of

HERE = Path(__file__).parent
ANSWERABLE = 0.8


def observe(model: Model, packer: Packer, documents: int) -> list[tuple[Tensor, Tensor, set[int]]]:
    """First choices: hidden state, logits (abstention, then sentences), and what would be right."""
    writer = Writer(grammar.load(), HELD_OUT, [])
    seen = []
    for n in range(documents):
        rng = Random(f"validation-{n}")
        drawn = writer.facts(rng)
        asked = tuple(q for q in drawn.questions if q.kind == "fact")
        pack = packer.pack(Document(drawn.sentences, asked), rng)
        ids, positions = torch.tensor(pack.ids), torch.tensor(pack.positions)
        with torch.no_grad():
            hidden = model(ids, positions, [mask_of(pack.segments)])
            rows = model.embed(torch.tensor([pack.choices[0], *pack.choices[2:]]))
        first = [where for where, _, later in pack.targets if not later]
        for where, question in zip(first, asked, strict=True):
            right = {i + 1 for i in question.answer} or {0}
            seen.append((hidden[where], rows @ hidden[where], right))
    return seen


def share_right(seen: list[tuple[Tensor, Tensor, set[int]]], along: Tensor, shift: float) -> float:
    """Share of right choices, weighted as if ``ANSWERABLE`` of the questions had an answer."""
    right, asked = [0, 0], [0, 0]
    for hidden, logits, wanted in seen:
        moved = logits.clone()
        moved[0] -= shift * (along @ hidden)
        answerable = 0 not in wanted
        asked[answerable] += 1
        right[answerable] += int(moved.argmax()) in wanted
    return (1 - ANSWERABLE) * right[0] / asked[0] + ANSWERABLE * right[1] / asked[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--documents", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(options.work / "checkpoint.pt", weights_only=True)
    model = Model(Shape())
    model.load_state_dict(state["model"])
    packer = Packer(tokens.load())
    seen = observe(model, packer, options.documents)
    mean = torch.stack([hidden for hidden, _, _ in seen]).mean(0)
    along = mean / (mean @ mean)
    shares = {n / 4: share_right(seen, along, n / 4) for n in range(-8, 25)}
    best = max(shares, key=lambda shift: shares[shift])
    state["model"]["embed.weight"][packer.labels[0]] -= best * along
    torch.save(state, options.work / "calibrated.pt")
    print(f"shift {best}: {shares[0.0]:.3f} -> {shares[best]:.3f} of {len(seen)} choices right")


if __name__ == "__main__":
    main()
