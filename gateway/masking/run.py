"""One run of masking: under whose rules, what it counted, and the record that it leaves."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape

from gateway import evidence
from gateway.acts import record_event
from gateway.app import policies_in_force, protector
from gateway.clock import utc_now
from gateway.domain import Category, Decision, Finding, Principal, Purpose, Role
from gateway.errors import GatewayError, PolicyDeniedError
from gateway.masking.blocks import Block
from gateway.pii.languages import SERVED
from gateway.pii.locate import Findings
from gateway.pii.mask import Masked, Memory, splice
from gateway.pii.segments import plain
from gateway.pii.tables import load as tables
from gateway.policy.decide import PolicySet, admit, decide
from gateway.protect import Protected, Protector
from gateway.settings import home_from_environment, load

_JOINTS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


@dataclass(slots=True)
class Tally:
    """What a run did so far, without any text: bounded, and sent between processes."""

    done: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    scores: dict[str, float] = field(default_factory=dict)

    def count(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            kind = finding.entity_type
            self.found[kind] += 1
            self.scores[kind] = max(finding.score, self.scores.get(kind, 0.0))

    def add(self, other: Tally) -> None:
        self.done.update(other.done)
        self.found.update(other.found)
        for kind, score in other.scores.items():
            self.scores[kind] = max(score, self.scores.get(kind, 0.0))


class Run:
    """The principal is the operator at the terminal, under the rules of a role.

    Raises:
        PolicyDeniedError: the policies in force allow this role nothing for this purpose.
    """

    def __init__(
        self,
        guard: Protector,
        policies: PolicySet,
        role: Role,
        purpose: Purpose,
        languages: Sequence[str] = SERVED,
    ) -> None:
        self._guard = guard
        self.languages = languages
        self._policies = policies
        self._role = role
        self._principal = Principal("operator", role, frozenset({purpose}), purpose)
        self._purpose = purpose
        self.tally = Tally()
        gate = admit(policies, principal=self._principal, purpose=purpose, now=utc_now())
        if gate.denied:
            raise PolicyDeniedError

    @property
    def detector_digest(self) -> str:
        return self._guard.detector_digest

    @property
    def categories_digest(self) -> str:
        return self._guard.categories_digest

    def take_tally(self) -> Tally:
        """What was counted since the last call."""
        tally, self.tally = self.tally, Tally()
        return tally

    def search(self, texts: Sequence[tuple[str, str | None]]) -> list[Findings | None]:
        """What is found in each text, which come with their languages; searched together.

        None where detection did not complete: each of those texts has to be searched by itself.
        """
        found: list[Findings | None] = [None] * len(texts)
        for language in dict.fromkeys(named for _, named in texts):
            chosen = [i for i, (_, named) in enumerate(texts) if named == language]
            try:
                answers = self._guard.search([texts[i][0] for i in chosen], language)
            except Exception:  # noqa: BLE001, S112 - each by itself, so that one alone is lost
                continue
            for i, answer in zip(chosen, answers, strict=True):
                found[i] = answer
        return found

    def protect(
        self, text: str, language: str | None = None, found: Findings | None = None
    ) -> tuple[str, Protected]:
        """One text as this run masks it; ``found``: what ``search`` said of it.

        Raises: as ``Protector.protect_text``.
        """
        return self._guard.protect_text(text, self._decide, language, found)

    def look(self, block: Block, memory: Memory) -> Protected:
        """What this run makes of the fields of a block; counted.

        Raises:
            PolicyDeniedError: a rule denies it.
            GatewayError: as ``Protector.protect``.
        """
        segments = [each.segment for each in block.fields]
        protected = self._guard.protect_segments(segments, self._decide, memory=memory)
        if protected.masked is None:
            raise PolicyDeniedError
        self.tally.count(protected.told)
        return protected

    def mask(self, block: Block, memory: Memory) -> str:
        """The block with its fields masked, in its own format.

        Raises: as ``look``.
        """
        if not block.fields:
            return block.source
        masked = self.look(block, memory).masked
        return block.source if masked is None else block.write(_texts(block, masked))

    def telling(self, name: str, memory: Memory | None = None) -> bool:
        """Whether the name of a file or folder says something that this run would mask.

        ``smith_john`` is read as it stands and as ``Smith John``; with a ``memory``, also
        whether it holds a value that was found before.
        """
        said = " ".join(part for part in _JOINTS.split(name) if part)
        segments = [plain(text) for text in dict.fromkeys((name, said, said.title())) if text]
        try:
            masked = self._guard.protect_segments(segments, self._decide, memory=memory).masked
        except GatewayError:
            return True
        return masked is None or any(masked.replacements)

    def record(self, sealed: dict[str, object]) -> None:
        """Put the run on record, with all that it counted.

        Raises:
            LedgerUnavailableError: it is not durable.
        """
        digests = evidence.digests(
            self._policies.refs,
            detector=self.detector_digest,
            categories=self.categories_digest,
            tables=tables.digest(),
        )
        features = evidence.counted(self.tally.found, self.tally.scores)
        who = {"purpose": self._purpose.value, "digests": digests}
        record_event("mask-run", {**who, **features}, {"role": self._role.value, **sealed})

    def _decide(self, findings: Sequence[Finding], categories: frozenset[Category]) -> Decision:
        return decide(
            self._policies,
            principal=self._principal,
            purpose=self._purpose,
            findings=findings,
            now=utc_now(),
            categories=categories,
        )


def start(role: Role, purpose: Purpose, added: Sequence[str] = ()) -> Run:
    """A run with the policies in force in the home that the environment names, and ``added``.

    Raises:
        GatewayError: the home, its settings or its policies cannot be used.
    """
    home = home_from_environment()
    settings = load(home)
    policies = policies_in_force(settings, home).plus(added)
    guard = protector(settings, home, utc_now)
    return Run(guard, policies, role, purpose, settings.detection.languages)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _texts(block: Block, masked: Masked) -> list[str]:
    """The masked texts; where a field is markup, with what was written into it escaped."""
    texts = list(masked.texts)
    for index, (each, written) in enumerate(zip(block.fields, masked.replacements, strict=True)):
        if each.markup and written:
            escaped = [replace(r, text=escape(r.text)) for r in written]
            texts[index] = splice(each.segment.text, escaped)
    return texts
