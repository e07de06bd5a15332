"""A pipeline in memory, and the HTTP surface over it: it answers as the real one would.

The pipeline keeps every request in ``asked``. The last user message is an instruction: ``SLOW``
never ends by itself, ``BREAK`` fails after its first piece, ``CUT`` ends without a last chunk,
``RAISE code`` raises that error before the first piece, ``CALL name {json}`` calls a tool;
anything else comes back as it was sent, in pieces of four characters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from litestar.handlers import HTTPRouteHandler

from gateway import errors
from gateway.api.auditor.desk import Desk
from gateway.api.auth import AuthFailures
from gateway.api.keyfile import Grant, IssuedKey, KeyFile, issue_key
from gateway.api.metrics import Metrics
from gateway.api.routes import create_api
from gateway.api.services import Limits
from gateway.domain import (
    Ask,
    Chunk,
    FinishReason,
    ModelCard,
    Operator,
    PolicyRef,
    Principal,
    Purpose,
    Role,
    ToolCall,
    Usage,
    Verdict,
)
from gateway.pii.mask import Replacement
from gateway.pipeline import Answering, Deidentified, DeidentifyAsk, Pipeline
from gateway.recorder import Complaint

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=UTC)
CARD = ModelCard("house/small", "ab" * 32, "llama", 1000, 2048, tags=frozenset({"local", "en"}))
USAGE = Usage(prompt_tokens=11, completion_tokens=5, cached_tokens=3)


def error_classes(root: type[errors.GatewayError] = errors.GatewayError) -> list[type]:
    """Every class of the error tree."""
    return [root, *(found for sub in root.__subclasses__() for found in error_classes(sub))]


class UnforeseenError(Exception):
    """What no part of the gateway is meant to raise; its text is that of the request."""


@dataclass
class PipelineInMemory:
    """``running`` counts the answers that were begun and not closed."""

    asked: list[Ask] = field(default_factory=list)
    deidentified: list[DeidentifyAsk] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    refusals: list[tuple[str, str, Purpose | None]] = field(default_factory=list)
    refusal_error: errors.GatewayError | None = None
    running: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def chat(self, ask: Ask) -> Answering:
        self.asked.append(ask)
        order = ask.prompt.messages[-1].content or ""
        if order.startswith("RAISE "):
            raise self._error(order.removeprefix("RAISE "))
        if order == "SLOW START":
            await self._slow_start()
        self.running += 1
        self.begun.set()
        return Answering(
            receipt_id=f"r{len(self.asked)}",
            model=CARD.name,
            created=1_900_000_000,
            chunks=self._chunks(order),
            annotations=[Verdict("citations", passed=False, code="unsupported_claim")],
        )

    def _error(self, code: str) -> Exception:
        for kind in error_classes():
            if kind.code == code and not issubclass(kind, errors.DataFileError):
                error = kind()
                error.receipt_id = "r-refused"
                return error
        return UnforeseenError(code)

    async def _slow_start(self) -> None:
        self.running += 1
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.running -= 1
            self.closed.set()

    async def _chunks(self, order: str) -> AsyncIterator[Chunk]:
        try:
            if order.startswith("CALL "):
                _, name, arguments = order.split(" ", 2)
                calls = (ToolCall("call_1", name, arguments),)
                yield Chunk(tool_calls=calls, finish=FinishReason.TOOL_CALLS, usage=USAGE)
                return
            for start in range(0, len(order), 4):
                yield Chunk(text=order[start : start + 4])
                if order == "BREAK":
                    raise errors.EngineError
                if order.startswith("BURST"):
                    raise UnforeseenError(order)
                if order == "CUT":
                    return
                if order == "SLOW":
                    await asyncio.sleep(3600)
            yield Chunk(finish=FinishReason.STOP, usage=USAGE)
        finally:
            self.running -= 1
            self.closed.set()

    async def deidentify(self, ask: DeidentifyAsk) -> Deidentified:
        self.deidentified.append(ask)
        if ask.text.startswith("RAISE "):
            raise self._error(ask.text.removeprefix("RAISE "))
        return Deidentified(
            receipt_id="d1",
            text="<PERSON_1>",
            entities=(
                Replacement(0, len(ask.text), "<PERSON_1>", "PERSON", Operator.PSEUDONYM, 0.9),
            ),
            policies=(PolicyRef("hipaa", "1", "cd" * 32),),
            language={"asked": ask.language} if ask.language else None,
        )

    async def receipt(self, receipt_id: str, principal: Principal) -> Mapping[str, object]:
        if receipt_id == "r1" and (principal.id == "dr-quill" or principal.role is Role.AUDITOR):
            return {"id": receipt_id}
        raise errors.NotFoundError

    async def report(self, receipt_id: str, principal: Principal, complaint: Complaint) -> None:
        if receipt_id != "r1" or principal.id != "dr-quill":
            raise errors.NotFoundError
        self.complaints.append(complaint)

    def models(self) -> tuple[ModelCard, ...]:
        return (CARD,)

    async def refuse(
        self, error: errors.GatewayError, principal: Principal, purpose: Purpose | None
    ) -> str:
        if self.refusal_error:
            raise self.refusal_error
        self.refusals.append((error.code, principal.id, purpose))
        return f"f{len(self.refusals)}"


class House:
    """An API with keys for a clinician, an auditor and an admin, over a pipeline in memory."""

    def __init__(
        self,
        path: Path,
        *,
        pages: Sequence[HTTPRouteHandler] = (),
        pipeline: Pipeline | None = None,
        desk: Desk | None = None,
        **limits: float,
    ) -> None:
        """``pipeline``: a real one, over an engine in memory (``tests/echo.py``).

        ``desk``: where auditors read a real ledger.
        """
        self.path = path
        self.now = NOW
        self.pipeline = pipeline or PipelineInMemory()
        self.recorded: list[dict[str, int]] = []
        self.reasons: list[str] | Exception = []
        self.metrics = Metrics()
        self.keys = {
            "dr-quill": self.issue("dr-quill", Role.CLINICIAN),
            "auditor": self.issue("auditor", Role.AUDITOR, Purpose.OPERATIONS),
            "admin": self.issue("admin", Role.ADMIN, Purpose.OPERATIONS),
        }
        self.failures = AuthFailures(self._record)
        self.app = create_api(
            self.pipeline,
            KeyFile(path, lambda: self.now),
            self.failures,
            self._ready,
            limits=Limits(**limits),
            metrics=self.metrics,
            desk=desk,
            pages=pages,
        )

    def issue(self, principal: str, role: Role, purpose: Purpose = Purpose.TREATMENT) -> IssuedKey:
        grant = Grant(
            principal=principal,
            role=role,
            purposes=frozenset({purpose, Purpose.RESEARCH}),
            default_purpose=purpose,
            expires=NOW + timedelta(days=1),
            matters=frozenset({"matter-7"}),
        )
        return issue_key(self.path, grant, NOW)

    async def _record(self, counts: Mapping[str, int]) -> None:
        self.recorded.append(dict(counts))

    async def _ready(self) -> list[str]:
        if isinstance(self.reasons, Exception):
            raise self.reasons
        return self.reasons

    def headers(self, who: str = "dr-quill", **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who].secret}", **more}
