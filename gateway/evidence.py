"""What a request leaves on record: readable features, and what only auditors may read.

Pure. The readable part is coarse by design (DESIGN §4, promise 7): role, purpose, entity types
with counts in four buckets, score bands, rule ids, digests. Everything that tells one request
from another (principal, matter, exact scores, timings) goes into the sealed part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from gateway.domain import (
    Ask,
    Category,
    Citation,
    Decision,
    Finding,
    PolicyRef,
    Prompt,
    Route,
    Sampling,
    Usage,
    Verdict,
    band_of,
)
from gateway.pii.mask import Value
from gateway.pii.restore import Report

PERSON = "PERSON"
OTHER = "OTHER"
_FEW, _MANY = 2, 5
_KINDS = {"categories": "detector:categories"}  # what tells data categories is a detector as well


def who(ask: Ask) -> dict[str, object]:
    return {"role": ask.principal.role.value, "purpose": ask.purpose.value}


def found(findings: Iterable[Finding]) -> dict[str, object]:
    """Entity types with counts 1, 2-4, 5+ and the band of the highest score of each."""
    counts: Counter[str] = Counter()
    scores: dict[str, float] = {}
    for finding in findings:
        counts[finding.entity_type] += 1
        scores[finding.entity_type] = max(finding.score, scores.get(finding.entity_type, 0.0))
    return counted(counts, scores)


def counted(counts: Mapping[str, int], scores: Mapping[str, float]) -> dict[str, object]:
    """As ``found``, from how many there are of each type and the highest score of each."""
    return {
        "entities": {kind: count_bucket(n) for kind, n in sorted(counts.items())},
        "scores": {kind: score_band(s) for kind, s in sorted(scores.items())},
    }


def count_bucket(count: int) -> str:
    if count < _FEW:
        return str(count)
    return "2-4" if count < _MANY else "5+"


def score_band(score: float) -> str:
    return band_of(score).name.lower()


def rules(decision: Decision) -> list[str]:
    """The ids of every rule that had a part in the decision, as ``policy/rule``."""
    return sorted({f"{c.policy}/{c.rule}" for c in citations(decision)})


def citations(decision: Decision) -> set[Citation]:
    every = {*decision.denied, *decision.citations}
    for ruling in set(decision.rulings):
        every.update(ruling.citations)
    for stage in decision.stages:
        every.update(stage.citations)
    return every


def digests(policies: Sequence[PolicyRef], **others: str) -> dict[str, str]:
    """Digests by what they are of; those that are empty (a remote model's) are left out."""
    named = {f"policy:{ref.name}": ref.digest for ref in policies}
    named.update({_KINDS.get(kind, kind): digest for kind, digest in others.items() if digest})
    return named


def stages(verdicts: Iterable[Verdict]) -> dict[str, str]:
    return {verdict.stage: "passed" if verdict.passed else "failed" for verdict in verdicts}


# --- sealed ------------------------------------------------------------------------------------


def identity(ask: Ask) -> dict[str, object]:
    """Who exactly: for auditors only."""
    return {
        "principal": ask.principal.id,
        "key": ask.principal.key_id,
        "matter": ask.matter,
        "subject": ask.subject,
    }


def values(mapping: Mapping[str, Value]) -> dict[str, dict[str, str]]:
    """The mapping by data subject: each person of the text, and what belongs to none of them."""
    groups: dict[str, dict[str, str]] = {}
    for written, value in mapping.items():
        parts = (value.surrogate_for or written).strip("<>").split("_")
        owner = "_".join(parts[:2]) if parts[0] == PERSON else OTHER
        groups.setdefault(owner, {})[written] = value.text
    return groups


def explanation(
    findings: Sequence[Finding], decision: Decision, categories: Iterable[Category]
) -> dict[str, object]:
    """Finding -> rule, file and line -> clause (promise 9), without offsets or text.

    With it an auditor can decide again: what was found, and the data categories of the request.
    """
    return {
        "categories": sorted(each.value for each in categories),
        "findings": [
            {
                "entity_type": finding.entity_type,
                "score": round(finding.score, 4),
                "source": finding.source,
                "operator": ruling.operator.name.lower(),
                "restore": ruling.restore,
                "because": [cited(c) for c in ruling.citations],
            }
            for finding, ruling in zip(findings, decision.rulings, strict=False)
        ],
        "denied": [cited(c) for c in decision.denied],
        "request": [cited(c) for c in decision.citations],
        "stages": {s.stage: s.action for s in decision.stages},
        "obligations": list(decision.obligations),
    }


def cited(citation: Citation) -> dict[str, object]:
    return {
        "policy": citation.policy,
        "rule": citation.rule,
        "clause": citation.clause,
        "file": citation.file,
        "line": citation.line,
    }


def routed(route: Route, sampling: Sampling) -> dict[str, object]:
    return {
        "model": route.model.name,
        "backend": route.model.backend,
        "zone": route.model.zone,
        "reason": route.reason,
        "intent": route.intent,
        "adapter": route.adapter,
        "sampling": {
            "max_tokens": sampling.max_tokens,
            # Canonical JSON of the ledger holds no floats; the text of one is exact.
            "temperature": _exact(sampling.temperature),
            "top_p": _exact(sampling.top_p),
            "seed": sampling.seed,
        },
    }


def _exact(number: float | None) -> str | None:
    return None if number is None else repr(number)


def answered(
    usage: Usage | None, verdicts: Iterable[Verdict], elapsed: timedelta, report: Report | None
) -> dict[str, object]:
    return {
        "tokens": None
        if usage is None
        else {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens},
        "verdicts": [{"stage": v.stage, "passed": v.passed, "code": v.code} for v in verdicts],
        "elapsed_ms": elapsed // timedelta(milliseconds=1),
        "placeholders": None
        if report is None
        else {
            "restored": report.restored,
            "hidden": report.hidden,
            "withheld": report.withheld,
            "unknown": report.unknown,
            "unmapped_dates": report.unmapped,
        },
    }


def transcript(prompt: Prompt) -> str:
    """All texts of a prompt, one after the other, for the masked text that auditors may read."""
    lines: list[str] = []
    for message in prompt.messages:
        lines.append(f"[{message.role}] {message.name or ''}".rstrip())
        if message.content is not None:
            lines.append(message.content)
        lines += [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(lines)


class Stored(Protocol):
    """A record as the ledger shows it; ``audit.ledger.StoredRecord`` is one."""

    @property
    def index(self) -> int: ...
    @property
    def event(self) -> str: ...
    @property
    def minute(self) -> str: ...
    @property
    def features(self) -> Mapping[str, object]: ...
    @property
    def leaf_hash(self) -> bytes: ...
    @property
    def receipt(self) -> str: ...
    @property
    def proof(self) -> tuple[bytes, ...]: ...
    @property
    def checkpoint(self) -> str: ...


# --- shown -------------------------------------------------------------------------------------


def receipt(
    receipt_id: str, records: Sequence[Stored], explained: Mapping[str, object] | None
) -> dict[str, object]:
    """A receipt as its owner sees it: records, proofs, and the explanation while it is in memory.

    ``explanation`` is null once the gateway has forgotten it: on disk it is sealed to auditors.
    """
    return {
        "id": receipt_id,
        "records": [
            {
                "index": record.index,
                "event": record.event,
                "minute": record.minute,
                "features": record.features,
                "leaf_hash": record.leaf_hash.hex(),
                "signed_receipt": record.receipt,
                "inclusion_proof": [node.hex() for node in record.proof],
                "checkpoint": record.checkpoint,
            }
            for record in records
        ],
        "explanation": explained,
    }
