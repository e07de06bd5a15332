"""How long keys live: expiry destroys those of past months, a legal hold keeps what it covers.

audit-format.md §11.5 and §11.6. Leaves never go. The gateway expires keys without an auditor's
private key, so it cannot tell whose a key is: a hold leaves the ids it covers in the key store,
and months in which keys may have come since are kept whole until the hold is refreshed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from audit.errors import MissingError, RecordError
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


# --- holds ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold in force: on a subject or a matter; ``None`` twice where it does not open."""

    id: str
    index: int
    since: str
    subject: str | None = field(repr=False, default=None)
    matter: str | None = field(repr=False, default=None)
    reason: str = field(repr=False, default="")


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
    """
    if (subject is None) == (matter is None):
        raise RecordError("a hold is on a subject or on a matter")
    rid = secrets.token_hex(16)
    sealed = {} if matter is None else {"matter": matter}
    texts = {"hold.reason": reason}
    entry = Entry(SET, rid, {"role": "auditor"}, sealed, texts, subject=subject, retain_months=1200)
    done = ledger.submit(entry).result()
    hold = Hold(rid, done.index, "", subject, matter, reason)
    _cover(ledger, private, hold)
    return hold


def release_hold(ledger: Ledger, hold_id: str, reason: str) -> None:
    """End a hold. What it kept expires as the rest does.

    Raises:
        MissingError: no hold of this id is in force.
    """
    with ledger.reading() as reader:
        if hold_id not in in_force(reader):
            raise MissingError("no hold of this id is in force")
    texts = {"hold.reason": reason}
    ledger.submit(Entry(RELEASED, hold_id, {"role": "auditor"}, texts=texts)).result()
    ledger.keys.set_note(_note(hold_id), None)


def refresh_holds(ledger: Ledger, private: PrivateKey) -> int:
    """Hold what has come since; returns how many holds could not be opened.

    What such a hold covers stays as it was, and so do the months it keeps whole.
    """
    closed = 0
    for hold in holds(ledger, private):
        if hold.subject is None and hold.matter is None:
            closed += 1
        else:
            _cover(ledger, private, hold)
    return closed


def _cover(ledger: Ledger, private: PrivateKey, hold: Hold) -> None:
    """Write the ids of what a hold covers beside the keys, and until which month it knows all."""
    month = expiry_month(ledger.now, 0)
    search = Search(ledger.keys.key, private)
    with ledger.reading() as reader:
        found = (
            search.of_matter(bodies(reader), hold.matter)
            if hold.matter is not None
            else search.of_subject(bodies(reader), Subject(hold.subject or ""))
        )
        ids = {key_id for holding in found for key_id in holding.all_keys}
        own = parse(reader.row(hold.index).body).header.key
    ids.add(bytes.fromhex(own))
    ledger.keys.set_note(_note(hold.id), month.encode() + b"".join(sorted(ids)))


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
        ids = note[_MONTH_BYTES:]
        spare.update(ids[at : at + KEY_ID_BYTES] for at in range(0, len(ids), KEY_ID_BYTES))
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


class Expirer:
    """Expiry by itself, in a running gateway. A clock that jumped destroys nothing.

    At the first run the newest record is at most a month old, and later the clock has moved as
    far as the time that passed. Else a person has to say so, by ``auditlog expire``.
    """

    def __init__(self, ledger: Ledger, passed: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._passed = ledger, passed
        self._last: tuple[datetime, float] | None = None

    def run(self) -> Expired | None:
        """Expire what is due, or return None where the clock is not to be believed.

        Raises:
            LedgerError, KeyStoreError: not done, or not to the end.
        """
        now, passed = self._ledger.now, self._passed()
        if self._last is None:
            known = self._newest()
            sure = known is None or abs(now - known) <= _MOST_AWAY
        else:
            then, before = self._last
            sure = abs((now - then) - timedelta(seconds=passed - before)) <= _MOST_DRIFT
        if not sure:
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
