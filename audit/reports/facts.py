"""What a report counts: one pass over the records, in memory that does not grow with the log.

Counters hold at most ``MOST_NAMES`` names each; what is beyond them is counted as ``(others)``.
Values are taken only in the shapes of audit-format.md §3; others count as ``(out of shape)``:
a reader cannot rely on a writer having checked them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from audit.errors import MissingError
from audit.record import READABLE, Header, Record, parse
from audit.reports.gaps import Watcher
from audit.seal import Opened
from audit.verify import Item

MOST_NAMES = 500
MOST_USES = 10_000
MOST_SUBJECTS = 200_000
OTHERS, MALFORMED = "(others)", "(out of shape)"
_LEAST = {"0": 0, "1": 1, "2-4": 2, "5+": 5}
_DETECTING = ("deidentify", "mask-run")

Opener = Callable[[Record], Opened]


@dataclass(frozen=True, slots=True)
class Period:
    """Minutes from ``start`` to before ``end``, as records write them; None leaves a side open."""

    start: str | None = None
    end: str | None = None

    def holds(self, minute: str) -> bool:
        return (self.start is None or minute >= self.start) and (
            self.end is None or minute < self.end
        )


@dataclass(frozen=True, slots=True)
class Use:
    """One request as the keys show it: who, when exactly, for what."""

    index: int
    at: str
    principal: str = field(repr=False)
    matter: str = field(repr=False)
    subject: bool
    role: str
    purpose: str
    decision: str
    rid: str


@dataclass(slots=True)
class Facts:
    """What was counted. ``keys``: whether sealed parts were read; ``closed``: those not opened.

    ``subjects``: digests of the identifiers that requests named, to count distinct ones only.
    """

    period: Period
    keys: bool = False
    records: int = 0
    first: str = ""
    last: str = ""
    requests: int = 0
    closed: int = 0
    by_day: Counter[tuple[str, str]] = field(default_factory=Counter)
    purposes: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    entity_least: Counter[str] = field(default_factory=Counter)
    denied: int = 0
    denied_rules: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    stages_failed: Counter[str] = field(default_factory=Counter)
    break_glass: Counter[str] = field(default_factory=Counter)
    isolation: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    retention: Counter[str] = field(default_factory=Counter)
    digests: Counter[tuple[str, str]] = field(default_factory=Counter)
    subjects: set[bytes] = field(default_factory=set, repr=False)
    uses: list[Use] = field(default_factory=list)
    uses_left_out: int = 0
    by_principal: Counter[tuple[str, str]] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    millijoules: int = 0
    co2e_ug: int = 0
    energy_by_day: Counter[str] = field(default_factory=Counter)
    energy_answers: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


def gather(
    items: Iterable[Item], watcher: Watcher, period: Period, opener: Opener | None = None
) -> Facts:
    """Count the records of ``period``; ``watcher`` sees every record of the log.

    Raises:
        FormatError: a record is none. SealError: a sealed part does not open as it should.
        MissingError: bytes of the log are missing.
    """
    facts = Facts(period, keys=opener is not None)
    for item in items:
        record = parse(item.body)
        header = record.header
        watcher.see(item.index, header)
        if not period.holds(header.minute):
            continue
        _count(facts, header)
        if opener is not None:
            _count_sealed(facts, item.index, record, opener)
    return facts


def _add(counter: Counter[str], name: str, count: int = 1) -> None:
    counter[name if name in counter or len(counter) < MOST_NAMES else OTHERS] += count


def _add_pair(counter: Counter[tuple[str, str]], pair: tuple[str, str], count: int = 1) -> None:
    known = pair in counter or len(counter) < MOST_NAMES * MOST_NAMES
    counter[pair if known else (OTHERS, OTHERS)] += count


def value(features: Mapping[str, object], key: str) -> object:
    """The feature, if it has its shape; None where there is none, MALFORMED where it has not."""
    found = features.get(key)
    return found if found is None or READABLE[key](found) else MALFORMED


def word(features: Mapping[str, object], key: str) -> str:
    found = value(features, key)
    return "(not recorded)" if found is None else str(found)


def _mapping(features: Mapping[str, object], key: str) -> Mapping[str, str]:
    found = value(features, key)
    return found if isinstance(found, Mapping) else {}


def is_request(header: Header) -> bool:
    """Whether this is the first intent of a request: each attempt has one (§3)."""
    return header.event == "intent" and header.features.get("attempt", 1) == 1


def _count(facts: Facts, header: Header) -> None:
    features, day = header.features, header.minute[:10]
    facts.records += 1
    facts.first = min(facts.first or header.minute, header.minute)
    facts.last = max(facts.last, header.minute)
    _add(facts.events, header.event)
    _add(facts.retention, header.expires)
    if header.event.startswith("break-glass"):
        _add(facts.break_glass, header.event)
    if "version" in features:
        _add(facts.versions, word(features, "version"))
    if is_request(header):
        _count_request(facts, features, day)
    if is_request(header) or header.event in _DETECTING:
        for kind, bucket in _mapping(features, "entities").items():
            if bucket != "0":
                _add(facts.entities, kind)
                _add(facts.entity_least, kind, _LEAST[bucket])
    if header.event == "outcome":
        _count_end(facts, features)


def _count_end(facts: Facts, features: Mapping[str, object]) -> None:
    if "error" in features:
        _add(facts.errors, word(features, "error"))
    for stage, result in _mapping(features, "stages").items():
        if result == "failed":
            _add(facts.stages_failed, stage)


def _count_request(facts: Facts, features: Mapping[str, object], day: str) -> None:
    facts.requests += 1
    purpose = word(features, "purpose")
    _add(facts.purposes, purpose)
    _add_pair(facts.by_day, (day, purpose))
    _add(facts.roles, word(features, "role"))
    _add(facts.isolation, word(features, "isolation"))
    for name, digest in _mapping(features, "digests").items():
        _add_pair(facts.digests, (name, digest))
    if value(features, "decision") == "denied":
        facts.denied += 1
        rules = value(features, "rules")
        for rule in rules if isinstance(rules, list | tuple) else ():
            _add(facts.denied_rules, rule)


# --- with keys --------------------------------------------------------------------------------


def _count_sealed(facts: Facts, index: int, record: Record, opener: Opener) -> None:
    header = record.header
    if not is_request(header) and header.event != "outcome":
        return
    try:
        opened = opener(record)
    except MissingError:
        facts.closed += 1
        return
    if header.event == "outcome":
        _count_spent(facts, opened.sealed, header.minute[:10])
    else:
        _count_use(facts, index, header, opened)


def _count_use(facts: Facts, index: int, header: Header, opened: Opened) -> None:
    sealed = opened.sealed
    principal, matter = _text(sealed.get("principal")), _text(sealed.get("matter"))
    _add_pair(facts.by_principal, (principal, matter))
    if sealed.get("subject") is not None and len(facts.subjects) < MOST_SUBJECTS:
        facts.subjects.add(sha256(_text(sealed["subject"]).encode("utf-8", "replace")).digest()[:8])
    if sealed.get("model"):
        _add_pair(facts.models, (_text(sealed["model"]), _text(sealed.get("zone"))))
    if len(facts.uses) >= MOST_USES:
        facts.uses_left_out += 1
        return
    features = header.features
    facts.uses.append(
        Use(
            index, opened.at, principal, matter, sealed.get("subject") is not None,
            word(features, "role"), word(features, "purpose"), word(features, "decision"),
            header.rid or "-",
        )
    )  # fmt: skip


def _count_spent(facts: Facts, sealed: Mapping[str, object], day: str) -> None:
    energy, tokens = sealed.get("energy"), sealed.get("tokens")
    if isinstance(energy, Mapping) and type(energy.get("millijoules")) is int:
        facts.energy_answers += 1
        facts.millijoules += energy["millijoules"]
        _add(facts.energy_by_day, day, energy["millijoules"])
        if type(energy.get("co2e_ug")) is int:
            facts.co2e_ug += energy["co2e_ug"]
    if isinstance(tokens, Mapping):
        for kind in ("prompt", "completion", "cached"):
            if type(tokens.get(kind)) is int:
                facts.tokens[kind] += tokens[kind]


def _text(found: object) -> str:
    return "-" if found is None else str(found)
