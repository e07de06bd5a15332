"""What is put on record, and how it is found again: steps 8 and 12, and everything refused.

The only way from the pipeline to the ledger. A method that is awaited returns when its record is
durable, and raises when it will not be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypedDict, TypeVar

from audit.alerts import Log
from audit.errors import AuditError
from audit.landing import Landing
from audit.ledger import StoredRecord
from audit.record import Entry, months_until, parse
from gateway import evidence, receipts
from gateway.case import UNDECIDED, Case
from gateway.domain import Clock, Principal, Role
from gateway.errors import GatewayError, LedgerUnavailableError, NotFoundError, RequestError
from gateway.evidence import Ended
from gateway.pii.tables import load as tables

T = TypeVar("T")

_RID_LENGTH = 32
_OWNER_TAG_BYTES = 8
_GONE_S = 0.1
_MOST_ATTEMPTS = 9  # and more count as nine (audit-format.md §2)
REPORTED = "detection.reported"
MOST_REPORTS = 32  # of one receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is the same in every record of a gateway.

    ``owner_key`` (on disk) ties a receipt's id to its owner without the ledger naming either.
    ``isolation`` tells the wall around the engine, as its children report it. ``retain_months``:
    how long a record is kept where policy lets the site choose; ``floor_months`` is for records
    without a request (for those with one it is among the bounds of the ``PolicySet``).
    """

    detector_digest: str
    categories_digest: str
    isolation: Callable[[], str]
    deadline_s: float
    retain_months: int
    floor_months: int = 0
    owner_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What somebody says of a receipt of theirs: that a finding is ``missed`` or ``wrong``.

    ``subject`` as in the request; the gateway remembers that of the latest receipts only.
    """

    kind: str
    text: str | None = field(repr=False, default=None)
    entity_type: str | None = None
    note: str | None = field(repr=False, default=None)
    subject: str | None = field(repr=False, default=None)


class _Kept(TypedDict):
    """How long a record is kept, and for how long of it erasure is refused."""

    retain_months: int
    floor_months: int


class Recorder:
    """Writes intents and outcomes. For one event loop."""

    def __init__(self, ledger: Log, clock: Clock, site: Site) -> None:
        self._ledger, self._landing = ledger, Landing()
        self._clock = clock
        self._site = site
        self._explanations: _Recent[Mapping[str, object]] = _Recent()
        self._subjects: _Recent[str] = _Recent()
        self._kept: _Recent[_Kept] = _Recent()
        self._gone: deque[tuple[Case, datetime]] = deque()
        self._own = _Kept(retain_months=site.retain_months, floor_months=site.floor_months)

    # --- the records of a request -------------------------------------------------------------

    async def intent(self, case: Case, decision: str = "allowed") -> None:
        """Put on record that the model is about to be called (or is not: ``denied``).

        One for each attempt: a prompt may be sent to another server where one has failed.

        Cancelled while it waits, it may be durable or not: then an outcome follows it.

        Raises:
            LedgerUnavailableError: it is not durable; the model MUST NOT be called.
        """
        case.attempts += 1
        try:
            await self._append(self._intent(case, decision))
        except asyncio.CancelledError:
            self.cancelled(case)
            raise

    def _intent(self, case: Case, decision: str) -> Entry:
        protected = case.protected
        routed = evidence.routed(case.route, case.prompt, case.operation) if case.route else {}
        return Entry(
            event="intent",
            receipt_id=case.rid,
            features={
                **self._features(case),
                "decision": decision,
                "attempt": min(case.attempts, _MOST_ATTEMPTS),
            },
            sealed={
                **evidence.identity(case.ask),
                **evidence.explanation(
                    protected.findings, protected.decision, protected.categories
                ),
                **routed,
            },
            texts={"prompt.masked": evidence.transcript(case.prompt)},
            committed={"prompt.original": evidence.transcript(case.ask.prompt)},
            values=evidence.values(protected.mapping),
            subject=case.ask.subject,
            identifiers=case.ask.record_numbers,
            **self._keeping(case),
            deadline=case.began + timedelta(seconds=2 * self._site.deadline_s),
        )

    async def answered(self, case: Case, ended: Ended) -> None:
        """Put what was asked for and is complete on record, all answers of the request at once.

        Raises:
            LedgerUnavailableError: it is not durable; the answer MUST NOT be completed.
        """
        case.closed = True
        features = {"finish": evidence.finish(ended.finishes)}
        await self._append(self._outcome(case, features, ended))
        known = self._explanations.get(case.rid)
        if known is not None:
            self._explanations.keep(case.rid, {**known, **evidence.spent(ended)})

    async def failed(self, case: Case, error: GatewayError) -> None:
        """Put on record that there is no answer, unless an outcome is there already."""
        if case.closed:
            return
        case.closed = True
        await self._append(self._outcome(case, {"finish": "error", "error": error.code}))

    async def refused(self, case: Case, error: GatewayError) -> None:
        """Put a request that never reached a model on record: intent and outcome."""
        await self.intent(case, "denied")
        await self.failed(case, error)
        error.receipt_id = self.receipt_id(case)

    def cancelled(self, case: Case) -> None:
        """As ``failed``, for a client that has gone: nobody is left to wait for durability.

        It is put on record a moment later: where many leave at once, their slots are free first.
        """
        if case.closed:
            return
        case.closed = True
        if not self._gone:
            asyncio.get_running_loop().call_later(_GONE_S, self._tell_gone)
        self._gone.append((case, self._clock()))

    def _tell_gone(self) -> None:
        """One at a time, so that others have their turn between them."""
        try:
            if self._gone:
                self._submit_gone(*self._gone.popleft())
        finally:  # whatever one record fails of, the others are made
            if self._gone:
                asyncio.get_running_loop().call_soon(self._tell_gone)

    def _submit_gone(self, case: Case, when: datetime) -> None:
        with contextlib.suppress(AuditError):  # the open intent is evidence enough
            self._ledger.submit(self._outcome(case, {"finish": "cancelled"}, when=when))

    def close(self) -> None:
        """Put on record what waits for a moment to be. MUST come before the ledger's."""
        while self._gone:
            self._submit_gone(*self._gone.popleft())

    def _outcome(
        self,
        case: Case,
        features: Mapping[str, object],
        ended: Ended | None = None,
        when: datetime | None = None,
    ) -> Entry:
        """``when`` it ended; None: now."""
        elapsed = (when or self._clock()) - case.began
        return Entry(
            event="outcome",
            receipt_id=case.rid,
            features={
                **self._features(case),
                **features,
                "stages": evidence.stages(case.verdicts),
            },
            sealed={
                **evidence.identity(case.ask),
                **evidence.answered(ended, case.verdicts, elapsed),
            },
            texts=evidence.answers(case.answers()),
            subject=case.ask.subject,
            identifiers=case.ask.record_numbers,
            **self._keeping(case),
        )

    def _keeping(self, case: Case) -> _Kept:
        """How long policy keeps the records of a request, and what is reported of it later.

        What was not decided (nothing was admitted, a tripwire) is kept as if it spoke of all
        that policy knows: the strictest.
        """
        ask, kept = case.ask, case.protected.decision.retention
        if case.protected is UNDECIDED:
            kept = case.policies.retention(ask.principal.role, ask.purpose)
        months = kept.months(self._site.retain_months)
        keeping = _Kept(retain_months=months, floor_months=kept.floor)
        self._kept.keep(case.rid, keeping)
        return keeping

    def _features(self, case: Case) -> dict[str, object]:
        protected, model = case.protected, case.route.model if case.route else None
        return {
            **evidence.who(case.ask),
            **evidence.found(protected.told),
            "rules": evidence.rules(protected.decision),
            "stream": case.ask.stream,
            "isolation": "remote"
            if model and model.backend == "remote"
            else self._site.isolation(),
            "digests": evidence.digests(
                case.policies.refs,
                detector=self._site.detector_digest,
                categories=self._site.categories_digest,
                tables=tables.digest(),
                model=(model.base_digest or model.digest) if model else "",
                adapter=model.digest if model and model.base else "",
                template=model.template_digest if model else "",
            ),
        }

    # --- other events -------------------------------------------------------------------------

    async def event(
        self,
        name: str,
        features: Mapping[str, object],
        sealed: Mapping[str, object],
        rid: str | None = None,
    ) -> None:
        """Put an event on record that is no request of a model.

        Raises:
            LedgerUnavailableError: it is not durable.
        """
        await self._append(
            Entry(
                event=name,
                receipt_id=rid,
                features=features,
                sealed=sealed,
                **self._own,
            )
        )

    async def boot(
        self, version: str, auditors: str = "", setup: Mapping[str, object] | None = None
    ) -> None:
        """Put the start of this process on record, under a checkpoint: from here on there is one.

        ``auditors`` is the digest of who may read, so that a list that was exchanged shows;
        ``setup`` tells auditors who they are, and what the key store is locked with.

        Raises:
            LedgerUnavailableError: it is not durable.
        """
        digests = {"digests": {"key:auditors": auditors}} if auditors else {}
        await self.event("boot", {"version": version, **digests}, setup or {})
        try:
            await self._landing.of(self._ledger.publish())
        except AuditError:
            raise LedgerUnavailableError from None

    async def failures(self, counts: Mapping[str, int]) -> None:
        """Put a minute's requests without a valid key on record, as one.

        Raises:
            LedgerUnavailableError: it is not durable.
        """
        total = evidence.count_bucket(sum(counts.values()))
        await self.event("auth.failures", {"count": total}, {"reasons": dict(counts)})

    async def _append(self, entry: Entry) -> None:
        try:
            await self._landing.of(self._ledger.submit(entry))
        except AuditError:
            raise LedgerUnavailableError from None

    # --- receipts -----------------------------------------------------------------------------

    def receipt_id(self, case: Case) -> str:
        """The id that the caller gets. The explanation stays in memory for a while."""
        protected = case.protected
        explained = evidence.explanation(
            protected.findings, protected.decision, protected.categories
        )
        if self._explanations.get(case.rid) is None:
            self._explanations.keep(case.rid, explained)
        if case.ask.subject is not None:
            self._subjects.keep(case.rid, case.ask.subject)
        return self.owned_id(case.rid, case.ask.principal)

    def owned_id(self, rid: str, principal: Principal) -> str:
        """A receipt's id as its owner knows it: the record's id and a MAC binding the principal.

        The ledger holds the first half only, so whoever steals it and the key cannot tell whose a
        record is; whoever shows both halves and a key of this principal proves to own it.
        """
        mac = hmac.digest(self._site.owner_key, f"{rid}|{principal.id}".encode(), "sha256")
        return f"{rid}-{mac[:_OWNER_TAG_BYTES].hex()}"

    async def receipt(self, receipt_id: str, principal: Principal) -> Mapping[str, object]:
        """What is on record under a receipt, with proofs, for its owner or an auditor.

        Raises:
            NotFoundError: no such receipt, or somebody else's: the two look the same.
            LedgerUnavailableError: the ledger cannot be read.
        """
        rid = receipt_id.partition("-")[0]
        owns = self._owns(receipt_id, principal)
        if not owns and principal.role is not Role.AUDITOR:
            raise NotFoundError
        records = await self._find(rid)
        # What the ledger seals an auditor opens with a private key, and not here.
        return receipts.receipt(receipt_id, records, self._explanations.get(rid) if owns else None)

    async def reported(self, receipt_id: str, principal: Principal, complaint: Complaint) -> None:
        """Put on record what the owner of a receipt says was missed or found wrongly.

        The text is sealed under the key of the request's subject, or else of the request: it is
        erased with the rest of it.

        Raises:
            NotFoundError: no such receipt, or somebody else's.
            RequestError: this receipt has as many reports as it may.
            LedgerUnavailableError: the ledger cannot be read, or it is not durable.
        """
        rid = receipt_id.partition("-")[0]
        if not self._owns(receipt_id, principal):
            raise NotFoundError
        records = await self._find(rid)
        if sum(record.event == REPORTED for record in records) >= MOST_REPORTS:
            raise RequestError("This receipt has as many reports as it may have.")
        texts = {"report.text": complaint.text, "report.note": complaint.note}
        await self._append(
            Entry(
                event=REPORTED,
                receipt_id=rid,
                features={"role": principal.role.value},
                sealed={
                    "principal": principal.id,
                    "key": principal.key_id,
                    "kind": complaint.kind,
                    "entity_type": complaint.entity_type,
                },
                texts={name: text for name, text in texts.items() if text is not None},
                subject=complaint.subject or self._subjects.get(rid),
                **(self._kept.get(rid) or self._as_long_as(records)),
            )
        )

    def _as_long_as(self, records: Sequence[StoredRecord]) -> _Kept:
        """How long the records of a receipt are kept that this process does not remember.

        Their floor is sealed: the site's own stands in for it.
        """
        last = max((parse(record.body).header.expires for record in records), default="")
        months = max(months_until(self._clock(), last), 1) if last else self._own["retain_months"]
        floor = min(self._own["floor_months"], months)
        return _Kept(retain_months=months, floor_months=floor)

    def _owns(self, receipt_id: str, principal: Principal) -> bool:
        rid = receipt_id.partition("-")[0]
        return hmac.compare_digest(receipt_id.encode(), self.owned_id(rid, principal).encode())

    async def _find(self, rid: str) -> Sequence[StoredRecord]:
        """The records of a receipt.

        Raises:
            NotFoundError: there is none.
            LedgerUnavailableError: the ledger cannot be read.
        """
        if len(rid) != _RID_LENGTH:
            raise NotFoundError
        try:
            records = await asyncio.to_thread(self._ledger.find, rid)
        except AuditError:
            raise LedgerUnavailableError from None
        if not records:
            raise NotFoundError
        return records


class _Recent(Generic[T]):
    """What is known of the latest receipts, in memory only: on disk it is sealed."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._kept: OrderedDict[str, T] = OrderedDict()

    def keep(self, rid: str, value: T) -> None:
        self._kept[rid] = value
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def get(self, rid: str) -> T | None:
        return self._kept.get(rid)
