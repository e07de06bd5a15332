"""The keys of data subjects that this process sealed with lately (audit-format.md §7.2)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Randomness = Callable[[int], bytes]
"""Returns that many bytes nobody can guess."""

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_ID_BYTES = 16
# An id begins with four random bytes that so many keys share, and goes on with twelve of its own:
# a new row of the key store lands beside the last ones and not anywhere in a tree of millions.
_ID_RUN_BYTES, _ID_RUN = 4, 1 << 14
# Owners whose keys are remembered: a subject comes again for months, a request once more at most.
_REMEMBERED = {"subject": 4096, "request": 512}
_PSEUDONYM_BYTES = 16
_OWN_BYTES = KEY_BYTES + KEY_ID_BYTES - _ID_RUN_BYTES  # what is drawn for each key


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """The key of one (subject, expiry month). ``id`` is random and says nothing of either."""

    id: bytes
    month: str
    key: bytes = field(repr=False)


class KeyRing:
    """The keys that this process sealed with lately: one per (owner, month), by random id.

    Who a key belongs to is remembered here and nowhere on disk, so that the key store cannot be
    searched for a name. A restart, or 4096 other subjects, gives the same subject a new key.
    """

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._known: dict[str, OrderedDict[tuple[str, str], SubjectKey]] = {
            kind: OrderedDict() for kind in _REMEMBERED
        }
        self._pseudonyms: OrderedDict[str, str] = OrderedDict()
        self._ids: set[bytes] = set()
        self._durable: set[bytes] = set()
        self._reserve: list[SubjectKey] = []  # durable, of one month, nobody's yet
        self._taken: set[bytes] = set()  # from the reserve, not yet seen by ``not_durable``
        self._id_run, self._ids_left = b"", 0
        self._lock = threading.Lock()

    def fresh(self, month: str) -> SubjectKey:
        """A key that only one part is sealed under."""
        with self._lock:
            return self._take(month)

    def _take(self, month: str) -> SubjectKey:
        if self._reserve and self._reserve[-1].month == month:
            key = self._reserve.pop()
            self._taken.add(key.id)
            return key
        return self._new(month)

    def _new(self, month: str) -> SubjectKey:
        return self._made(month, self._randomness(_OWN_BYTES))

    def _made(self, month: str, drawn: bytes) -> SubjectKey:
        """A key of bytes that were drawn for it."""
        if not self._ids_left:
            self._id_run, self._ids_left = self._randomness(_ID_RUN_BYTES), _ID_RUN
        self._ids_left -= 1
        return SubjectKey(self._id_run + drawn[KEY_BYTES:], month, drawn[:KEY_BYTES])

    def wanted(self, month: str, size: int) -> list[SubjectKey]:
        """Keys to make durable ahead of time, so that an append need not wait for it; often none.

        Give them to ``stock`` once they are in the key store.
        """
        with self._lock:
            fitting = sum(key.month == month for key in self._reserve)
            if 2 * fitting >= size:
                return []
            # One call: the system's randomness is slow to ask.
            drawn = self._randomness((size - fitting) * _OWN_BYTES)
            starts = range(0, len(drawn), _OWN_BYTES)
            return [self._made(month, drawn[at : at + _OWN_BYTES]) for at in starts]

    def stock(self, keys: Sequence[SubjectKey]) -> None:
        month = keys[0].month
        with self._lock:
            self._reserve = [key for key in self._reserve if key.month == month] + list(keys)

    def of(self, kind: str, owner: str, month: str) -> SubjectKey:
        """The key of an owner ("subject" or "request", and its name) for a month."""
        with self._lock:
            kept = self._known[kind]
            known = kept.get((owner, month))
            if known is not None:
                kept.move_to_end((owner, month))
                return known
            known = kept[owner, month] = self._take(month)
            self._ids.add(known.id)
            if len(kept) > _REMEMBERED[kind]:
                _, old = kept.popitem(last=False)
                self._ids.discard(old.id)
                self._durable.discard(old.id)
            return known

    def pseudonym(self, subject: str) -> str:
        """A random id that ties the records of one subject as long as this process remembers it."""
        with self._lock:
            known = self._pseudonyms.pop(subject, None) or self._randomness(_PSEUDONYM_BYTES).hex()
            self._pseudonyms[subject] = known
            if len(self._pseudonyms) > _REMEMBERED["subject"]:
                self._pseudonyms.popitem(last=False)
            return known

    def forget(self) -> None:
        """Owners get new keys from here on: some that are remembered were destroyed (§11.4)."""
        with self._lock:
            for kept in self._known.values():
                kept.clear()
            self._pseudonyms.clear()
            self._ids.clear()
            self._durable.clear()

    def not_durable(self, keys: Sequence[SubjectKey]) -> list[SubjectKey]:
        """Those that are not in the key store yet, each once."""
        with self._lock:
            used = self._taken.intersection(key.id for key in keys)
            self._taken -= used
            self._durable |= used & self._ids
            known = self._durable | used
            return list({key.id: key for key in keys if key.id not in known}.values())

    def made_durable(self, keys: Sequence[SubjectKey]) -> None:
        with self._lock:
            self._durable.update(key.id for key in keys if key.id in self._ids)
