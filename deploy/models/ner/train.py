"""Train the tagger from nothing: ``python -m deploy.models.ner.train`` (about 45 minutes).

Deterministic from ``--seed`` on one machine: every step draws its own pieces. A run that was
stopped goes on from its last checkpoint in ``work/``; ``--fresh`` begins again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from deploy.models.ner import corpora, drawn
from deploy.models.ner.augment import Names, varied
from deploy.models.ner.model import Net
from deploy.models.ner.pieces import Piece, targets
from gateway.pii.ner import features
from gateway.pii.ner.network import TAGS

HERE = Path(__file__).parent
SHARES = {  # of the characters trained on
    "generated": 0.64,
    "tab144": 0.08, "meddocan": 0.07, "wikigold": 0.03, "wnut17": 0.025, "btc": 0.045, "sec": 0.01,
    "notes": 0.04, "anon-clinical": 0.03, "anon-legal": 0.02, "anon-adversarial": 0.01,
}  # fmt: skip
RENAMED = {"generated": 0.15, "wikigold": 0.5, "wnut17": 0.4, "btc": 0.4, "notes": 0.9}
LIMIT = 1600  # characters of a piece
SAVE_EVERY = 200  # steps
MEAN_EVERY = 4
DROP, LOST = 0.1, 0.15  # shares of units and of words' rows


class Draw:
    """Draws the pieces of a step, about ``size`` characters."""

    def __init__(self, sources: Mapping[str, list[Piece]], size: int) -> None:
        self.sources = {name: pieces for name, pieces in sources.items() if pieces}
        self.names = Names([p for pieces in self.sources.values() for p in pieces])
        self.size = size
        # A share is of characters, a draw is of pieces: divide by their usual length.
        self.weights = [
            SHARES[name] / _usual_length(pieces) for name, pieces in self.sources.items()
        ]

    def __call__(self, rng: Random) -> list[Piece]:
        found, total = [], 0
        names = list(self.sources)
        while total < self.size:
            name = rng.choices(names, self.weights)[0]
            piece = rng.choice(self.sources[name])
            rename = RENAMED.get(name, 0.75)
            piece = varied(piece, self.names, rng, rename=rename, limit=LIMIT)
            if piece.text:
                found.append(piece)
                total += len(piece.text)
        return found


def _usual_length(pieces: list[Piece]) -> float:
    lengths = [min(len(p.text), LIMIT * 0.62) for p in pieces]
    return sum(lengths) / len(lengths)


def loss_of(scores: Tensor, allowed: Tensor) -> Tensor:
    """Mean of minus the logarithm of the probability that falls on the allowed tags."""
    masks = (allowed[:, None] >> torch.arange(TAGS)) & 1
    inside = scores.masked_fill(masks == 0, float("-inf"))
    losses = torch.logsumexp(scores, 1) - torch.logsumexp(inside, 1)
    return losses.mean()


def rate(step: int, steps: int, warm: float = 0.06) -> float:
    """Linear up, then linear down to nothing."""
    done = step / steps
    return min(done / warm, 1.0, (1 - done) / (1 - 0.25) + 0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3400)
    parser.add_argument("--size", type=int, default=16_000, help="characters of a part of a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="parts of a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--generated", type=int, default=200_000, help="generated texts")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--fresh", action="store_true", help="drop the checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(1)  # each part of a step has a thread of its own
    options.work.mkdir(parents=True, exist_ok=True)
    generated = drawn.pieces(options.work, options.seed, options.generated)
    sources = corpora.training(generated)
    missing = [name for name, pieces in sources.items() if not pieces]
    if missing:
        print(f"note: corpora absent, not trained on: {', '.join(missing)}")
    train(Draw(sources, options.size), options)


def train(draw: Callable[[Random], list[Piece]], options: argparse.Namespace) -> None:
    net = Net(options.seed)
    mean = {n: p.detach().clone() for n, p in net.named_parameters()}
    tables = [p for n, p in net.named_parameters() if n.startswith("table")]
    others = [p for n, p in net.named_parameters() if not n.startswith("table")]
    groups = [{"params": tables, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.02}]
    optimizer = torch.optim.AdamW(groups, options.rate, (0.9, 0.98), fused=True)
    checkpoint, first = options.work / "checkpoint.pt", 0
    if checkpoint.exists() and not options.fresh:
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        mean, first = state["mean"], state["step"]
    began, seen, total = time.monotonic(), 0, 0.0
    names = [n for n, _ in net.named_parameters()]
    weights = [p for _, p in net.named_parameters()]

    def part(step: int, number: int) -> tuple[list[Tensor], float, int]:
        """Gradients of one part of a step, the sum of its losses and its tokens."""
        seed = (options.seed * 1_000_003 + step) * options.threads + number
        pieces = draw(Random(seed))
        read = features.read([p.text for p in pieces])
        allowed = torch.from_numpy(targets(pieces, read))
        loss = loss_of(net(read, DROP, LOST, seed), allowed)
        return list(torch.autograd.grad(loss, weights)), loss.item(), len(allowed)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(options.threads) as pool:
        task = progress.add_task("training", total=options.steps, completed=first)
        for step in range(first, options.steps):
            parts = list(pool.map(part, [step] * options.threads, range(options.threads)))
            for n, weight in enumerate(weights):
                weight.grad = parts[0][0][n]
                for other in parts[1:]:
                    weight.grad += other[0][n]
                weight.grad /= len(parts)
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = options.rate * rate(step, options.steps)
            optimizer.step()
            if step % MEAN_EVERY == 0:
                keep = min(0.998, (step + 1) / (step + 10)) ** MEAN_EVERY
                with torch.no_grad():
                    for name, weight in zip(names, weights, strict=True):
                        mean[name].lerp_(weight, 1 - keep)
            seen += sum(p[2] for p in parts)
            total += sum(p[1] for p in parts) / len(parts)
            if (step + 1) % 50 == 0:
                speed = seen / (time.monotonic() - began)
                note = f"step {step + 1} loss {total / 50:.4f} {speed:,.0f} tokens/s"
                progress.update(task, completed=step + 1, description=note)
                if not progress.console.is_terminal:
                    print(note, f"{time.monotonic() - began:.0f} s", flush=True)
                total = 0.0
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == options.steps:
                state = {
                    "net": net.state_dict(), "optimizer": optimizer.state_dict(),
                    "mean": mean, "step": step + 1,
                }  # fmt: skip
                torch.save(state, checkpoint.with_suffix(".new"))
                checkpoint.with_suffix(".new").replace(checkpoint)


if __name__ == "__main__":
    main()
