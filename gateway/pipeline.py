"""One request, from the policy in force to the outcome on record. The steps are DESIGN §1's.

Invariants, each with a test that would fail without it:

- the engine is called only after the intent of the attempt is durable in the ledger;
- the engine receives the masked prompt and nothing else;
- the chunk that ends an answer is handed out only after its outcome is durable;
- whatever fails, denies: there is no path from an exception to the model;
- every request leaves an intent and an outcome, denied and failed ones too; only one whose
  client left before it was decided leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

import structlog

from gateway import evidence
from gateway.answer import Answers, total
from gateway.case import Case
from gateway.demands import check_schemas, denied_by, held_to, needs, only
from gateway.domain import (
    Ask,
    Category,
    Chunk,
    Clock,
    Decision,
    Finding,
    FinishReason,
    Message,
    ModelCard,
    ModelConstraints,
    PolicyRef,
    Principal,
    Prompt,
    Purpose,
    Route,
    StageRequirement,
    Usage,
    Verdict,
)
from gateway.engine.energy import Account
from gateway.engine.port import Embedding, Engine, Generation
from gateway.errors import (
    EngineError,
    GatewayError,
    GuardError,
    GuardRefusedError,
    UnavailableError,
)
from gateway.evidence import Ended
from gateway.guards.port import Exchange, Guard
from gateway.pii.languages import SERVED, searched
from gateway.pii.mask import Replacement
from gateway.policy.decide import PolicySet, admit, decide
from gateway.policy.model import digest_of
from gateway.protect import Decide, Protected, Protector
from gateway.recorder import Complaint, Recorder
from gateway.routing.choose import AUTO, EMBEDDINGS, choose
from gateway.routing.intent import classify

log = structlog.get_logger()
T = TypeVar("T")

_WITHHOLDING = frozenset({"withhold", "refuse"})
_TAG_LENGTH = 8
_CHARACTERS_A_TOKEN = 4  # an estimate to choose by; the engine counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a pipeline is made of; ``app.py`` is the only place that fills it.

    ``secret`` lives in memory only and keys the engine's caches.
    """

    protector: Protector
    policies: Callable[[], PolicySet]
    engine: Engine
    account: Account
    guards: Mapping[str, Guard]
    recorder: Recorder
    pool: Executor
    clock: Clock
    new_id: Callable[[], str]
    secret: bytes = field(repr=False)
    default_model: str
    deadline_s: float
    languages: tuple[str, ...] = SERVED


@dataclass(slots=True)
class Answering:
    """An answer on its way: restored, its last chunk comes after the outcome is durable."""

    receipt_id: str
    model: str
    created: int
    chunks: AsyncGenerator[Chunk, None]
    annotations: list[Verdict]

    async def aclose(self) -> None:
        """End generation; an answer that was cut short gets its outcome on record. Idempotent."""
        await self.chunks.aclose()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """``vectors``: one for each message, in their order, each of length 1."""

    receipt_id: str
    model: str
    vectors: Sequence[Sequence[float]] = field(repr=False)
    usage: Usage
    annotations: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class DeidentifyAsk:
    principal: Principal
    purpose: Purpose
    text: str = field(repr=False)
    language: str | None = None
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deidentified:
    """``entities``: what was replaced; offsets are those of the text that was sent.

    ``language``: where one was named, which were searched (``pii/languages.py``).
    """

    receipt_id: str
    text: str = field(repr=False)
    entities: tuple[Replacement, ...]
    policies: tuple[PolicyRef, ...]
    language: Mapping[str, object] | None = None


