"""The ledger: appending on SQLite and PostgreSQL, verifying, proving, exporting, and growing old.

Every ledger here is a real one, sealed to real auditors and synced to the disk below TMPDIR; the
one of a million records is written by the same 64 writers as all others. Rounds are short and take
turns, their median counts, and beside them stands how quick this machine's signatures and wraps
were meanwhile. CLOISTER_BENCH_SCALE=0.01 is a trial with smaller ledgers; CLOISTER_BENCH_PART=rates
measures appending alone; both keep no results.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from audit.keys import generate_auditor
from audit.ledger import Ledger, init_home
from audit.merkle import inclusion_proof
from audit.store import LedgerStore
from gateway.clock import utc_now
from tests import postgres
from tests.benchmarks.harness import RESULTS, Figure, percentile, publish
from tests.benchmarks.writers import OPTIONS, intent

SCALE = float(os.environ.get("CLOISTER_BENCH_SCALE", "1"))
RATES_ALONE = os.environ.get("CLOISTER_BENCH_PART") == "rates"
MANY, BUNDLED, FEW = int(1_000_000 * SCALE), int(100_000 * SCALE), 1_000
ROUNDS, SECONDS = 9, 4.0
SIDE_ROUNDS = 3
APPENDS, PROOFS = 200, 400
ROOT = Path(__file__).parents[2]


def make_home(folder: Path, *, auditors: int = 1, hybrid: bool = False, url: str = "") -> Path:
    """A home as ``gateway init`` leaves its log; the auditors' private keys are dropped."""
    if url:
        postgres.settle(folder, url)
    pairs = [generate_auditor(f"auditor-{n}", hybrid=hybrid) for n in range(auditors)]
    init_home(folder, [auditor for auditor, _ in pairs])
    return folder


def written(home: Path, **limits: float) -> dict[str, float]:
    """What a process of its own wrote to this home: records, seconds, processor seconds."""
    options = [word for name, value in limits.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.benchmarks.writers", str(home), *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def rate(home: Path, **limits: float) -> float:
    found = written(home, seconds=SECONDS, **limits)
    return found["records"] / found["seconds"]


def median(values: list[float]) -> float:
    return percentile(values, 0.5)


# --- how quick the machine is now ----------------------------------------------------------------


class Machine:
    """Signatures and wraps a second of one thread, asked between the rounds."""

    def __init__(self) -> None:
        self._signer = Ed25519PrivateKey.generate()
        self._public = X25519PrivateKey.generate().public_key()
        self._suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        self.signatures: list[float] = []
        self.wraps: list[float] = []

    def look(self) -> None:
        self.signatures.append(_per_second(lambda: self._signer.sign(bytes(300))))
        self.wraps.append(_per_second(lambda: self._suite.encrypt(bytes(32), self._public)))

    def figures(self) -> list[Figure]:
        return [
            Figure("machine_ed25519_signatures", median(self.signatures), "1/s", "higher"),
            Figure("machine_hpke_wraps", median(self.wraps), "1/s", "higher"),
        ]


def _per_second(call: Callable[[], object], calls: int = 3000) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return calls / (time.perf_counter() - began)


# --- appending -----------------------------------------------------------------------------------


def throughput(folder: Path, server: postgres.Postgres, machine: Machine) -> list[Figure]:
    """SQLite and PostgreSQL take turns, each round over a new ledger."""
    rates: dict[str, list[float]] = {"sqlite": [], "postgresql": []}
    for number in range(ROUNDS):
        machine.look()
        rates["sqlite"].append(rate(make_home(folder / f"s{number}")))
        url = server.fresh(f"r{number}")
        rates["postgresql"].append(rate(make_home(folder / f"p{number}", url=url)))
    bars = {"sqlite": (3000, 8000), "postgresql": (2000, 6000)}
    figures = []
    for name, found in rates.items():
        figures.append(Figure(f"records_per_s_{name}", median(found), "1/s", "higher", *bars[name]))
        figures.append(Figure(f"{name}_slowest", min(found), "1/s", "higher"))
        figures.append(Figure(f"{name}_fastest", max(found), "1/s", "higher"))
    return figures


def variants(folder: Path) -> Iterator[Figure]:
    """What else a site may ask of an append, on SQLite."""
    kinds: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
        "two_value_groups": ({}, {"groups": 2}),
        "three_auditors": ({"auditors": 3}, {}),
        "hybrid_auditor": ({"hybrid": True}, {}),
    }
    for name, (home, limits) in kinds.items():
        found = [
            rate(make_home(folder / f"{name}{number}", **home), **limits)
            for number in range(SIDE_ROUNDS)
        ]
        yield Figure(f"{name}", median(found), "1/s", "higher")


