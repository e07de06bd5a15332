"""What is decided before a model is called (steps 1 to 7 of DESIGN §1), and what guards say after.

Synchronous, for a thread of the pool: none of it may hold up the event loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from gateway import evidence
from gateway.case import Case
from gateway.demands import check_schemas, denied_by, held_to, needs, only
from gateway.domain import (
    Category,
    Clock,
    Decision,
    Finding,
    Message,
    ModelConstraints,
    Prompt,
    Route,
    StageRequirement,
    Verdict,
)
from gateway.engine.energy import Account
from gateway.engine.port import Engine
from gateway.errors import GuardError, GuardRefusedError
from gateway.guards.port import Exchange, Guard
from gateway.pii.languages import SERVED
from gateway.policy.decide import PolicySet, admit, decide
from gateway.policy.model import digest_of
from gateway.protect import Decide, Protected, Protector
from gateway.recorder import Recorder
from gateway.routing.choose import AUTO, EMBEDDINGS, choose
from gateway.routing.intent import classify

_WITHHOLDING = frozenset({"withhold", "refuse"})
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


class Steps:
    """The ways of a request to the model, of a text to its vector, and of one that is only masked.

    Each step leaves what it found out in the case. What goes wrong is raised, to be recorded.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # --- what a request goes through ------------------------------------------------------------

    def prepare(self, case: Case) -> None:
        """All that is decided before the model is called, in one go off the event loop."""
        self._admit(case)  # 1
        check_schemas(case.ask.prompt)
        case.prompt, case.protected = self._protect(case)  # 2 3 4 5
        demanded = self._constraints(case).decoding
        case.prompt = held_to(case.prompt, demanded)
        case.route = self._choose(case, needs(case.prompt))  # 6
        case.prompt = held_to(case.prompt, only(case.route.model.decoding))
        self.guard(case, "in")  # 7

    def prepare_embedding(self, case: Case) -> None:
        self._admit(case)
        case.prompt, case.protected = self._protect(case)
        case.route = self._choose(case, frozenset({EMBEDDINGS}))
        self.guard(case, "in")

    def mask_text(self, case: Case, text: str, language: str | None) -> None:
        self._admit(case)
        masked, case.protected = self._parts.protector.protect_text(
            text, self._rule(case), language
        )
        if case.protected.decision.denied:
            raise denied_by(case.protected.decision.denied)
        case.prompt = Prompt(messages=(Message("user", masked),))

    # --- one step each --------------------------------------------------------------------------

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

    def guard(
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

    def held(self, case: Case) -> bool:
        """Whether a required stage may yet withhold the answer: then nothing leaves before it."""
        return any(r.action in _WITHHOLDING for r, _ in self._required(case, "out"))


def check_all(guards: Sequence[Guard], exchange: Exchange) -> list[Verdict]:
    """Ask each guard.

    Raises:
        GuardError: one raised; its text goes nowhere.
    """
    try:
        return [guard.check(exchange) for guard in guards]
    except Exception:  # noqa: BLE001 - whatever it is: a guard that raises has not passed
        raise GuardError from None


def _scope(case: Case) -> bytes:
    """Whose searches may be shared: of one principal, in one matter, under the same policies."""
    ask = case.ask
    parts = [ask.principal.id, ask.matter or "", digest_of(case.policies.refs)]
    return json.dumps(parts).encode()