class Pipeline:
    """Answers requests. Safe for concurrent use from one event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._record = parts.recorder

    # --- the way of one request ---------------------------------------------------------------

    async def chat(self, ask: Ask) -> Answering:
        """Begin an answer. Errors before its first chunk are raised here, on record already.

        Raises:
            GatewayError: any of them; ``receipt_id`` is set where a record was made.
        """
        case = self._open(ask)
        case.operation = "completion" if ask.prompt.raw else "chat"
        await self._decided(case, self._prepare)  # 1 to 7
        await self._record.intent(case)  # 8
        return await self._begin(case)  # 9 10 11 12

    def _open(self, ask: Ask) -> Case:
        policies = self._parts.policies().plus(ask.extra_policies)
        return Case(ask, self._parts.new_id(), self._parts.clock(), policies)

    async def _decided(self, case: Case, work: Callable[..., None], *args: object) -> None:
        """Do ``work`` off the event loop; where it fails, put the refusal on record.

        Raises:
            GatewayError: whatever went wrong, by now on record.
        """
        try:
            await self._in_pool(work, case, *args)
        except GatewayError as error:
            await self._record.refused(case, error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not leave
            wrapped = UnavailableError()
            log.error(  # noqa: TRY400 - a traceback could carry values
                "request_not_decided", request_id=case.rid, error=type(error).__name__
            )
            await self._record.refused(case, wrapped)
            raise wrapped from None

    def _prepare(self, case: Case) -> None:
        """All that is decided before the model is called, in one go off the event loop."""
        self._admit(case)  # 1
        check_schemas(case.ask.prompt)
        case.prompt, case.protected = self._protect(case)  # 2 3 4 5
        demanded = self._constraints(case).decoding
        case.prompt = held_to(case.prompt, demanded)
        case.route = self._choose(case, needs(case.prompt))  # 6
        case.prompt = held_to(case.prompt, only(case.route.model.decoding))
        self._guard(case, "in")  # 7

    def _admit(self, case: Case) -> None:
        ask = case.ask
        gate = admit(case.policies, principal=ask.principal, purpose=ask.purpose, now=case.began)
        if gate.denied:
            case.protected = Protected((), gate)
            raise denied_by(gate.denied)

    def _protect(self, case: Case) -> tuple[Prompt, Protected]:
        return self._parts.protector.protect(case.ask.prompt, self._rule(case), _scope(case))

    def _rule(self, case: Case) -> Decide:
        ask = case.ask

        def rule(findings: Sequence[Finding], categories: frozenset[Category]) -> Decision:
            return decide(
                case.policies,
                principal=ask.principal,
                purpose=ask.purpose,
                findings=findings,
                now=case.began,
                categories=categories,
            )

        return rule

    def _constraints(self, case: Case) -> ModelConstraints:
        """What policy asks of the model. Raises PolicyDeniedError where it denies the request."""
        decision = case.protected.decision
        if decision.denied:
            raise denied_by(decision.denied)
        return decision.constraints

    def _choose(self, case: Case, wanted: frozenset[str]) -> Route:
        prompt = case.prompt
        last = next((m.content for m in reversed(prompt.messages) if m.role == "user"), None)
        length, default = len(evidence.transcript(prompt)), self._parts.default_model
        if EMBEDDINGS in wanted:  # each text by itself, and not by the model that answers chats
            length = max(len(message.content or "") for message in prompt.messages)
            default = AUTO
        return choose(
            self._parts.engine.models(),
            requested=case.ask.model or default,
            constraints=self._constraints(case),
            prompt_tokens_estimate=length // _CHARACTERS_A_TOKEN,
            max_tokens=prompt.sampling.max_tokens,
            needs=wanted,
            intent=classify(last or ""),
        )

    def _guard(
        self, case: Case, side: str, answer: str | None = None, choice: int | None = None
    ) -> None:
        """Run the guards that policy requires on this side of generation.

        Raises:
            GuardRefusedError: one did not pass, and its action lets nothing through.
            GuardError: one failed.
        """
        required = self._required(case, side)
        if not required:
            return
        verdicts = check_all([guard for _, guard in required], case.exchange(answer))
        for (requirement, _), found in zip(required, verdicts, strict=True):
            verdict = replace(found, choice=choice)
            case.verdicts.append(verdict)
            if verdict.passed:
                continue
            if requirement.action in _WITHHOLDING:
                raise GuardRefusedError
            case.annotations.append(verdict)

    def _required(self, case: Case, side: str) -> list[tuple[StageRequirement, Guard]]:
        required = []
        for requirement in case.protected.decision.stages:
            guard = self._parts.guards.get(requirement.stage)
            if guard is None:  # required and unknown: nothing may pass it
                raise GuardError
            if guard.side == side:
                required.append((requirement, guard))
        return required

    async def _begin(self, case: Case) -> Answering:
        chunks = self._generate(case)
        try:
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            raise
        return Answering(
            receipt_id=self._record.receipt_id(case),
            model=case.routed().model.name,
            created=int(case.began.timestamp()),
            chunks=_with_first(first, chunks),
            annotations=case.annotations,
        )

    async def _generate(self, case: Case) -> AsyncGenerator[Chunk, None]:
        """Steps 9 to 12. Whichever way it ends, an outcome is on record."""
        answers = Answers(case.ask.prompt, case.protected, self._new_tag, held=self._held(case))
        ends: Sequence[Chunk] = ()
        before = self._parts.account.open()
        async with self._outcome_whatever(case):
            async with contextlib.aclosing(self._stream(case)) as stream:
                async for chunk in stream:
                    case.take(chunk)
                    if (ready := answers.feed(chunk)) is not None:
                        yield ready
            ends = await self._in_pool(self._complete, case, answers)  # 10
            reasons = tuple(end.finish for end in ends if end.finish is not None)
            usage = total([end.usage for end in ends if end.usage is not None])
            energy = self._parts.account.close(case.routed().model.name, usage, before)
            await self._record.answered(case, Ended(reasons, usage, answers.report, energy))
        for end in ends:
            yield end

    def _complete(self, case: Case, answers: Answers) -> Sequence[Chunk]:
        """The guards' word on each answer, then the last chunk of each."""
        ends = answers.ended()
        for index, text in enumerate(case.answers()):
            self._guard(case, "out", text, index)
        return ends

    @contextlib.asynccontextmanager
    async def _outcome_whatever(self, case: Case) -> AsyncIterator[None]:
        """An outcome is on record at the end of the block, whichever way it ends.

        Raises:
            GatewayError: what went wrong in it, by now on record.
        """
        try:
            yield
        except GatewayError as error:
            error.receipt_id = self._record.receipt_id(case)
            await self._record.failed(case, error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not leave
            wrapped = EngineError()
            wrapped.receipt_id = self._record.receipt_id(case)
            log.error(  # noqa: TRY400 - a traceback could carry values
                "request_failed", request_id=case.rid, error=type(error).__name__
            )
            await self._record.failed(case, wrapped)
            raise wrapped from None
        finally:
            self._record.cancelled(case)  # unless an outcome is there already

    def _new_tag(self) -> str:
        return self._parts.new_id()[:_TAG_LENGTH]

    def _stream(self, case: Case) -> AsyncGenerator[Chunk, None]:
        route, ask = case.routed(), case.ask
        return self._parts.engine.generate(
            Generation(
                model=route.model.name,
                prompt=case.prompt,
                deadline_s=self._parts.deadline_s,
                cache_scope=self._cache_scope(ask, case.policies, route),
                adapter=route.adapter,
                lane=ask.principal.id,
                placeholders=frozenset(case.protected.mapping),
            )
        )

    def _held(self, case: Case) -> bool:
        """Whether a required stage may yet withhold the answer: then nothing leaves before it."""
        return any(r.action in _WITHHOLDING for r, _ in self._required(case, "out"))

    def _cache_scope(self, ask: Ask, policies: PolicySet, route: Route) -> str:
        fields = (ask.principal.id, ask.matter, policies.digest, route.model.digest, route.adapter)
        return hmac.digest(self._parts.secret, json.dumps(fields).encode(), "sha256").hex()

    async def _in_pool(self, work: Callable[..., T], *args: object) -> T:
        """Run processor-heavy work off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._parts.pool, work, *args)

    # --- the other questions --------------------------------------------------------------------

    def models(self) -> tuple[ModelCard, ...]:
        return self._parts.engine.models()

    async def embed(self, ask: Ask) -> Embeddings:
        """Turn each message of the prompt, masked, into a vector.

        Masked together, so a value has one placeholder in all of them.

        Raises:
            GatewayError: as ``chat``.
        """
        case = self._open(ask)
        case.operation = "embeddings"
        await self._decided(case, self._prepare_embedding)
        await self._record.intent(case)
        before = self._parts.account.open()
        async with self._outcome_whatever(case):
            model, texts = case.routed().model, [m.content or "" for m in case.prompt.messages]
            embedded = await self._parts.engine.embed(
                Embedding(model.name, texts, self._parts.deadline_s, ask.principal.id)
            )
            check_vectors(embedded.vectors, len(texts))
            energy = self._parts.account.close(model.name, embedded.usage, before)
            ended = Ended((FinishReason.STOP,), embedded.usage, energy=energy)
            await self._record.answered(case, ended)
        return Embeddings(
            receipt_id=self._record.receipt_id(case),
            model=model.name,
            vectors=embedded.vectors,
            usage=embedded.usage,
            annotations=tuple(case.annotations),
        )

    def _prepare_embedding(self, case: Case) -> None:
        self._admit(case)
        case.prompt, case.protected = self._protect(case)
        case.route = self._choose(case, frozenset({EMBEDDINGS}))
        self._guard(case, "in")

    async def deidentify(self, ask: DeidentifyAsk) -> Deidentified:
        """Mask one text as the policies in force (and ``ask.policies``) say. No model is called.

        Raises:
            GatewayError: as ``chat``.
        """
        prompt = Prompt(messages=(Message("user", ask.text),))
        case = self._open(Ask(ask.principal, ask.purpose, prompt, extra_policies=ask.policies))
        await self._decided(case, self._mask_text, ask)
        await self._record.intent(case)
        await self._record.answered(case, Ended((FinishReason.STOP,)))
        return Deidentified(
            receipt_id=self._record.receipt_id(case),
            text=case.prompt.messages[0].content or "",
            entities=case.protected.replacements[0],
            policies=case.policies.refs,
            language=searched(ask.language, self._parts.languages) if ask.language else None,
        )

    def _mask_text(self, case: Case, ask: DeidentifyAsk) -> None:
        self._admit(case)
        text, case.protected = self._parts.protector.protect_text(
            ask.text, self._rule(case), ask.language
        )
        if case.protected.decision.denied:
            raise denied_by(case.protected.decision.denied)
        case.prompt = Prompt(messages=(Message("user", text),))

    async def receipt(self, receipt_id: str, principal: Principal) -> Mapping[str, object]:
        """What is on record under a receipt: see ``Recorder.receipt``."""
        return await self._record.receipt(receipt_id, principal)

    async def report(self, receipt_id: str, principal: Principal, complaint: Complaint) -> None:
        """Put on record what was missed or found wrongly: see ``Recorder.reported``."""
        await self._record.reported(receipt_id, principal, complaint)

    async def refuse(
        self, error: GatewayError, principal: Principal, purpose: Purpose | None
    ) -> str:
        """Put on record that a valid key asked for what it may not; return the receipt's id.

        Raises:
            LedgerUnavailableError: it could not be put on record.
        """
        rid = self._parts.new_id()
        features: dict[str, object] = {"role": principal.role.value, "error": error.code}
        if purpose is not None:
            features["purpose"] = purpose.value
        await self._record.event("auth.denied", features, {"principal": principal.id}, rid)
        return self._record.owned_id(rid, principal)


def check_all(guards: Sequence[Guard], exchange: Exchange) -> list[Verdict]:
    """Ask each guard.

    Raises:
        GuardError: one raised; its text goes nowhere.
    """
    try:
        return [guard.check(exchange) for guard in guards]
    except Exception:  # noqa: BLE001 - whatever it is: a guard that raises has not passed
        raise GuardError from None


def check_vectors(vectors: Sequence[Sequence[float]], count: int) -> None:
    """Raise EngineError where there are not ``count`` vectors of numbers, all of one length."""
    alike = len({len(vector) for vector in vectors}) == 1
    if len(vectors) != count or not alike or not all(map(math.isfinite, chain(*vectors))):
        raise EngineError


async def _with_first(
    first: Chunk, rest: AsyncGenerator[Chunk, None]
) -> AsyncGenerator[Chunk, None]:
    """``rest`` with the chunk that was taken from it in front; closing it closes ``rest``."""
    async with contextlib.aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


def _scope(case: Case) -> bytes:
    """Whose searches may be shared: of one principal, in one matter, under the same policies."""
    ask = case.ask
    parts = [ask.principal.id, ask.matter or "", digest_of(case.policies.refs)]
    return json.dumps(parts).encode()