def latency(folder: Path) -> list[Figure]:
    """One append after the other, each beside a write of its size that is synced."""
    home = make_home(folder / "idle")
    ledger = Ledger.open(home, clock=utc_now, options=OPTIONS)
    appends, syncs = [], []
    descriptor = os.open(folder / "synced", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for number in range(APPENDS):
            entry = intent(os.urandom(16).hex(), number, "x" * 1000, 0)
            began = time.perf_counter()
            ledger.submit(entry).result()
            appends.append(time.perf_counter() - began)
            time.sleep(0.01)  # what the writer does after it released its caller is not waited for
            began = time.perf_counter()
            os.pwrite(descriptor, os.urandom(16384), number * 16384)
            os.fdatasync(descriptor)
            syncs.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        ledger.close()
    over = median(appends) - 2 * median(syncs)
    return [
        Figure("append_over_two_syncs", over * 1000, "ms", "lower", 1.0),
        Figure("append", median(appends) * 1000, "ms", "lower"),
        Figure("append_p95", percentile(appends, 0.95) * 1000, "ms", "lower"),
        Figure("sync", median(syncs) * 1000, "ms", "lower"),
    ]


# --- verifying, proving, exporting ---------------------------------------------------------------


# Peak memory is kept over exec: a process is started by a small one, not by us.
_START = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([code, time.perf_counter() - began, peak * 1024 / 1e6]))
"""


def timed(*command: str | Path) -> tuple[float, float]:
    """Seconds and peak resident MB of a process that has to end well."""
    started = [sys.executable, "-S", "-c", _START, *map(str, command)]
    done = subprocess.run(started, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    code, took, memory = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{command[1]} ended with {code}")
    return took, memory


def verifying(folder: Path) -> Iterator[Figure]:
    """A bundle of as many records as a year of a ward makes, with both verifiers in Python."""
    home, bundle = make_home(folder / "bundled"), folder / "bundle"
    written(home, records=BUNDLED)
    auditlog = Path(sys.executable).with_name("auditlog")
    timed(auditlog, "export", home, "--out", bundle)
    kept = bundle / "checkpoint.txt"
    took, memory = timed(auditlog, "verify", bundle, "--checkpoint", kept)
    yield Figure("verify_bundle", took, "s", "lower", 60, 15)
    yield Figure("verify_bundle_memory", memory, "MB", "lower")
    script = bundle / "verify_standalone.py"
    took, _ = timed(sys.executable, script, bundle, "--checkpoint", kept)
    yield Figure("verify_bundle_standalone", took, "s", "lower", 60, 15)


def proving(home: Path) -> Iterator[Figure]:
    """From a record's index to its bytes and proof, each in a snapshot of its own."""
    store = LedgerStore(home / "ledger.db", readonly=True)
    times, sizes, chosen = [], [], random.Random(2)  # noqa: S311 - which, the same each time
    try:
        with store.reading() as reader:
            size = reader.last()[0]
        for _ in range(PROOFS):
            index = chosen.randrange(size)
            began = time.perf_counter()
            with store.reading() as reader:
                reader.row(index)
                proof = inclusion_proof(index, size, reader.node)
            times.append(time.perf_counter() - began)
            sizes.append(sum(map(len, proof)))
    finally:
        store.close()
    yield Figure("proof_records", size, "", "higher")
    yield Figure("proof_p95", percentile(times, 0.95) * 1000, "ms", "lower", 5)
    yield Figure("proof_size", max(sizes), "bytes", "lower", 1024)


def exporting(home: Path, folder: Path) -> Iterator[Figure]:
    auditlog = Path(sys.executable).with_name("auditlog")
    for kind, more in (("jsonl", ["--format", "jsonl"]), ("bundle", [])):
        out = folder / f"out.{kind}"
        took, memory = timed(auditlog, "export", home, "--out", out, *more)
        yield Figure(f"export_{kind}_memory", memory, "MB", "lower", 150)
        yield Figure(f"export_{kind}", took, "s", "lower")


def growth(folder: Path, many: Path, machine: Machine) -> list[Figure]:
    """Rounds over the long ledger and over a short one take turns."""
    long, short = [], []
    for number in range(ROUNDS):
        machine.look()
        home = make_home(folder / f"few{number}")
        written(home, records=FEW)
        short.append(rate(home))
        long.append(rate(many))
    return [
        Figure("growth", median(long) / median(short), "", "higher", 0.95, 1.0),
        Figure("records_per_s_long", median(long), "1/s", "higher"),
        Figure("records_per_s_short", median(short), "1/s", "higher"),
    ]


def measure(folder: Path) -> list[Figure]:
    machine, figures = Machine(), []
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running())
        figures += throughput(folder, server, machine)
    if RATES_ALONE:
        return [*figures, *latency(folder), *machine.figures()]
    figures += [*variants(folder), *latency(folder), *verifying(folder)]
    many = make_home(folder / "many")
    whole = written(many, records=MANY)
    figures.append(
        Figure(
            "records_per_s_up_to_the_long_end", whole["records"] / whole["seconds"], "1/s", "higher"
        )
    )
    figures += [*proving(many), *exporting(many, folder), *growth(folder, many, machine)]
    return figures + machine.figures()


def main() -> int:
    if postgres.binaries() is None:
        sys.stderr.write(f"{postgres.MISSING}: sudo apt-get install postgresql\n")
        return 1
    notes = (
        f"64 writers, 1 KB of text each, median of {ROUNDS} rounds of {SECONDS:.0f} s; the long "
        f"ledger has {MANY:,} records, the bundle {BUNDLED:,}; both on this machine's disk."
    )
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as name:
        folder = Path(name)
        kept = RESULTS if SCALE == 1 and not RATES_ALONE else folder
        return publish("ledger", measure(folder), notes=notes, folder=kept)


if __name__ == "__main__":
    sys.exit(main())
