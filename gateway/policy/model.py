"""A policy as values: rules over finite domains, and nothing that computes.

A rule has a condition (``when``) over role, purpose, entity type, band of the score, types found
beside it and data categories of the request, and effects (``then``). There are no loops, no calls
and no patterns over text, so every question about a policy can be answered by listing cases.
``load`` builds these values from YAML; ``decide`` compiles them. The language is
described in docs/spec/policy-language.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.domain import (
    Band,
    Category,
    Citation,
    Decoding,
    Operator,
    PolicyRef,
    Purpose,
    Retention,
    Role,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGE = "cloister/1"
"""The value of ``vocabulary`` in a policy: the roles, purposes, operators and stages it knows."""

OPERATORS: Mapping[str, Operator] = MappingProxyType({op.name.lower(): op for op in Operator})
ROLES: Mapping[str, Role] = MappingProxyType({role.value: role for role in Role})
PURPOSES: Mapping[str, Purpose] = MappingProxyType({purpose.value: purpose for purpose in Purpose})
BANDS: Mapping[str, Band] = MappingProxyType({band.name.lower(): band for band in Band})
CATEGORIES: Mapping[str, Category] = MappingProxyType({each.value: each for each in Category})
DECODINGS: Mapping[str, Decoding] = MappingProxyType(
    {each.value: each for each in Decoding if each is not Decoding.FREE}
)
"""What a rule can hold answers to; ``free`` would ask for nothing."""


class Kind(StrEnum):
    """What silence means. A base policy denies what it does not name; an overlay adds nothing.

    A set without a base policy denies everything, so that overlays alone open no door.
    """

    BASE = "base"
    OVERLAY = "overlay"


class Action(IntEnum):
    """What a failed guard does, weakest first (DESIGN §3). The maximum of two is the stricter."""

    ANNOTATE = 0
    REGENERATE = 1
    WITHHOLD = 2
    REFUSE = 3


STAGES: Mapping[str, tuple[Action, ...]] = MappingProxyType(
    {
        # Before the model: a prompt is noted or refused.
        "injection": (Action.ANNOTATE, Action.REFUSE),
        "purpose": (Action.ANNOTATE, Action.REFUSE),
        # On the answer: it is noted or withheld.
        "citations": (Action.ANNOTATE, Action.WITHHOLD),
        "compliance": (Action.ANNOTATE, Action.WITHHOLD),
        "medical": (Action.ANNOTATE, Action.WITHHOLD),
    }
)
"""The guards a policy may require, each with the actions that make sense on its side."""

UNBOUNDED = Retention()
"""What policies that say nothing of retention ask for."""

ALERTS = ("subjects_per_day", "denials_per_day", "break_glass_per_day", "open_intents")
"""What a policy may set a threshold of, by the names that the settings' ``[watch]`` has."""


@dataclass(frozen=True, slots=True)
class When:
    """The condition. ``None`` means every value of that domain; a set is never empty."""

    roles: frozenset[Role] | None = None
    purposes: frozenset[Purpose] | None = None
    entities: frozenset[str] | None = None
    bands: frozenset[Band] | None = None
    beside: frozenset[str] | None = None
    categories: frozenset[Category] | None = None

    def covers(
        self, role: Role, purpose: Purpose, categories: frozenset[Category] = frozenset()
    ) -> bool:
        """Whether the rule speaks for such a request; which of its values is asked elsewhere."""
        return (
            (self.roles is None or role in self.roles)
            and (self.purposes is None or purpose in self.purposes)
            and (self.categories is None or not self.categories.isdisjoint(categories))
        )


@dataclass(frozen=True, slots=True)
class Then:
    """The effects. Absent ones say nothing; ``permit`` and ``restore`` are the only ones that open.

    ``zones``, ``restore_tools`` and ``retain`` are ``None`` when the rule does not speak of them.
    ``alerts``: pairs of one of ``ALERTS`` and a threshold of at least 1.
    """

    permit: bool = False
    deny: bool = False
    operator: Operator | None = None
    restore: bool | None = None
    restore_tools: frozenset[str] | None = None
    stages: tuple[tuple[str, Action], ...] = ()
    tags: frozenset[str] = frozenset()
    zones: frozenset[str] | None = None
    obligations: frozenset[str] = frozenset()
    decoding: Decoding = Decoding.FREE
    retain: Retention | None = None
    alerts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``line`` is where it stands in the file, counted from 1."""

    id: str
    clause: str
    why: str
    when: When
    then: Then
    line: int


@dataclass(frozen=True, slots=True)
class Silence:
    """The clause that a base policy cites where no rule of it speaks."""

    clause: str
    why: str
    line: int


SILENCE = "silence"
"""The rule id under which a denial by silence is cited; no rule of a file may have it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One file. ``digest`` is the SHA-256 (hex) of its bytes; ``file`` is for people to read.

    In force from the start of the day ``effective`` until the start of the day ``expires``, UTC.
    """

    name: str
    version: str
    kind: Kind
    regulation: str
    jurisdiction: str
    owner: str
    effective: date
    expires: date | None
    groups: Mapping[str, frozenset[str]]
    rules: tuple[Rule, ...]
    silence: Silence | None
    file: str
    digest: str

    @property
    def ref(self) -> PolicyRef:
        return PolicyRef(self.name, self.version, self.digest)

    @property
    def starts(self) -> datetime:
        return datetime.combine(self.effective, time(), UTC)

    @property
    def ends(self) -> datetime | None:
        return None if self.expires is None else datetime.combine(self.expires, time(), UTC)

    @property
    def entity_types(self) -> frozenset[str]:
        """Every entity type that rules name an operator for in each band.

        A rule with ``beside`` does not count: alone, the type would still be unnamed.
        """
        bands: dict[str, set[Band]] = {}
        for rule in self.rules:
            if rule.then.operator is not None and rule.when.beside is None:
                for each in rule.when.entities or ():
                    bands.setdefault(each, set()).update(rule.when.bands or Band)
        return frozenset(each for each, named in bands.items() if len(named) == len(Band))

    def cite(self, rule: Rule) -> Citation:
        return Citation(self.name, rule.id, rule.clause, self.file, rule.line)

    def cite_silence(self) -> Citation:
        """The citation for what a base policy does not name."""
        clause, line = (self.silence.clause, self.silence.line) if self.silence else ("", 1)
        return Citation(self.name, SILENCE, clause, self.file, line)


def digest_of(refs: tuple[PolicyRef, ...]) -> str:
    """One SHA-256 (hex) for a set of policies, whatever order they were named in."""
    lines = sorted(f"{ref.name} {ref.version} {ref.digest}\n" for ref in refs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
