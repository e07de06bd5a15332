"""Erasures that take several records, and are brought to their end (audit-format.md §11.8).

A record names so many keys at most. An erasure of more leaves a plan beside the keys before its
first record, which goes when the keys have gone: one that was killed in between is completed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from audit.ledger import Ledger
from audit.record import MAX_ERASED, Entry
from audit.replay import ERASED, tag, tags_of

_BEGUN = "erasures-begun"
_LEFT_AFTER = timedelta(days=1)  # a plan without a record: no run that is still at work


def pieces(tags: Sequence[str]) -> list[list[str]]:
    """As many tags at a time as one record names."""
    return [list(tags[at : at + MAX_ERASED]) for at in range(0, len(tags), MAX_ERASED)]


def complete(ledger: Ledger) -> int:
    """Bring erasures to their end that were killed between their records; how many records it took.

    A plan of which no record is durable is none: nothing was erased. It goes when it is a day old,
    for a run may be about to write its first.

    Raises:
        LedgerError, KeyStoreError: not to the end: the next start goes on.
    """
    added = 0
    for plan_of in begun(ledger):
        rid, tags = str(plan_of["rid"]), [str(each) for each in plan_of["erased"]]
        with ledger.reading() as reader:
            rows = reader.by_rid(rid)
            told, first = tags_of(row.body for row in rows), rows[0].index if rows else None
        if first is None:
            if ledger.now - datetime.fromisoformat(str(plan_of["at"])) > _LEFT_AFTER:
                end(ledger, rid)
            continue
        for piece in pieces([each for each in tags if each not in told]):
            features = {"role": "system", "erased": piece}
            ledger.submit(Entry(ERASED, rid, features, {"continues": first})).result()
            added += 1
        named = frozenset(tags)
        ledger.keys.destroy([key_id for key_id in ledger.keys.ids() if tag(key_id) in named])
        end(ledger, rid)
    return added


def begun(ledger: Ledger) -> list[dict[str, Any]]:
    """The plans: the id of their records, when they were made, and all tags in their order."""
    note = ledger.keys.note(_BEGUN)
    found: list[dict[str, Any]] = json.loads(note) if note else []
    return found


def begin(ledger: Ledger, rid: str, tags: Sequence[str]) -> None:
    """Leave a plan. It tells no more than the records will: tags, in a store that is locked."""
    plan_of = {"rid": rid, "at": ledger.now.isoformat(), "erased": tags}
    ledger.keys.set_note(_BEGUN, json.dumps([*begun(ledger), plan_of]).encode())


def end(ledger: Ledger, rid: str) -> None:
    plans = begun(ledger)
    rest = [each for each in plans if each["rid"] != rid]
    if len(rest) < len(plans):
        ledger.keys.set_note(_BEGUN, json.dumps(rest).encode() if rest else None)
