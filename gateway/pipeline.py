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
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeVar

import structlog

from gateway.answer import Answers, total
from gateway.case import Case
from gateway.domain import (
    Ask,
    Chunk,
    FinishReason,
    Message,
    ModelCard,
    PolicyRef,
    Principal,
    Prompt,
    Purpose,
    Route,
    Usage,
    Verdict,
)
from gateway.engine.port import Embedding, Generation
from gateway.errors import EngineError, GatewayError, UnavailableError
from gateway.evidence import Ended
from gateway.pii.languages import searched
from gateway.pii.mask import Replacement
from gateway.policy.decide import PolicySet
from gateway.recorder import Complaint
from gateway.steps import Parts, Steps

log = structlog.get_logger()
T = TypeVar("T")

_TAG_LENGTH = 8


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
        self._steps = Steps(parts)
        self._record = parts.recorder

    # --- the way of one request ---------------------------------------------------------------

    async def chat(self, ask: Ask) -> Answering:
        """Begin an answer. Errors before its first chunk are raised here, on record already.

        Raises:
            GatewayError: any of them; ``receipt_id`` is set where a record was made.
        """
        case = self._open(ask)
        case.operation = "completion" if ask.prompt.raw else "chat"
        await self._decided(case, self._steps.prepare)  # 1 to 7
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
        answers = Answers(
            case.ask.prompt, case.protected, self._new_tag, held=self._steps.held(case)
        )
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
            self._steps.guard(case, "out", text, index)
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
                again=partial(self._record.intent, case),
            )
        )

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
        await self._decided(case, self._steps.prepare_embedding)
        await self._record.intent(case)
        before = self._parts.account.open()
        async with self._outcome_whatever(case):
            model, texts = case.routed().model, [m.content or "" for m in case.prompt.messages]
            embedded = await self._parts.engine.embed(
                Embedding(
                    model.name,
                    texts,
                    self._parts.deadline_s,
                    ask.principal.id,
                    partial(self._record.intent, case),
                )
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

    async def deidentify(self, ask: DeidentifyAsk) -> Deidentified:
        """Mask one text as the policies in force (and ``ask.policies``) say. No model is called.

        Raises:
            GatewayError: as ``chat``.
        """
        prompt = Prompt(messages=(Message("user", ask.text),))
        case = self._open(Ask(ask.principal, ask.purpose, prompt, extra_policies=ask.policies))
        await self._decided(case, self._steps.mask_text, ask.text, ask.language)
        await self._record.intent(case)
        await self._record.answered(case, Ended((FinishReason.STOP,)))
        return Deidentified(
            receipt_id=self._record.receipt_id(case),
            text=case.prompt.messages[0].content or "",
            entities=case.protected.replacements[0],
            policies=case.policies.refs,
            language=searched(ask.language, self._parts.languages) if ask.language else None,
        )

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
