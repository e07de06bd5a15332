"""What the gateway adds to an upstream that answers at once.

Both durable records are written, both detection passes run, and so do the guards that the shipped
policies require (the bars allow them off). Direct
calls to the same upstream, in the same run, are subtracted. Every prompt is new, so that no cache
of findings helps. Client, upstream and gateway are processes of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.pii.presidio.detector import PresidioDetector
from tests.benchmarks.harness import Figure, percentile, publish
from tests.benchmarks.loopback import INSTANT, SLOW, Client, upstream
from tests.running import Gateway, running

WARM_UP = 20
CALLS = {125: 200, 2000: 100}
PARALLEL = 8
PARALLEL_CALLS = 800
STREAMS = 30
SETTINGS = """
[engine]
bundled_model = false
default_model = "instant"
"""

# Invented; each carries a name, a date and a number, as a note does.
SENTENCES = (
    "{name} came on 3 March {year} with chest pain, record MRN {number}, and was sent home.",
    "The blood pressure was {pressure} over 80 and the pulse was regular at rest.",
    "No allergy is known; the dose of ramipril stays at 5 mg once a day in the morning.",
    "Call {name} under 555-01{short} when the result of the last test has come in.",
    "The lungs are clear, the abdomen is soft and the patient walks without any help.",
)
NAMES = ("Ms. Clara Oakfield", "Mr. Jonas Birch", "Dr. Ada Fenwick", "Mrs. Ruth Maple")


def prompts(length: int) -> Iterator[str]:
    """Endless different notes of ``length`` characters."""
    for count in itertools.count():
        text = ""
        for index in itertools.count(count):
            if len(text) >= length:
                break
            values = {
                "name": NAMES[(count + index) % len(NAMES)],
                "year": 1960 + (count * 7 + index) % 60,
                "number": 4_000_000 + count * 131 + index,
                "pressure": 100 + (count + index) % 80,
                "short": f"{(count + index) % 100:02}",
            }
            text += SENTENCES[index % len(SENTENCES)].format(**values) + " "
        yield text[:length]


async def latencies(client: Client, length: int, calls: int) -> list[float]:
    """Seconds per call, one after the other, after a warm-up."""
    texts = prompts(length)
    for _ in range(WARM_UP):
        await client.chat(next(texts), model=INSTANT)
    return [(await client.chat(next(texts), model=INSTANT)).total_s for _ in range(calls)]


async def first_tokens(client: Client, length: int) -> list[float]:
    """Seconds to the first piece of a slow stream."""
    texts = prompts(length)
    await client.chat(next(texts), model=SLOW, stream=True)
    return [
        (await client.chat(next(texts), model=SLOW, stream=True)).first_s for _ in range(STREAMS)
    ]


async def throughput(clients: list[Client], length: int, calls: int) -> float:
    """Requests a second with every client busy."""
    texts = itertools.islice(prompts(length), calls)

    async def work(client: Client) -> None:
        for text in texts:
            await client.chat(text, model=INSTANT)

    started = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    return calls / (time.perf_counter() - started)


def resident_mib(pid: int) -> float:
    """Resident memory of a process and all below it, shared pages counted in each."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            total += resident_mib(int(child))
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            total += int(line.split()[1]) / 1024
    return total


def detection_s(length: int) -> float:
    """Seconds of the two detection passes of a request, timed on their own."""
    detector = PresidioDetector()
    times = []
    for text in itertools.islice(prompts(length), STREAMS):
        started = time.perf_counter()
        detector.detect([text])
        detector.detect([text])
        times.append(time.perf_counter() - started)
    return percentile(times, 0.5)


def processor_s(pid: int) -> float:
    """Processor time that a process has used, user and system (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(gateway: Gateway, upstream_port: int) -> list[Figure]:
    headers = {"Authorization": f"Bearer {gateway.keys['clinician']}"}
    figures = []
    direct, through = Client(upstream_port), Client(gateway.port, headers)
    for (length, calls), (bar, reach) in zip(CALLS.items(), ((15, 6), (40, 20)), strict=True):
        base = await latencies(direct, length, calls)
        used = processor_s(gateway.process.pid)
        whole = await latencies(through, length, calls)
        used = (processor_s(gateway.process.pid) - used) / (calls + WARM_UP)
        for share, targets in ((0.5, (bar, reach)), (0.95, (None, None))):
            added = percentile(whole, share) - percentile(base, share)
            name = f"added_p{share * 100:.0f}_{length}"
            figures.append(Figure(name, added * 1000, "ms", "lower", *targets))
        figures.append(Figure(f"processor_{length}", used * 1000, "ms", "lower"))
    clients = [Client(gateway.port, headers) for _ in range(PARALLEL)]
    rate = await throughput(clients, 125, PARALLEL_CALLS)
    figures.append(Figure("requests_8_parallel_125", rate, "1/s", "higher", 100, 300))
    # Fresh ones: a server closes a connection that was idle for the seconds above.
    direct_slow, through_slow = Client(upstream_port), Client(gateway.port, headers)
    first = percentile(await first_tokens(through_slow, 125), 0.5)
    first -= percentile(await first_tokens(direct_slow, 125), 0.5) + detection_s(125)
    figures.append(Figure("first_token_beyond_detection", first * 1000, "ms", "lower", 10, 5))
    memory = resident_mib(gateway.process.pid)
    figures.append(Figure("resident_without_model", memory, "MiB", "lower", 300, 200))
    for client in (direct, through, direct_slow, through_slow, *clients):
        client.close()
    return figures


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, upstream() as port:
        url = f"http://127.0.0.1:{port}/v1"
        settings = SETTINGS + "".join(
            f'[[upstream]]\nname = "{name}"\nurls = ["{url}"]\nmodel = "{name}"\n'
            for name in (INSTANT, SLOW)
        )
        with running(Path(folder) / "home", settings) as gateway:
            figures = asyncio.run(measure(gateway, port))
    return publish(
        "gateway",
        figures,
        notes=f"{CALLS} calls by length, {PARALLEL_CALLS} calls {PARALLEL} at a time, {STREAMS} "
        "streams; hipaa and gdpr in force, two detection passes, intent and outcome durable, "
        "the guards of these policies; direct calls to the same upstream subtracted; memory is the "
        "sum of all processes.",
    )


if __name__ == "__main__":
    sys.exit(main())
