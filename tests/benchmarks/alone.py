"""The engine without HTTP and masking beside llama-batched-bench, on the same file.

Both read ``SEQUENCES`` prompts of about ``PROMPT`` tokens and then write one token of each a step,
with the same threads. The peer draws its tokens at random, samples none and tells its two phases
apart. Ours samples, detokenizes and hands pieces through the child's pipe; its writing is what
answers of ``STEPS + 1`` tokens take longer than answers of one, which come with the prompt:
``STEPS`` steps, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.domain import Message, Prompt, Sampling, Usage
from gateway.engine.llama import Limits, LlamaEngine, ModelSpec
from gateway.engine.port import Generation
from tests.benchmarks.compared import Targets, Texts
from tests.benchmarks.harness import Figure, percentile
from tests.benchmarks.peers import WAITS, Batched, batched_bench
from tests.benchmarks.randommodel import Shape

SEQUENCES = 8
STEPS = 64
PROMPT = 100
TRIALS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds that our answers of one token took, and of ``STEPS`` more; what the peer told."""

    one_s: float
    all_s: float
    prompt: int
    peer: Batched

    @property
    def writing(self) -> float:
        return SEQUENCES * STEPS / (self.all_s - self.one_s)

    @property
    def whole(self) -> float:
        return SEQUENCES * (self.prompt + STEPS) / self.all_s


async def measure(
    shape: Shape, path: Path, texts: Texts, *, threads: int, rounds: int, bar: Targets
) -> tuple[list[Figure], str]:
    """The figures, and a line about how far the rounds lie apart."""
    engine = LlamaEngine([spec(shape, path)], limits=Limits(threads=threads))
    try:
        await engine.start()
        await _elapsed(engine, shape.name, texts, STEPS)  # warm
        waits = await asyncio.to_thread(_best_waits, path, threads, TRIALS if rounds > 1 else 1)
        told = [
            await _round(engine, shape, path, texts, threads, waits, peer_first=number % 2 > 0)
            for number in range(rounds)
        ]
    finally:
        await engine.aclose()
    name = f"{SEQUENCES}way_{shape.name}"
    ratios = sorted(one.writing / one.peer.writing for one in told)
    whole = percentile([one.whole / one.peer.whole for one in told], 0.5)
    ours = percentile([one.writing for one in told], 0.5)
    peer = percentile([one.peer.writing for one in told], 0.5)
    figures = [
        Figure(
            f"engine_vs_batched_bench_{name}",
            percentile(ratios, 0.5),
            "ratio",
            "higher",
            *(bar or (None, None)),
        ),
        Figure(f"engine_vs_batched_bench_{name}_with_prompts", whole, "ratio", "higher"),
        Figure(f"engine_{name}", ours, "tokens/s", "higher"),
        Figure(f"engine_{name}_batched_bench", peer, "tokens/s", "higher"),
    ]
    return figures, (
        f"engine_vs_batched_bench_{name}: {ratios[0]:.3f} to {ratios[-1]:.3f} in {rounds} rounds, "
        f"-npp {PROMPT} -ntg {STEPS} -npl {SEQUENCES}, threads that wait as "
        f"{' '.join(f'{k}={v}' for k, v in waits.items()) or 'libgomp has them wait'}"
    )


def spec(shape: Shape, path: Path) -> ModelSpec:
    return ModelSpec(shape.name, path, hashlib.sha256(path.read_bytes()).hexdigest())


def _best_waits(path: Path, threads: int, trials: int) -> Mapping[str, str]:
    """How the peer's idle threads wait best, by the middle one of ``trials``, in turn."""
    speeds: list[list[float]] = [[] for _ in WAITS]
    for _ in range(trials):
        for waits, known in zip(WAITS, speeds, strict=True):
            known.append(_peer(path, PROMPT, threads, waits).writing)
    best = max(range(len(WAITS)), key=lambda place: percentile(speeds[place], 0.5))
    return WAITS[best]


def _peer(path: Path, prompt: int, threads: int, waits: Mapping[str, str]) -> Batched:
    return batched_bench(
        path, sequences=SEQUENCES, prompt=prompt, answer=STEPS, threads=threads, more=waits
    )


async def _round(
    engine: LlamaEngine,
    shape: Shape,
    path: Path,
    texts: Texts,
    threads: int,
    waits: Mapping[str, str],
    *,
    peer_first: bool,
) -> Round:
    """One round; who comes first changes, for the machine's mood does, too."""
    peer = await asyncio.to_thread(_peer, path, PROMPT, threads, waits) if peer_first else None
    one_s, _ = await _elapsed(engine, shape.name, texts, 1)
    all_s, prompt = await _elapsed(engine, shape.name, texts, STEPS + 1)
    peer = peer or await asyncio.to_thread(_peer, path, PROMPT, threads, waits)
    return Round(one_s, all_s, prompt, peer)


async def _elapsed(engine: LlamaEngine, model: str, texts: Texts, tokens: int) -> tuple[float, int]:
    """Seconds for ``SEQUENCES`` answers at once, and the tokens of a prompt on average."""
    prompts = texts.take(PROMPT, SEQUENCES)
    started = time.perf_counter()
    usages = await asyncio.gather(*(_answer(engine, model, text, tokens) for text in prompts))
    elapsed = time.perf_counter() - started
    if {usage.completion_tokens for usage in usages} != {tokens}:
        raise AssertionError("an answer ended early")
    return elapsed, round(sum(usage.prompt_tokens for usage in usages) / SEQUENCES)


async def _answer(engine: LlamaEngine, model: str, text: str, tokens: int) -> Usage:
    prompt = Prompt((Message("user", text),), sampling=Sampling(tokens, temperature=0.0))
    usage = Usage()
    async for chunk in engine.generate(Generation(model, prompt, deadline_s=120)):
        usage = chunk.usage or usage
    return usage
