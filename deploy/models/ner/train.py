"""Train the tagger from nothing: ``python -m deploy.models.ner.train`` (40 to 60 minutes).

Two stages: the first never sees the lines and names that the generator holds out, so that it can be
measured on them (``--finish 0`` stops there); the second, short one sees them too. Deterministic
from ``--seed`` on one machine: every step draws its own pieces. A run that was stopped goes on from
its last checkpoint in ``work/``; ``--fresh`` begins again.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
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
from deploy.models.ner.words import Words
from gateway.pii.ner import features
from gateway.pii.ner.network import TAGS

HERE = Path(__file__).parent
SHARES = {  # of the characters trained on
    "generated": 0.64,
    "tab144": 0.08, "meddocan": 0.07, "wikigold": 0.03, "wnut17": 0.025, "btc": 0.045, "sec": 0.01,
    "notes": 0.04, "anon-clinical": 0.03, "anon-legal": 0.02, "anon-adversarial": 0.01,
}  # fmt: skip
RENAMED = {"generated": 0.15, "wikigold": 0.5, "wnut17": 0.4, "btc": 0.4, "notes": 0.9}
REWORDED = frozenset({"generated", "tab144", "meddocan"})  # whose silence is "nothing here"
LIMIT = 1600  # characters of a piece
SAVE_EVERY, SHOW_EVERY = 200, 50  # steps
MEAN_EVERY = 4
DROP, LOST = 0.1, 0.15  # shares of units and of words' rows


class Draw:
    """Draws the pieces of a step, about ``size`` characters."""

    def __init__(self, sources: Mapping[str, list[Piece]], size: int) -> None:
        self.sources = {name: pieces for name, pieces in sources.items() if pieces}
        self.names = Names([p for pieces in self.sources.values() for p in pieces])
        self.words = Words(sources["generated"])
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
            words = self.words if name in REWORDED else None
            piece = varied(piece, self.names, rng, rename=rename, limit=LIMIT, words=words)
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


def rate(step: int, steps: int, finish: int, warm: float = 0.06) -> float:
    """Linear up, then linear down to nothing; again from less in the second stage."""
    if step >= steps:
        return 0.3 * (1 - (step - steps) / finish) + 0.002
    done = step / steps
    return min(done / warm, 1.0, (1 - done) / (1 - 0.25) + 0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000, help="steps of the first stage")
    parser.add_argument("--finish", type=int, default=4500, help="steps of the second stage")
    parser.add_argument("--size", type=int, default=16_000, help="characters of a part of a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="parts of a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--generated", type=int, default=400_000, help="generated texts")
    parser.add_argument("--held", type=int, default=60_000, help="of the held-out lines and names")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--fresh", action="store_true", help="drop the checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(1)  # each part of a step has a thread of its own
    options.work.mkdir(parents=True, exist_ok=True)
    state = State(options)
    if state.step < options.steps:
        generated = drawn.pieces(options.work, options.seed, options.generated)
        train(draw_from(generated, options.size), state, options, options.steps)
        shutil.copy(state.path, state.path.with_name("first.pt"))
    if options.finish:
        generated = drawn.pieces(options.work, options.seed + 1, options.generated // 2)
        generated += drawn.pieces(options.work, options.seed + 1, options.held, held_out=True)
        train(draw_from(generated, options.size), state, options, options.steps + options.finish)


def draw_from(generated: list[Piece], size: int) -> Draw:
    sources = corpora.training(generated)
    missing = [name for name, pieces in sources.items() if not pieces]
    if missing:
        print(f"note: corpora absent, not trained on: {', '.join(missing)}")
    return Draw(sources, size)


class State:
    """The network, its optimizer and the mean of its weights, as kept in the checkpoint."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.net = Net(options.seed)
        self.mean = {n: p.detach().clone() for n, p in self.net.named_parameters()}
        tables = [p for n, p in self.net.named_parameters() if n.startswith("table")]
        self.others = [p for n, p in self.net.named_parameters() if not n.startswith("table")]
        groups = [
            {"params": tables, "weight_decay": 0.0},
            {"params": self.others, "weight_decay": 0.02},
        ]
        self.optimizer = torch.optim.AdamW(groups, options.rate, (0.9, 0.98), fused=True)
        self.path, self.step = options.work / "checkpoint.pt", 0
        if self.path.exists() and not options.fresh:
            saved = torch.load(self.path, weights_only=True)
            self.net.load_state_dict(saved["net"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.mean, self.step = saved["mean"], saved["step"]

    def update(self, gradients: list[list[Tensor]], rate: float) -> None:
        """One step by the mean of the parts' gradients, added in their order."""
        for number, weight in enumerate(self.net.parameters()):
            weight.grad = gradients[0][number]
            for part in gradients[1:]:
                weight.grad += part[number]
            weight.grad /= len(gradients)
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.step % MEAN_EVERY == 0:
            keep = min(0.998, (self.step + 1) / (self.step + 10)) ** MEAN_EVERY
            with torch.no_grad():
                for name, weight in self.net.named_parameters():
                    self.mean[name].lerp_(weight, 1 - keep)
        self.step += 1

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
            "mean": self.mean, "step": self.step,
        }  # fmt: skip
        torch.save(state, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)


def train(draw: Draw, state: State, options: argparse.Namespace, until: int) -> None:
    """Train up to step ``until``; the state is kept now and then."""
    weights = list(state.net.parameters())
    began, seen, total = time.monotonic(), 0, 0.0

    def part(number: int) -> tuple[list[Tensor], float, int]:
        """Gradients of one part of a step, its loss and its tokens."""
        seed = (options.seed * 1_000_003 + state.step) * options.threads + number
        pieces = draw(Random(seed))
        read = features.read([p.text for p in pieces])
        allowed = torch.from_numpy(targets(pieces, read))
        loss = loss_of(state.net(read, DROP, LOST, seed), allowed)
        return list(torch.autograd.grad(loss, weights)), loss.item(), len(allowed)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(options.threads) as pool:
        task = progress.add_task("training", total=until, completed=state.step)
        while state.step < until:
            parts = list(pool.map(part, range(options.threads)))
            share = rate(state.step, options.steps, options.finish)
            state.update([p[0] for p in parts], options.rate * share)
            seen += sum(p[2] for p in parts)
            total += sum(p[1] for p in parts) / len(parts)
            if state.step % SHOW_EVERY == 0:
                took = time.monotonic() - began
                note = (
                    f"step {state.step} loss {total / SHOW_EVERY:.4f} {seen / took:,.0f} tokens/s"
                )
                progress.update(task, completed=state.step, description=note)
                if not progress.console.is_terminal:
                    print(note, f"{took:.0f} s", flush=True)
                total = 0.0
            if state.step % SAVE_EVERY == 0 or state.step == until:
                state.save()


if __name__ == "__main__":
    main()
