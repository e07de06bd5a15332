"""What a request leaves on record: readable features, and what only auditors may read.

Pure. The readable part is coarse by design (DESIGN §4, promise 7): role, purpose, entity types
with counts in four buckets, score bands, rule ids, digests. Everything that tells one request
from another (principal, matter, exact scores, timings) goes into the sealed part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.domain import (
    Ask,
    Category,
    Citation,
    Decision,
    Decoding,
    Finding,
    FinishReason,
    ModelCard,
    PolicyRef,
    Prompt,
    Retention,
    Route,
    Usage,
    Verdict,
    band_of,
)
from gateway.engine.energy import Energy
from gateway.pii.mask import Value
from gateway.pii.restore import Report

PERSON = "PERSON"
OTHER = "OTHER"
_FEW, _MANY = 2, 5
_DECODINGS = frozenset(Decoding)
_LOST_MOST = (
    FinishReason.CONTENT_FILTER,
    FinishReason.LENGTH,
    FinishReason.TOOL_CALLS,
    FinishReason.STOP,
)
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
    """By stage; one of several answers that failed is a failure."""
    told: dict[str, str] = {}
    for verdict in verdicts:
        if told.get(verdict.stage) != "failed":
            told[verdict.stage] = "passed" if verdict.passed else "failed"
    return told


@dataclass(frozen=True, slots=True)
class Ended:
    """How the answers of one request ended; all else is of all of them together."""

    finishes: tuple[FinishReason, ...]
    usage: Usage | None = None
    report: Report | None = None
    energy: Energy | None = None


# --- sealed ------------------------------------------------------------------------------------


def identity(ask: Ask) -> dict[str, object]:
    """Who exactly: for auditors only."""
    return {
        "principal": ask.principal.id,
        "key": ask.principal.key_id,
        "matter": ask.matter,
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
        **retained(decision.retention),
    }


def retained(kept: Retention) -> dict[str, object]:
    """What policy and site ask of retention, in months; nothing where they ask for nothing."""
    bounds = {"at_least": kept.at_least, "at_most": kept.at_most, "floor": kept.floor}
    return {} if kept == Retention() else {"retain": bounds}


def cited(citation: Citation) -> dict[str, object]:
    return {
        "policy": citation.policy,
        "rule": citation.rule,
        "clause": citation.clause,
        "file": citation.file,
        "line": citation.line,
    }


def routed(route: Route, prompt: Prompt, operation: str) -> dict[str, object]:
    """Which model was asked for what (``operation``), how, and held to which decoding."""
    sampling = prompt.sampling
    return {
        "operation": operation,
        "decoding": decoding(route.model, prompt).value,
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
            "n": sampling.n,
            "frequency_penalty": _exact(sampling.frequency_penalty),
            "presence_penalty": _exact(sampling.presence_penalty),
            "logit_bias": [[token, _exact(bias)] for token, bias in sampling.logit_bias],
            "logprobs": sampling.logprobs,
        },
    }


def decoding(model: ModelCard, prompt: Prompt) -> Decoding:
    """What the answer is held to: by the model, or by the format that was asked for."""
    kind = prompt.response_format.kind
    asked = Decoding(kind) if kind in _DECODINGS else Decoding.FREE
    return max(model.decoding, asked, key=lambda each: each.level)


def _exact(number: float | None) -> str | None:
    return None if number is None else repr(number)


def finish(ends: Sequence[FinishReason]) -> str:
    """Why the answers of a request ended, in one word: of several, the one that lost most."""
    return next(reason.value for reason in _LOST_MOST if reason in ends)


def answers(texts: Sequence[str]) -> dict[str, str]:
    """The masked answers by the names that auditors know them by; empty where nothing was said."""
    if not any(texts):
        return {}
    return {
        "answer.masked" if i == 1 else f"answer.masked.{i}": text for i, text in enumerate(texts, 1)
    }


def answered(
    ended: Ended | None, verdicts: Iterable[Verdict], elapsed: timedelta
) -> dict[str, object]:
    report = (ended.report or Report()) if ended else None
    return {
        "finishes": [reason.value for reason in ended.finishes] if ended else [],
        **spent(ended),
        "verdicts": [
            {"stage": v.stage, "passed": v.passed, "code": v.code, "choice": v.choice}
            for v in verdicts
        ],
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


def spent(ended: Ended | None) -> dict[str, object]:
    """What an answer took: tokens, and energy where it is known."""
    usage, energy = (ended.usage, ended.energy) if ended else (None, None)
    return {
        "tokens": None
        if usage is None
        else {
            "prompt": usage.prompt_tokens,
            "completion": usage.completion_tokens,
            "cached": usage.cached_tokens,
        },
        "energy": None if energy is None else energy.record(),
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
