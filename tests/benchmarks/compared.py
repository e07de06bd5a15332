"""The gateway's HTTP beside llama-server's: one client, the same texts, turn about in one run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.harness import Figure, percentile
from tests.benchmarks.load import Job, Outcome, chat_body, run
from tests.benchmarks.peers import SLOT_CONTEXT, Server, llama_server
from tests.benchmarks.randommodel import Shape
from tests.benchmarks.texts import notes
from tests.running import Gateway

ANSWER = 64  # tokens
CHARACTERS = {100: 260, 1000: 3000}  # of a note, by the tokens that it comes to, roughly
SLOTS = 8
# Idle threads that sleep, or spin for a moment only, help where client and server share the cores.
# The last one is how the gateway's own child runs.
VARIANTS = (
    (),
    ("--kv-unified",),
    ("-fa", "off"),
    ("--kv-unified", "OMP_WAIT_POLICY=passive"),
    ("GOMP_SPINCOUNT=3000",),
    ("-fa", "off", "GOMP_SPINCOUNT=3000"),
)
WARM_UP = 2  # requests for each client
Targets = tuple[float, float] | None
"""Bar and reach."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison. ``rounds``: how often each side runs ``requests``, in turn."""

    prompt: int
    parallel: int
    requests: int
    rounds: int
    speed: Targets = None
    first: Targets = None

    @property
    def suffix(self) -> str:
        return "" if self.prompt == 100 else f"_{self.prompt}"


class Texts:
    """Notes that nobody has seen yet, by length."""

    def __init__(self, seed: int) -> None:
        self._sources = {
            prompt: notes(length, seed + prompt) for prompt, length in CHARACTERS.items()
        }

    def take(self, prompt: int, count: int) -> list[str]:
        return list(itertools.islice(self._sources[prompt], count))


def bodies(texts: Sequence[str], model: str, **more: object) -> list[dict[str, object]]:
    return [chat_body(text, model=model, tokens=ANSWER, **more) for text in texts]


def gateway_job(gateway: Gateway, parallel: int, texts: Sequence[str], model: str) -> Job:
    return Job(gateway.port, parallel, bodies(texts, model), gateway.keys["clinician"])


def best_flags(path: Path, texts: Texts, threads: int) -> tuple[str, ...]:
    """The flags under which llama-server answers eight at a time the fastest."""
    speeds: dict[tuple[str, ...], float] = {}
    for flags in VARIANTS:
        with llama_server(path, slots=SLOTS, threads=threads, flags=flags) as server:
            job = Job(server.port, SLOTS, bodies(texts.take(100, SLOTS), path.stem))
            run(job)
            jobs = [
                Job(server.port, SLOTS, bodies(texts.take(100, SLOTS), path.stem)) for _ in range(3)
            ]
            speeds[flags] = percentile([run(job).tokens_per_s for job in jobs], 0.5)
    return max(speeds, key=speeds.__getitem__)


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: the same texts through the one and through the other."""

    peer: Outcome
    gateway: Outcome

    @property
    def speed(self) -> float:
        return self.gateway.tokens_per_s / self.peer.tokens_per_s

    @property
    def first(self) -> float:
        return self.gateway.first_s / self.peer.first_s


def compare(
    case: Case, shape: Shape, gateway: Gateway, server: Server, texts: Texts
) -> tuple[list[Figure], str]:
    """The figures of one case, and a line about how far its rounds lie apart."""
    warm = WARM_UP * case.parallel if case.prompt == 100 else case.parallel
    for text in (texts.take(case.prompt, warm),):
        run(Job(server.port, case.parallel, bodies(text, shape.name)))
        run(gateway_job(gateway, case.parallel, text, shape.name))
    pairs: list[Pair] = []
    for number in range(case.rounds):
        text = texts.take(case.prompt, case.requests)
        ours = gateway_job(gateway, case.parallel, text, shape.name)
        theirs = Job(server.port, case.parallel, bodies(text, shape.name))
        # Who comes first changes from round to round: the machine's mood does, too.
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        told = {id(job): run(job) for job in (first, second)}
        pairs.append(Pair(peer=told[id(theirs)], gateway=told[id(ours)]))
    ratios = sorted(pair.speed for pair in pairs)
    name = f"{case.parallel}way_{shape.name}{case.suffix}"
    read = f"{pairs[0].peer.prompt_tokens:.0f}/{pairs[0].gateway.prompt_tokens:.0f}"
    line = (
        f"{name}: {ratios[0]:.3f} to {ratios[-1]:.3f} in {case.rounds} rounds of {case.requests}, "
        f"prompts of {read} tokens at the peer/the model behind the gateway"
    )
    return list(_figures(name, case, pairs)), line


def _figures(name: str, case: Case, pairs: Sequence[Pair]) -> Iterator[Figure]:
    def middle(values: Iterator[float]) -> float:
        return percentile(list(values), 0.5)

    speed = middle(pair.speed for pair in pairs)
    yield Figure(f"http_{name}", speed, "ratio", "higher", *(case.speed or (None, None)))
    first = middle(pair.first for pair in pairs)
    yield Figure(f"ttft_{name}", first, "ratio", "lower", *(case.first or (None, None)))
    for side, outcomes in (
        ("gateway", [pair.gateway for pair in pairs]),
        ("peer", [pair.peer for pair in pairs]),
    ):
        speed = middle(outcome.tokens_per_s for outcome in outcomes)
        yield Figure(f"http_{name}_{side}", speed, "tokens/s", "higher")
        first = middle(outcome.first_s for outcome in outcomes)
        yield Figure(f"ttft_{name}_{side}", first * 1000, "ms", "lower")


def stated(flags: Sequence[str], threads: int) -> str:
    tried = ", ".join(" ".join(variant) or "no more" for variant in VARIANTS)
    return (
        f"llama-server -np {SLOTS} -c {SLOTS * SLOT_CONTEXT} -t {threads} --no-webui and "
        f"{' '.join(flags) or 'no more'} (a whole run takes the fastest of: {tried}); "
        f"more than {SLOTS} queue on either side"
    )
