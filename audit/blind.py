"""The blind index: from an identifier to records, for an auditor only (audit-format.md §11.2).

A token is a keyed digest of a normalised identifier. Its key is drawn anew each day and each time
a process starts, sealed to the auditors in a record before the first token is written, and stands
nowhere else: whoever steals database and key store, today's too, can test no name.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

from audit.keyring import KEY_BYTES, Randomness
from audit.record import Entry

EVENT = "index.key"
SUBJECT, MATTER = "subject", "matter"
_TOKEN_BYTES = 16


def normalised(identifier: str) -> str:
    """The form in which two spellings of an identifier are one: NFKC, caseless, letters and digits.

    An identifier without a letter or a digit is taken as it is.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", identifier).casefold())
    return "".join(filter(str.isalnum, folded)) or identifier


def token(key: bytes, kind: str, identifier: str) -> bytes:
    """The token of an identifier under one key."""
    return _token(hmac.new(key, digestmod="sha256"), kind, identifier)


def _token(keyed: hmac.HMAC, kind: str, identifier: str) -> bytes:
    message = f"{kind}\n{normalised(identifier)}".encode("utf-8", "surrogatepass")
    digest = keyed.copy()
    digest.update(message)
    return digest.digest()[:_TOKEN_BYTES]


def tokens(keys: Iterable[bytes], kind: str, identifier: str) -> list[bytes]:
    return [token(key, kind, identifier) for key in keys]


class BlindIndex:
    """The key of the day, in memory. For one thread."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._keyed = hmac.new(b"", digestmod="sha256")
        self._day, self._months = "", 0

    def due(self, entry: Entry, now: datetime) -> Entry | None:
        """The record that MUST be written before ``entry`` is, where a new key is due.

        It lives as long as the entries that the key finds.
        """
        day = now.astimezone(UTC).date().isoformat()
        if not _terms(entry) or (day == self._day and entry.retain_months <= self._months):
            return None
        key = self._randomness(KEY_BYTES)
        self._keyed = hmac.new(key, digestmod="sha256")
        self._day, self._months = day, entry.retain_months
        sealed = {"day": day, "key": key.hex()}
        return Entry(EVENT, sealed=sealed, retain_months=entry.retain_months)

    def lost(self) -> None:
        """The record of the key may not be durable: draw another for the next entry."""
        self._keyed = hmac.new(b"", digestmod="sha256")
        self._day, self._months = "", 0

    def rows(self, entry: Entry) -> tuple[tuple[bytes, str], ...]:
        """Tokens and the day, for the rows of an entry."""
        return tuple((_token(self._keyed, kind, term), self._day) for kind, term in _terms(entry))


def _terms(entry: Entry) -> list[tuple[str, str]]:
    matter = entry.sealed.get("matter")
    terms = [(SUBJECT, term) for term in (entry.subject, *entry.identifiers) if term]
    return [*terms, (MATTER, matter)] if isinstance(matter, str) and matter else terms
