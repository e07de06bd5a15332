"""Erasure of a data subject (GDPR Art. 17), and its refusal. audit-format.md §11.3 and §11.4.

The order makes it whole: the record that names the keys is durable first and takes the subject's
rows out of the index in its own transaction; then what came in meanwhile is looked for, until there
is nothing; then the keys are destroyed. Killed in between, the
next opening of the ledger destroys them (replay). Proofs, leaves and other subjects' texts stay.
An erasure of more keys than one record names leaves a plan beside the keys until it is done, so
that one killed between its records is completed, too (``complete``).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from audit import blind
from audit.authority import authority
from audit.errors import RecordError, ScopeError
from audit.ledger import Ledger, Unindex
from audit.recipients import PrivateKey
from audit.record import Entry, expiry_month
from audit.replay import ERASED, tag
from audit.retention import Hold, holds
from audit.subjects import Holding, Search, Subject, bodies, index_keys
from audit.unfinished import begin, complete, end, pieces

REFUSED = "erasure.refused"
GROUNDS = tuple(f"17(1)({letter})" for letter in "abcdef")
LEGAL_CLAIMS, LEGAL_OBLIGATION = "17(3)(e)", "17(3)(b)"
_LEAST_SHOWN = 4
_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Request:
    """Whom to erase and why: one of ``GROUNDS``; ``reference`` is the site's own, without names.

    ``partial``: go on although records do not open, whose floors and holds nobody has looked at.
    """

    subject: Subject
    ground: str
    reference: str = field(repr=False, default="")
    partial: bool = False

    def check(self) -> None:
        """Raise RecordError unless the ground is one of Art. 17(1)."""
        if self.ground not in GROUNDS:
            raise RecordError(f"the ground is one of {', '.join(GROUNDS)} of the GDPR")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is erased: the exception of Art. 17(3) and how it comes to apply."""

    exception: str
    words: str
    records: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure would do to the records from ``start`` to ``size``.

    ``held``: others' records with values of the subject, which a legal hold keeps as they are.
    ``own``: by which receipts and pseudonyms a record that names nobody is known to be theirs.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    records: tuple[int, ...]
    several: tuple[int, ...]
    exports: tuple[int, ...]
    tokens: tuple[bytes, ...] = field(repr=False)
    unreadable: int
    size: int
    held: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    own: frozenset[str | None] = field(repr=False, default=frozenset())
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What an erasure did. ``records`` holds the erasure's own records.

    ``near``: records with values that contain a name that was given and are none of them.
    """

    erased: tuple[int, ...]
    several: tuple[int, ...]
    exports: tuple[int, ...]
    keys: int
    unreadable: int
    records: tuple[int, ...]
    held: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    refusal: Refusal | None = None


def plan(
    ledger: Ledger,
    private: PrivateKey,
    subject: Subject,
    after: Plan | None = None,
    before: int | None = None,
) -> Plan:
    """Read what is held of a subject and decide whether it may go. Changes nothing.

    Of all records, or of those that came in ``after`` another plan and ``before`` a record.

    Raises:
        ScopeError: not an auditor who may read everything.
    """
    authority(ledger, private)
    start = 0 if after is None else after.size
    search = Search(ledger.keys.key, private, own=set() if after is None else set(after.own))
    with ledger.reading() as reader:
        size, _ = reader.last()
        found = list(search.of_subject(bodies(reader, start, before), subject))
        keys, _ = index_keys(reader, ledger.keys.key, private)
        tokens = [
            token
            for name in (subject.identifier, *subject.also)
            for token in blind.tokens(keys, blind.SUBJECT, name)
        ]
        rows = bool(reader.indexed(tokens))
    in_force = holds(ledger, private)
    held = [each for each in found if not each.own and any(_keeps(h, each) for h in in_force)]
    found = [each for each in found if each not in held]
    return Plan(
        keys=tuple(dict.fromkeys(key_id for holding in found for key_id in holding.keys)),
        records=tuple(holding.index for holding in found),
        several=tuple(holding.index for holding in found if holding.several),
        exports=tuple(search.exports),
        tokens=tuple(tokens) if rows else (),
        unreadable=search.unreadable,
        size=size,
        held=tuple(holding.index for holding in held),
        near=tuple(search.near),
        own=frozenset(search.own),
        refusal=_refusal(ledger, in_force, subject, found),
    )


def _keeps(hold: Hold, holding: Holding) -> bool:
    """Whether a hold is on the record of a holding: on whom its request named, or its matter."""
    named, matter = holding.opened.text.get("subject"), holding.opened.sealed.get("matter")
    return _same(hold.subject, named) or _same(hold.matter, matter)


def _same(kept: str | None, told: object) -> bool:
    if kept is None or not isinstance(told, str):
        return False
    return blind.normalised(kept) == blind.normalised(told)


def _refusal(
    ledger: Ledger, in_force: Sequence[Hold], subject: Subject, found: Sequence[Holding]
) -> Refusal | None:
    """A hold comes first, then the floor. A hold that does not open may be on anybody."""
    names = subject.names()
    for hold in in_force:
        if hold.subject is None and hold.matter is None:
            words = "a legal hold is in force that this auditor cannot read"
        elif hold.subject is not None and blind.normalised(hold.subject) in names:
            words = "a legal hold on this subject is in force"
        elif any(_keeps(hold, holding) for holding in found):
            words = "a legal hold on records of this subject is in force"
        else:
            continue
        return Refusal(LEGAL_CLAIMS, words, (hold.index,))
    month = expiry_month(ledger.now, 0)
    kept = [h for h in found if h.opened.floor is not None and h.opened.floor >= month]
    if kept:
        until = max(str(holding.opened.floor) for holding in kept)
        words = f"records must be kept by law until the end of {until}"
        return Refusal(LEGAL_OBLIGATION, words, tuple(holding.index for holding in kept))
    return None


def erase(ledger: Ledger, private: PrivateKey, request: Request) -> Done:
    """Erase a subject, or put on record that it was refused.

    Records that come in until the erasure's first record are erased, too; later ones are not.

    Raises:
        RecordError: no such ground.
        ScopeError: not an auditor who may read everything; or records do not open to them, and
            the request does not say ``partial``.
        LedgerError, KeyStoreError: not done, or not to the end: the next run completes it.
    """
    request.check()
    who = authority(ledger, private)
    complete(ledger)
    first = plan(ledger, private, request.subject)
    if first.refusal is not None:
        return _refused(ledger, who, request, first, first.refusal)
    if first.unreadable and not request.partial:
        closed = f"{first.unreadable} records do not open with this key: what the law or a hold"
        raise ScopeError(f"{closed} keeps in them is not known")
    plans, records, rids = [first], [], []
    # What came in while the log was read is behind ``first`` and before its record: it may be
    # sealed under keys that are named already, so it is named, too, before any is destroyed.
    # Behind the record nobody seals under these keys any more.
    for step in plans:
        if step.keys or step.tokens:
            rid = secrets.token_hex(16)
            records += _record(ledger, who, request, step, rid)
            rids.append(rid)
            if step is first:
                plans.append(plan(ledger, private, request.subject, first, records[0]))
    keys = ledger.keys.destroy(tuple(dict.fromkeys(key for each in plans for key in each.keys)))
    for rid in rids:
        end(ledger, rid)
    return Done(
        erased=tuple(index for each in plans for index in each.records),
        several=tuple(index for each in plans for index in each.several),
        exports=tuple(index for each in plans for index in each.exports),
        keys=keys,
        unreadable=sum(each.unreadable for each in plans),
        records=tuple(records),
        held=tuple(index for each in plans for index in each.held),
        near=tuple(index for each in plans for index in each.near),
    )


def _record(ledger: Ledger, who: str, request: Request, step: Plan, rid: str) -> list[int]:
    """Put an erasure on record, in as many records as its keys need. Names nobody.

    One after the other, so that the first is there where any is.
    """
    tags = _padded([tag(key_id) for key_id in step.keys])
    parts = pieces(tags)
    if len(parts) > 1:
        begin(ledger, rid, tags)
    written = []
    for number, piece in enumerate(parts):
        first = number == 0
        sealed = {
            "ground": request.ground,
            "reference": request.reference,
            "records": list(step.records) if first else [],
            "several": list(step.several) if first else [],
            "exports": list(step.exports) if first else [],
            "held": list(step.held) if first else [],
            "keys": len(step.keys),
            "unreadable": step.unreadable,
            "auditor": who,
        }
        features = {"role": "auditor", "erased": piece}
        unindex = Unindex(tokens=step.tokens) if first else None
        entry = Entry(ERASED, rid, features, sealed)
        written.append(ledger.submit(entry, unindex=unindex).result().index)
    return written


def _padded(tags: Sequence[str]) -> list[str]:
    """4, 8, 16 ... tags in the order of their bytes: how many keys there were stays coarse."""
    shown = max(_LEAST_SHOWN, 1 << max(0, len(tags) - 1).bit_length())
    return sorted([*tags, *(secrets.token_hex(_TAG_LENGTH) for _ in range(shown - len(tags)))])


def _refused(ledger: Ledger, who: str, request: Request, step: Plan, refusal: Refusal) -> Done:
    sealed = {
        "ground": request.ground,
        "reference": request.reference,
        "exception": refusal.exception,
        "records": list(refusal.records),
        "auditor": who,
    }
    texts = {"refusal": refusal.words}
    subject = request.subject.identifier
    entry = Entry(REFUSED, None, {"role": "auditor"}, sealed, texts, subject=subject)
    index = ledger.submit(entry).result().index
    return Done((), (), (), 0, step.unreadable, (index,), refusal=refusal)
