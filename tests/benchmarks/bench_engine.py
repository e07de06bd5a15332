"""The engine and the gateway around it beside llama.cpp's own server and batched benchmark.

Models with random weights in Q8_0 (``randommodel``); greedy answers of 64 tokens to prompts of
about 100 and 1,000 tokens that nobody has seen before. The gateway runs as in service: hipaa and
gdpr in force, detection, masking, guards, both durable records. Client, servers and the engine's
child are processes of their own, on the same cores for either side; runs alternate, as does who
comes first, and the ratio is the middle one of the rounds.

Each figure names its concurrency and its model. One with a bar that could not be measured is a
bar missed, and is listed with the reason. See ``--help`` for a shorter run: only a whole one is
written to ``results``, the others to ``work``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import alone, endurance, formats, peers
from tests.benchmarks.compared import SLOTS, VARIANTS, Case, Texts, best_flags, compare, stated
from tests.benchmarks.harness import RESULTS, Figure, publish
from tests.benchmarks.load import Outcome, run
from tests.benchmarks.randommodel import M10, M125, WORK, Shape, model
from tests.running import Gateway, cli, make_home, start
from tests.tinymodel import write_tiny_gguf

TINY = "tiny"
SECTIONS = ("http", "alone", "turns", "formats", "memory", "storm", "growth")
BARRED = (
    Case(100, 8, requests=16, rounds=11, speed=(0.90, 1.05), first=(1.1, 0.8)),
    Case(100, 1, requests=4, rounds=11, speed=(0.90, 1.0)),
)
MORE = (Case(100, 16, requests=32, rounds=3), Case(1000, 8, requests=16, rounds=3))
SMALL = (
    Case(100, 8, requests=64, rounds=7),
    Case(100, 1, requests=12, rounds=7),
    Case(100, 16, requests=64, rounds=3),
    Case(1000, 8, requests=24, rounds=3),
)


@dataclass(frozen=True, slots=True)
class Options:
    quick: bool
    sections: tuple[str, ...]
    threads: int
    requests: int  # of the growth run

    def rounds(self, count: int) -> int:
        return 1 if self.quick else count

    def cases(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        return tuple(
            Case(c.prompt, c.parallel, c.requests, self.rounds(c.rounds), c.speed, c.first)
            for c in cases
        )


@dataclass(slots=True)
class Found:
    """What has been measured so far, and what has not."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: bool = False

    @contextlib.contextmanager
    def part(self, name: str, *, optional: bool = False) -> Iterator[None]:
        """A part that fails costs its own figures and none of the others."""
        print(f"  {name}", file=sys.stderr, flush=True)  # noqa: T201
        try:
            yield
        except formats.NotMeasuredError as reason:
            self.missing.append(f"{name}: {reason}")
            self.failed |= not optional
        except Exception:  # noqa: BLE001 - whatever it is, the others are still worth their time
            traceback.print_exc()
            self.missing.append(f"{name}: failed, see above")
            self.failed = True

    def take(self, told: tuple[list[Figure] | Figure, str]) -> None:
        figures, note = told
        self.figures += figures if isinstance(figures, list) else [figures]
        self.notes.append(note)


@contextlib.contextmanager
def serving(folder: Path, name: str, file: Path, threads: int) -> Iterator[Gateway]:
    """A gateway in service with one model of its own."""
    home = folder / f"home-{name}"
    settings = (
        f'[engine]\nbundled_model = false\ndefault_model = "{name}"\n'
        f"slots = {SLOTS}\nqueue = {endurance.CLIENTS}\nthreads = {threads}\ndeadline_s = 300.0\n"
    )
    keys = make_home(home, settings)
    cli(home, "models", "add", str(file), "--name", name)
    gateway = start(home, keys)
    try:
        yield gateway
    finally:
        gateway.stop()


def http(found: Found, options: Options, texts: Texts, gateway: Gateway, shape: Shape) -> None:
    """Every comparison over HTTP of one model."""
    file, cases = model(shape), options.cases(SMALL)
    if shape is M125:
        cases = options.cases(BARRED if options.quick else BARRED + MORE)
    with found.part(f"llama-server's flags, {shape.name}"):
        flags = VARIANTS[-1] if options.quick else best_flags(file, texts, options.threads)
        found.notes.append(f"{shape.name}: {stated(flags, options.threads)}")
        with peers.llama_server(file, slots=SLOTS, threads=options.threads, flags=flags) as server:
            for case in cases:
                with found.part(f"http_{case.parallel}way_{shape.name}{case.suffix}"):
                    found.take(compare(case, shape, gateway, server, texts))
            if shape is M125:
                with found.part("second_turn_recomputed of llama-server"):
                    computed, _ = formats.second_turn(server.port, "", shape.name, texts)
                    name = f"second_turn_recomputed_1way_{shape.name}_peer"
                    found.figures.append(Figure(name, computed, "tokens", "lower"))


