"""How long keys live: expiry destroys those of past months, a legal hold keeps what it covers.

audit-format.md §11.5 and §11.6. Leaves never go. The gateway expires keys without an auditor's
private key, so it cannot tell whose a key is: a hold leaves the ids it covers in the key store,
and months in which keys may have come since are kept whole until the hold is refreshed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from audit.authority import authority
from audit.errors import MissingError, RecordError, ScopeError
from audit.keyring import KEY_ID_BYTES
from audit.ledger import Ledger, Unindex
from audit.recipients import PrivateKey
from audit.record import Entry, Header, count_bucket, expiry_month, parse
from audit.seal import Opened, open_entry
from audit.store import Reader
from audit.subjects import Search, Subject, bodies

SET, RELEASED, EXPIRED = "hold.set", "hold.release", "keys.expired"
_MONTH_BYTES = 7
_MOST_AWAY = timedelta(days=31)
_MOST_DRIFT = timedelta(days=1)
_NEVER = "0001-01"
"""The month of a hold that does not know all it covers: nothing expires while it is in force."""
_DOUBTED = "clock-doubted"


# --- holds ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold in force: on a subject or a matter; ``None`` twice where it does not open.

    ``unreadable``: records that did not open when it was set. While there are some nothing expires.
    """

    id: str
    index: int
    since: str
    subject: str | None = field(repr=False, default=None)
    matter: str | None = field(repr=False, default=None)
    reason: str = field(repr=False, default="")
    unreadable: int = 0


def in_force(reader: Reader) -> dict[str, int]:
    """Holds that were set and not released, and the record of each."""

    def headers(event: str) -> list[tuple[int, Header]]:
        return [(index, parse(reader.row(index).body).header) for index in reader.acts(event)]

    released = {header.rid for _, header in headers(RELEASED)}
    return {h.rid: index for index, h in headers(SET) if h.rid and h.rid not in released}


def holds(ledger: Ledger, private: PrivateKey) -> tuple[Hold, ...]:
    """The holds in force, as an auditor reads them."""
    found = []
    with ledger.reading() as reader:
        for rid, index in in_force(reader).items():
            record = parse(reader.row(index).body)
            try:
                opened = open_entry(record, ledger.keys.key, private)
            except MissingError:
                found.append(Hold(rid, index, record.header.minute))
            else:
                found.append(_hold(rid, index, record.header.minute, opened))
    return tuple(found)


def _hold(rid: str, index: int, since: str, opened: Opened) -> Hold:
    subject, matter = opened.text.get("subject"), opened.sealed.get("matter")
    texts = opened.text.get("texts")
    reason = texts.get("hold.reason", "") if isinstance(texts, dict) else ""
    return Hold(
        rid,
        index,
        since,
        subject if isinstance(subject, str) else None,
        matter if isinstance(matter, str) else None,
        str(reason),
    )


def set_hold(
    ledger: Ledger,
    private: PrivateKey,
    reason: str,
    *,
    subject: str | None = None,
    matter: str | None = None,
) -> Hold:
    """Keep what concerns a subject or a matter, whatever expires; on record before it is done.

    Raises:
        RecordError: neither or both are named.
        ScopeError: not an auditor who may read everything.
    """
    who = authority(ledger, private)
    if (subject is None) == (matter is None):
        raise RecordError("a hold is on a subject or on a matter")
    rid = secrets.token_hex(16)
    sealed = {"auditor": who} | ({} if matter is None else {"matter": matter})
    texts = {"hold.reason": reason}
    entry = Entry(SET, rid, {"role": "auditor"}, sealed, texts, subject=subject, retain_months=1200)
    done = ledger.submit(entry).result()
    hold = Hold(rid, done.index, "", subject, matter, reason)
    return replace(hold, unreadable=_cover(ledger, private, hold))


def release_hold(ledger: Ledger, private: PrivateKey, hold_id: str, reason: str) -> None:
    """End a hold. What it kept expires as the rest does.

    Raises:
        MissingError: no hold of this id is in force.
        ScopeError: not an auditor who may read everything, or the hold does not open to them.
    """
    who = authority(ledger, private)
    hold = next((each for each in holds(ledger, private) if each.id == hold_id), None)
    if hold is None:
        raise MissingError("no hold of this id is in force")
    if hold.subject is None and hold.matter is None:
        raise ScopeError("this hold does not open with this key")
    texts, sealed = {"hold.reason": reason}, {"auditor": who}
    ledger.submit(Entry(RELEASED, hold_id, {"role": "auditor"}, sealed, texts)).result()
    ledger.keys.set_note(_note(hold_id), None)


