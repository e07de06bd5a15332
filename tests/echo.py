"""An engine in memory behind a real pipeline: what it was given is what a model would have seen.

It says the last message again. The beginning of that message can be an instruction: ``CALL name
{json}`` calls a tool, ``JSON text`` says the text without the word, ``CUT`` comes to an end by
length, ``BUSY n`` has no place for n seconds, ``LOST`` never ends its last answer, ``STRAY`` speaks
of an answer that nobody asked for, ``AGAIN`` goes on after its end. ``@1`` is the first medical
record. Of several answers all but the first begin with their number.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.ledger import Ledger, Options
from gateway.domain import (
    Chunk,
    Decoding,
    Finding,
    FinishReason,
    ModelCard,
    TokenLogprob,
    ToolCall,
    Usage,
    Verdict,
)
from gateway.engine.energy import Account, Meter, Rates
from gateway.engine.port import Embedded, Embedding, Generation
from gateway.errors import BusyError
from gateway.guards.port import Exchange, Guard
from gateway.guards.registry import ALL as GUARDS
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.pipeline import Pipeline
from gateway.policy.decide import PolicySet
from gateway.policy.load import parse_policy
from gateway.policy.model import Policy
from gateway.protect import Protector
from gateway.recorder import Recorder, Site
from gateway.steps import Parts
from tests import auditkit
from tests.wordlist import detect

FREE = ModelCard("house/free", "ab" * 32, "llama", 10, 4096, zone="local")
QUOTER = ModelCard("house/quoter", "cd" * 32, "llama", 1, 4096, Decoding.EXTRACTIVE, zone="local")
REMOTE = ModelCard("pool/free", "", "remote", 5, 4096, zone="local")

NAMES = {"Zara Quillfeather": "PERSON", "Ottoline Brack": "PERSON", "84720193": "MEDICAL_RECORD"}

POLICY = """
name: ward
version: 1.0.0
kind: base
regulation: Test 1
jurisdiction: XX
effective: 2020-01-01
owner: tests
vocabulary: cloister/1
silence: {clause: Test 1, why: What is not named is denied.}
rules:
  - {id: care, clause: Test 2, why: w, when: {role: [clinician], purpose: [treatment, research]}, then: {permit: true}}
  - {id: study, clause: Test 3, why: w, when: {role: [researcher], purpose: [treatment, research]}, then: {permit: true}}
  - {id: mask, clause: Test 4, why: w, when: {entity: [PERSON, MEDICAL_RECORD]}, then: {operator: pseudonym}}
  - {id: see, clause: Test 5, why: w, when: {role: [clinician], entity: [PERSON, MEDICAL_RECORD]}, then: {restore: true}}
  - {id: tool, clause: Test 6, why: w, when: {role: [clinician]}, then: {restore_tools: [book]}}
"""  # noqa: E501 - a rule is a line
OVERLAY = """
name: {name}
version: 1.0.0
kind: overlay
regulation: Test 1
jurisdiction: XX
effective: 2020-01-01
owner: tests
vocabulary: cloister/1
rules:
  - {{id: {name}, clause: Test 7, why: w, then: {{{then}}}}}
