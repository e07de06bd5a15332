"""Cancelled at any moment, a request leaves no intent without an outcome."""

from __future__ import annotations

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.ledger import Options
from gateway.domain import (
    Ask,
    Chunk,
    FinishReason,
    Message,
    ModelCard,
    Principal,
    Prompt,
    Purpose,
    Role,
    Usage,
)
from gateway.engine.energy import Account, Meter, Rates
from gateway.engine.port import Embedded
from gateway.guards.registry import ALL as GUARDS
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.pipeline import DeidentifyAsk, Pipeline
from gateway.policy.decide import PolicySet
from gateway.policy.load import load_policy, shipped
from gateway.protect import Protector
from gateway.recorder import Recorder, Site
from gateway.steps import Parts
from tests import auditkit
from tests.wordlist import detect

CARD = ModelCard("m", "", "remote", 0, 4096, zone="local")
TEXT = "of Zara Quillfeather"
ROUNDS = 24  # turns of the event loop after which a request is cancelled; it takes fewer


class Words:
    """A detector that knows one name."""

    digest = "ab" * 32

    def detect(self, texts, language=None, changed=None):
        return [detect({"Zara Quillfeather": "PERSON"}, text) for text in texts]


class Model:
    """An engine that answers at once."""

    def models(self):
        return (CARD,)

    async def generate(self, generation):
        yield Chunk(text="hello ")
        await asyncio.sleep(0)
        yield Chunk(finish=FinishReason.STOP, usage=Usage(1, 1))

    async def embed(self, embedding):
        await asyncio.sleep(0)
        return Embedded([[1.0] for _ in embedding.texts], Usage(1))


@pytest.fixture
def house(tmp_path):
    home = auditkit.make_home(tmp_path)
    numbers = itertools.count(1)
    with home.ledger(Options()) as ledger, ThreadPoolExecutor(1) as pool:
        site = Site(
            detector_digest="ab" * 32,
            categories_digest="cd" * 32,
            isolation=lambda: "remote",
            deadline_s=1,
            retain_months=1,
            owner_key=bytes(32),
        )
        recorder = Recorder(ledger, home.clock, site)
        parts = Parts(
            protector=Protector(Words(), splice, home.clock, Categorizer()),
            policies=lambda: PolicySet([load_policy(shipped("gdpr"))], []),
            engine=Model(),
            account=Account(Meter(), Rates(6.25), lambda *_: None),
            guards=GUARDS,
            recorder=recorder,
            pool=pool,
            clock=home.clock,
            new_id=lambda: f"{next(numbers):032x}",
            secret=os.urandom(32),
            default_model="auto",
            deadline_s=1,
        )
        yield Pipeline(parts), recorder, ledger, home.clock


def ask(purpose: Purpose) -> Ask:
    principal = Principal("p", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
    return Ask(principal, purpose, Prompt((Message("user", TEXT),)))


async def answered(pipeline: Pipeline) -> None:
    answering = await pipeline.chat(ask(Purpose.TREATMENT))
    try:
        async for _ in answering.chunks:
            pass
    finally:
        await answering.aclose()


async def denied(pipeline: Pipeline) -> None:
    await pipeline.chat(ask(Purpose.MARKETING))


async def embedded(pipeline: Pipeline) -> None:
    await pipeline.embed(ask(Purpose.TREATMENT))


async def deidentified(pipeline: Pipeline) -> None:
    asked = ask(Purpose.TREATMENT)
    await pipeline.deidentify(DeidentifyAsk(asked.principal, asked.purpose, TEXT))


@pytest.mark.parametrize("work", [answered, denied, embedded, deidentified])
async def test_whenever_it_is_cancelled_no_intent_stays_open(house, work):
    """At each await of a request a client can leave; what is on record then has its end."""
    pipeline, recorder, ledger, clock = house
    cancelled = 0
    for turns in range(ROUNDS):
        task = asyncio.ensure_future(work(pipeline))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        cancelled += isinstance(ended, asyncio.CancelledError)
    assert cancelled
    recorder.close()  # what waits for a moment
    await asyncio.wrap_future(ledger.publish())  # all that was submitted is written by now
    clock.forward(days=1)
    assert ledger.open_intents() == ()


async def test_one_outcome_that_cannot_be_made_holds_up_no_other(house, monkeypatch):
    """Nothing piles up behind it: a case holds what the user wrote."""
    pipeline, recorder, _, _ = house
    cases = [pipeline._open(ask(Purpose.TREATMENT)) for _ in range(3)]
    told = []

    def submit(case, _when):
        if case is cases[0]:
            raise ValueError
        told.append(case)

    monkeypatch.setattr(recorder, "_submit_gone", submit)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    for case in cases:
        recorder.cancelled(case)
    await asyncio.sleep(0.3)
    assert told == cases[1:]