def energy(found: Found, gateway: Gateway, shape: Shape, texts: Texts) -> None:
    """Joules for 1,000 tokens read or written, if the gateway counts them."""
    before = endurance.gauge(gateway, formats.ENERGY)
    outcome: Outcome = run(endurance.gateway_job(gateway, 8, texts.take(100, 16), shape.name))
    after = endurance.gauge(gateway, formats.ENERGY)
    if before is None or after is None:
        raise formats.NotMeasuredError(f"/metrics has no {formats.ENERGY}")
    tokens = sum(answer.prompt_tokens + answer.completion_tokens for answer in outcome.answers)
    joules = (after - before) / tokens * 1000
    found.figures.append(Figure(f"energy_1000_tokens_8way_{shape.name}", joules, "J", "lower"))


def turns(found: Found, gateway: Gateway, shape: Shape, texts: Texts) -> None:
    key = gateway.keys["clinician"]
    computed, new = formats.second_turn(gateway.port, key, shape.name, texts)
    name = f"second_turn_recomputed_1way_{shape.name}"
    found.figures.append(Figure(name, computed, "tokens", "lower", new, None))
    found.notes.append(
        f"{name}: new are {new}, with markers and the last token of the answer; "
        f"the middle one of {formats.CONVERSATIONS} conversations"
    )


def held(found: Found, options: Options, gateway: Gateway, shape: Shape, texts: Texts) -> None:
    """Constrained and grounded answers against free ones."""
    for name, form, targets in (
        ("constrained", formats.HELD_TO_JSON, (0.7, 0.9)),
        ("grounded", formats.GROUNDED, (None, None)),
    ):
        with found.part(f"{name}_8way_{shape.name}"):
            rounds = options.rounds(3)
            low, middle, high = formats.held_against_free(gateway, shape, texts, form, rounds)
            title = f"{name}_8way_{shape.name}"
            found.figures.append(Figure(title, middle, "ratio", "higher", *targets))
            found.notes.append(f"{title}: {low:.3f} to {high:.3f} in {rounds} rounds")


def with_125m(found: Found, options: Options, folder: Path, texts: Texts) -> None:
    """All that one gateway with the larger model tells."""
    file, shape, wanted = model(M125), M125, options.sections.__contains__
    with serving(folder, shape.name, file, options.threads) as gateway:
        if wanted("http"):
            http(found, options, texts, gateway, shape)
        if wanted("turns"):
            with found.part("second_turn_recomputed_1way_125m"):
                turns(found, gateway, shape, texts)
        if wanted("formats"):
            held(found, options, gateway, shape, texts)
        if wanted("memory"):
            with found.part("energy_1000_tokens_8way_125m", optional=True):
                energy(found, gateway, shape, texts)
            with found.part("resident_above_weights_and_kv_8way_125m"):
                found.take(endurance.resident(gateway, shape, file.stat().st_size))
        if wanted("storm"):
            with found.part("cancel_storm_200way_125m"):
                found.take(endurance.storm(gateway, shape, texts))


def measure(options: Options, folder: Path) -> Found:
    """All parts that were asked for."""
    found, texts, wanted = Found(), Texts(seed=4), options.sections.__contains__
    if wanted("alone"):
        with found.part("engine_vs_batched_bench_8way_125m"):
            told = alone.measure(
                M125,
                model(M125),
                texts,
                threads=options.threads,
                rounds=options.rounds(7),
                bar=(0.95, 1.0),
            )
            found.take(asyncio.run(told))
    if set(options.sections) - {"alone", "growth"}:
        with found.part("a gateway with 125m"):
            with_125m(found, options, folder, texts)
    if wanted("http") and not options.quick:
        with (
            found.part("a gateway with 10m"),
            serving(folder, M10.name, model(M10), options.threads) as gateway,
        ):
            http(found, options, texts, gateway, M10)
    if wanted("growth"):
        file = write_tiny_gguf(folder / "tiny.gguf", never_ends=True)
        with found.part("growth"), serving(folder, TINY, file, 1) as gateway:
            found.take(endurance.growth(gateway, TINY, options.requests))
    return found


def options_of(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="bench_engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, 125m only, 1,000 requests")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="PART")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--requests", type=int, default=0, help="of the growth run")
    given = parser.parse_args(arguments)
    requests = given.requests or (1_000 if given.quick else 10_000)
    return Options(given.quick, tuple(given.only), given.threads, requests)


def main() -> int:
    options = options_of()
    if set(options.sections) & {"http", "alone"} and (line := peers.missing()):
        print(line, file=sys.stderr)  # noqa: T201
        return 1
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    took = f"{time.monotonic() - begun:.0f} s in all, {options.threads} threads for each model"
    sizes = ", ".join(
        f"{shape.name}: {shape.parameters / 1e6:.1f}M parameters, {shape.blocks} blocks of "
        f"{shape.width}, vocabulary {shape.vocabulary}"
        for shape in (M125, M10)
    )
    absent = [f"NOT MEASURED {line}" for line in found.missing]
    whole = not options.quick and set(options.sections) == set(SECTIONS)
    if not found.figures:
        print("\n".join(absent), file=sys.stderr)  # noqa: T201
        return 1
    code = publish(
        "engine",
        found.figures,
        notes="\n".join([took, sizes, *found.notes, *absent]),
        folder=RESULTS if whole else WORK / "results",
    )
    return code or int(found.failed)


if __name__ == "__main__":
    sys.exit(main())
