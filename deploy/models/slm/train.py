"""Train the bundled model from nothing: ``python deploy/models/slm/train.py`` (about 30 minutes).

Deterministic from ``--seed`` on one machine: every step draws its own documents. A run that was
stopped goes on from its last checkpoint in ``work/``; ``--fresh`` begins again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

import grammar
import tokens
import torch
from form import Pack, Packer
from generate import CORPUS, TRAIN, Writer, carriers
from model import Model, Pieces, Shape, start
from optim import Muon
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
RATES = (0.006, 0.012, 5e-4)


def mask_of(segments: list[int]) -> Tensor:
    """Additive and causal; a question sees the document (segment 0) and itself, no neighbour."""
    part = torch.tensor(segments)
    order = torch.arange(len(segments))
    causal = order[None, :] <= order[:, None]
    seen = causal & ((part[None, :] == 0) | (part[None, :] == part[:, None]))
    return torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))


def loss_of(model: Model, packs: list[Pack], choices: list[int]) -> tuple[Tensor, int, int]:
    """Mean cross-entropy among what decoding would allow; first choices right, and all.

    ``choices``: the end token, then the labels from abstention on.
    """
    ids = torch.tensor([i for p in packs for i in p.ids])
    positions = torch.tensor([i for p in packs for i in p.positions])
    hidden = model(ids, positions, [mask_of(p.segments) for p in packs])
    index = {token: i for i, token in enumerate(choices)}
    at, wanted, offset = [], [], 0
    for pack in packs:
        at += [offset + where for where, _, _ in pack.targets]
        wanted += [index[token] for _, token, _ in pack.targets]
        offset += len(pack.ids)
    logits = hidden[torch.tensor(at)] @ model.embed(torch.tensor(choices)).T
    logits = logits + torch.cat([allowed(pack, index) for pack in packs])
    goal = torch.tensor(wanted)
    first = torch.tensor([not later for pack in packs for _, _, later in pack.targets])
    right = int((logits.argmax(-1) == goal)[first].sum())
    return F.cross_entropy(logits, goal), right, int(first.sum())


def allowed(pack: Pack, index: dict[int, int]) -> Tensor:
    """Zero for what decoding would allow at each target, minus infinity for the rest."""
    rows = torch.full((len(pack.targets), len(index)), float("-inf"))
    labels = [index[token] for token in pack.choices[2:]]
    for row, (where, _, later) in enumerate(pack.targets):
        if later:  # after a sentence: a later one, or the end
            rows[row, [i for i in labels if i > index[pack.ids[where]]]] = 0.0
            rows[row, 0] = 0.0
        else:  # a sentence, or abstain
            rows[row, labels] = 0.0
            rows[row, 1] = 0.0
    return rows


def rate(step: int, steps: int, warm: int = 60) -> float:
    """Linear up, flat, then linear down over the last half."""
    return min((step + 1) / warm, 1.0, 2 * (steps - step) / steps + 0.01)


def early(step: int, steps: int) -> float:
    """Share of short, easy documents: all at first, none after a twentieth of the run."""
    return max(0.0, 1 - 20 * step / steps)


def bar(step: int, steps: int, note: str, began: float, done: int) -> None:
    width = 30
    full = width * step // steps
    left = (time.monotonic() - began) / max(1, done) * (steps - step)
    line = f"[{'#' * full}{'.' * (width - full)}] {step}/{steps} {note} {left / 60:.1f} min left"
    print(line, end="\r" if sys.stdout.isatty() else "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--packs", type=int, default=10, help="documents per step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--rates", type=float, nargs=3, default=RATES, help="Muon, embeddings, norms"
    )
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--fresh", action="store_true", help="drop the checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    if not CORPUS.exists():
        print(f"note: {CORPUS.name} is absent; training on generated text alone")
    writer = Writer(grammar.load(), TRAIN, carriers(CORPUS, TRAIN))
    packer = Packer(tokens.load())
    train(writer, packer, options)


def train(writer: Writer, packer: Packer, options: argparse.Namespace) -> None:
    shape = Shape()
    pieces = Pieces(packer.labels, packer.line_end, packer.user, packer.stems())
    model = start(shape, options.seed, pieces)
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and n != "embed.weight"]  # noqa: PLR2004
    norms = [p for p in named.values() if p.ndim == 1]
    muon, embed, norm = options.rates
    optimizers = [
        Muon(matrices, muon),
        torch.optim.AdamW([named["embed.weight"]], embed, (0.9, 0.98), weight_decay=0.0),
        torch.optim.AdamW(norms, norm, (0.9, 0.98), weight_decay=0.0),
    ]
    peaks = options.rates
    checkpoint = options.work / "checkpoint.pt"
    first = 0
    if checkpoint.exists() and not options.fresh:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    began, seen, hits, total, losses = time.monotonic(), 0, 0, 0, 0.0
    for step in range(first, options.steps):
        packs = []
        for k in range(options.packs):
            rng = Random(f"{options.seed}-{step}-{k}")
            packs.append(packer.pack(writer.document(rng, ease=early(step, options.steps)), rng))
        packs = [p for p in packs if p.targets]
        loss, right, count = loss_of(model, packs, [packer.end, *packer.labels])
        loss.backward()
        losses, hits, total = losses + loss.item(), hits + right, total + count
        seen += sum(len(p.ids) for p in packs)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate(step, options.steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 10 == 0:
            speed = seen / (time.monotonic() - began)
            note = f"loss {losses / 10:.3f} right {hits / total:.3f} {speed:.0f} tokens/s"
            bar(step + 1, options.steps, note, began, step + 1 - first)
            hits, total, losses = 0, 0, 0.0
        if (step + 1) % 100 == 0 or step + 1 == options.steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)


if __name__ == "__main__":
    main()