"""


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text.encode(), file="test.yaml")


def overlay(name: str, then: str) -> Policy:
    return policy(OVERLAY.format(name=name, then=then))


class EchoEngine:
    """``cards``: the models it says it has; ``width``: characters of a piece."""

    isolation = "remote"

    def __init__(self, cards: Sequence[ModelCard] = (FREE, QUOTER), width: int = 4) -> None:
        self.cards = tuple(cards)
        self.width = width
        self.asked: list[Generation] = []
        self.embedded: list[Embedding] = []
        self.flushed = 0
        self.before_end: Callable[[], object] = lambda: None

    def models(self) -> tuple[ModelCard, ...]:
        return self.cards

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        self.asked.append(generation)
        prompt = generation.prompt
        order = (prompt.messages[-1].content or "").replace("@1", "<MEDICAL_RECORD_1>")
        word, _, rest = order.partition(" ")
        if word == "BUSY":
            raise BusyError(retry_after_s=int(rest))
        count = prompt.sampling.n
        calls, finish = self._calls(order)
        texts = [self._text(order, index) for index in range(count)]
        for start in range(0, max(map(len, texts)), self.width):
            for index, text in enumerate(texts):
                if piece := text[start : start + self.width]:
                    yield Chunk(piece, index=index, logprobs=self._told(prompt.sampling, piece))
        if word == "STRAY":
            yield Chunk("x", index=count)
        self.before_end()
        for index in reversed(range(count)):  # the last one ends first and counts the prompt
            if word == "LOST" and index == count - 1:
                continue
            first = index == count - 1
            usage = Usage(7 if first else 0, 5, 2 if first else 0, 0.25)
            yield Chunk("", calls, finish, usage, index)
        if word == "AGAIN":
            yield Chunk("x", index=0)

    def _calls(self, order: str) -> tuple[tuple[ToolCall, ...], FinishReason]:
        if order.startswith("CALL "):
            _, name, arguments = order.split(" ", 2)
            return (ToolCall("up_1", name, arguments),), FinishReason.TOOL_CALLS
        return (), FinishReason.LENGTH if order.startswith("CUT") else FinishReason.STOP

    @staticmethod
    def _text(order: str, index: int) -> str:
        if order.startswith("CALL "):
            return ""
        if order.startswith("JSON "):
            return order.removeprefix("JSON ")
        return f"{index}: {order}" if index else order

    @staticmethod
    def _told(sampling, piece: str) -> tuple[TokenLogprob, ...]:
        if sampling.logprobs is None:
            return ()
        top = ((piece.encode(), -0.5), (b"\xff", -math.inf))[: sampling.logprobs]
        return (TokenLogprob(piece.encode(), -0.5, top),)

    async def embed(self, embedding: Embedding) -> Embedded:
        self.embedded.append(embedding)
        vectors = [self.vector(text) for text in embedding.texts]
        return Embedded(vectors, Usage(prompt_tokens=len(vectors)))

    @staticmethod
    def vector(text: str) -> list[float]:
        """Three numbers of length 1 that depend on the text alone."""
        digits = [byte / 255 + 0.01 for byte in hashlib.sha256(text.encode()).digest()[:3]]
        length = math.hypot(*digits)
        return [digit / length for digit in digits]

    def flush(self) -> None:
        self.flushed += 1

    async def aclose(self) -> None:
        """There is nothing to end."""


class Words:
    """A detector that knows a list of words."""

    digest = "ab" * 32

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words

    def detect(self, texts, language=None, changed=None) -> list[tuple[Finding, ...]]:
        return [detect(self._words, text) for text in texts]


class Unnumbered:
    """A guard on answers that only those without a number pass."""

    name, version, side = "compliance", "1", "out"

    def check(self, exchange: Exchange) -> Verdict:
        return Verdict("compliance", passed=not (exchange.answer or "").startswith("1:"))


@dataclass
class Ward:
    """A pipeline over an engine in memory, with a ledger that an auditor can open."""

    pipeline: Pipeline
    engine: EchoEngine
    home: auditkit.Home
    ledger: Ledger


@contextmanager
def ward(
    folder: Path,
    *policies: Policy,
    engine: EchoEngine | None = None,
    words: Mapping[str, str] = NAMES,
    guards: Mapping[str, Guard] = GUARDS,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Iterator[Ward]:
    engine = engine or EchoEngine()
    home = auditkit.make_home(folder)
    numbers = itertools.count(1)
    with home.ledger(options) as ledger, ThreadPoolExecutor(1) as pool:
        site = Site(
            detector_digest="ab" * 32,
            categories_digest="cd" * 32,
            isolation=lambda: "remote",
            deadline_s=1,
            retain_months=1,
            owner_key=bytes(32),
        )
        chosen = PolicySet([policy(), *policies], [])
        parts = Parts(
            protector=Protector(Words(words), splice, home.clock, Categorizer()),
            policies=lambda: chosen,
            engine=engine,
            account=Account(Meter(), Rates(6.25), lambda *_: None),
            guards=guards,
            recorder=Recorder(ledger, home.clock, site),
            pool=pool,
            clock=home.clock,
            # What differs comes first: tags are the beginning of an id.
            new_id=lambda: f"{next(numbers):08x}" + 24 * "0",
            secret=bytes(32),
            default_model="auto",
            deadline_s=30,
        )
        yield Ward(Pipeline(parts), engine, home, ledger)
