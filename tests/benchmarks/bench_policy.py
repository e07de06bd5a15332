"""How long policies take: a decision, its growth with the number of rules, and the commands.

One process, one thread. A decision is the whole of ``decide`` for 30 findings; the best of several
rounds is taken, since another program's work is not the gateway's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.domain import Finding, Principal, Purpose, Role
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.policy.decide import PolicySet, decide
from gateway.policy.load import SHIPPED, load_policy, shipped
from gateway.policy.model import Policy
from tests.benchmarks.harness import Figure, publish

FINDINGS = 30
POLICIES = 5
RULES = 60
ROUNDS, CALLS = 7, 2000
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CLINICIAN = Principal("p", Role.CLINICIAN, frozenset({Purpose.TREATMENT}), Purpose.TREATMENT)


def grown(policy: Policy, name: str, rules: int) -> Policy:
    """The policy under another name, with its own rules repeated until there are so many."""
    own = policy.rules
    repeated = tuple(replace(own[n % len(own)], id=f"r{n}", line=n + 1) for n in range(rules))
    return replace(policy, name=name, digest=f"{name:>064}", rules=repeated)


def best(call: Callable[[], object], calls: int) -> float:
    """Seconds a call in the fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter() - start) / calls)
    return min(rounds)


def decision_us(policies: PolicySet) -> float:
    types = sorted(ENTITY_TYPES)
    findings = [Finding(types[n % len(types)], n, n + 1, 1.0) for n in range(FINDINGS)]

    def once() -> object:
        return decide(
            policies, principal=CLINICIAN, purpose=Purpose.TREATMENT, findings=findings, now=NOW
        )

    return best(once, CALLS) * 1e6


def many(rules: int) -> PolicySet:
    base = load_policy(shipped("hipaa"))
    return PolicySet(grown(base, f"policy-{n}", rules) for n in range(POLICIES))


def whole(policies: Sequence[Policy]) -> PolicySet:
    """A set with every row of its table compiled."""
    compiled = PolicySet(policies)
    for role in Role:
        for purpose in Purpose:
            compiled.compiled(role, purpose)
    return compiled


def command_s(*args: str) -> float:
    """Seconds that ``policyctl`` takes from the shell, start-up included."""
    start = time.perf_counter()
    subprocess.run(  # our own program, with arguments of this file
        [sys.executable, "-m", "gateway.policyctl", *args], check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> int:
    small, large = decision_us(many(RULES)), decision_us(many(RULES * 10))
    sources = [load_policy(shipped(name)) for name in SHIPPED]
    figures = [
        Figure("decide_30_findings_5_policies_60_rules", small, "us", "lower", 50, 15),
        Figure("decide_growth_at_10_times_the_rules", large / small, "x", "lower", 1.5, 1.1),
        Figure("compile_shipped", best(lambda: whole(sources), 5) * 1e3, "ms", "lower"),
        Figure(
            "validate_and_test_from_the_shell",
            min(command_s("validate") + command_s("test") for _ in range(3)),
            "s",
            "lower",
            2,
            0.7,
        ),
    ]
    return publish("policy", figures, notes=f"{FINDINGS} findings, {POLICIES} base policies.")


if __name__ == "__main__":
    sys.exit(main())