def refresh_holds(ledger: Ledger, private: PrivateKey) -> int:
    """Hold what has come since; returns how many holds are not complete after it.

    They do not open, or records do not: the months that such a hold keeps whole stay as they were.

    Raises:
        ScopeError: not an auditor who may read everything.
    """
    authority(ledger, private)
    incomplete = 0
    for hold in holds(ledger, private):
        opens = hold.subject is not None or hold.matter is not None
        incomplete += not opens or _cover(ledger, private, hold) > 0
    return incomplete


def _cover(ledger: Ledger, private: PrivateKey, hold: Hold) -> int:
    """Add the ids of what a hold covers beside the keys; how many records did not open.

    With them stands the month until which it knows all, which moves only where all opened. What it
    covered before it covers still, also where that does not open any more.
    """
    known = ledger.keys.note(_note(hold.id)) or _NEVER.encode()
    search = Search(ledger.keys.key, private)
    with ledger.reading() as reader:
        found = (
            search.of_matter(bodies(reader), hold.matter)
            if hold.matter is not None
            else search.of_subject(bodies(reader), Subject(hold.subject or ""))
        )
        ids = {key_id for holding in found for key_id in holding.all_keys}
        own = parse(reader.row(hold.index).body).header.key
    ids |= {bytes.fromhex(own), *_ids(known)}
    month = known[:_MONTH_BYTES] if search.unreadable else expiry_month(ledger.now, 0).encode()
    ledger.keys.set_note(_note(hold.id), month + b"".join(sorted(ids)))
    return search.unreadable


def _ids(note: bytes) -> list[bytes]:
    """The ids of keys in a hold's note, which begins with its month."""
    return [note[at : at + KEY_ID_BYTES] for at in range(_MONTH_BYTES, len(note), KEY_ID_BYTES)]


def _note(hold_id: str) -> str:
    return f"hold:{hold_id}"


# --- expiry -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expired:
    """What an expiry did. ``before``: keys that expire before this month were looked at.

    ``held``: how many a hold kept. ``waiting``: a hold keeps whole months until it is refreshed.
    """

    destroyed: int
    before: str
    held: int = 0
    waiting: bool = False


def expire(ledger: Ledger) -> Expired:
    """Destroy the keys of past months, on record before it is done; held ones are kept.

    A run that was killed is completed by the next.

    Raises:
        LedgerError, KeyStoreError: not done, or not to the end.
    """
    now = before = expiry_month(ledger.now, 0)
    with ledger.reading() as reader:
        active = in_force(reader)
    spare: set[bytes] = set()
    for hold_id in active:
        note = ledger.keys.note(_note(hold_id))
        if note is None:  # a key store of before the hold: whose keys to keep is not known
            return Expired(0, now, waiting=True)
        before = min(before, _after(note[:_MONTH_BYTES].decode()))
        spare.update(_ids(note))
    due = list(ledger.keys.ids(before))
    gone = [key_id for key_id in due if key_id not in spare]
    if gone:
        unindex = None if active else Unindex(before=before)
        features = {"through": _through(before), "count": count_bucket(len(gone))}
        sealed = {"keys": len(gone), "holds": len(active)}
        ledger.submit(Entry(EXPIRED, features=features, sealed=sealed), unindex=unindex).result()
        ledger.keys.destroy(gone)
    return Expired(len(gone), before, len(due) - len(gone), before < now)


def _after(month: str) -> str:
    return expiry_month(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC), 1)


def _through(month: str) -> str:
    return expiry_month(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC), -1)


def trust_clock(ledger: Ledger) -> None:
    """A person has looked at the clock: expiry by itself goes on."""
    ledger.keys.set_note(_DOUBTED, None)


class Expirer:
    """Expiry by itself, in a running gateway. A clock that jumped destroys nothing.

    At the first run the newest record is at most a month old, and later the clock has moved as
    far as the time that passed. Else a person has to say so, by ``auditlog expire``: until then a
    note in the key store keeps every run from it, also after a start, for by then records of ours
    bear the clock's time.
    """

    def __init__(self, ledger: Ledger, passed: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._passed = ledger, passed
        self._last: tuple[datetime, float] | None = None

    def run(self) -> Expired | None:
        """Expire what is due, or return None where the clock is not to be believed.

        Raises:
            LedgerError, KeyStoreError: not done, or not to the end.
        """
        if self._ledger.keys.note(_DOUBTED) is not None:
            return None
        now, passed = self._ledger.now, self._passed()
        if self._last is None:
            known = self._newest()
            sure = known is None or abs(now - known) <= _MOST_AWAY
        else:
            then, before = self._last
            sure = abs((now - then) - timedelta(seconds=passed - before)) <= _MOST_DRIFT
        if not sure:
            self._ledger.keys.set_note(_DOUBTED, now.isoformat().encode())
            return None
        self._last = now, passed
        return expire(self._ledger)

    def _newest(self) -> datetime | None:
        with self._ledger.reading() as reader:
            size, _ = reader.last()
            if not size:
                return None
            minute = parse(reader.row(size - 1).body).header.minute
        return datetime.strptime(minute, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
