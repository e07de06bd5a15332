"""Query strings, read strictly: each parameter once, in its shape, and no other. Pure.

Messages name published parameters only, never what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from audit.errors import RecordError
from audit.formats.view import Selection, moment
from audit.record import EVENT
from gateway.errors import RequestError, UnsupportedParameterError

MOST_RECORDS = 1000
_USUAL_RECORDS = 100
_MOST_FIELDS = 32
_SEALED = frozenset({"principal", "subject"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_CURSOR = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")
_RECEIPT_ID = re.compile(r"([0-9a-f]{32})(?:-[0-9a-f]{16})?")
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a listing goes on, and the number of records that it is about."""

    index: int
    size: int

    def __str__(self) -> str:
        return f"{self.index}.{self.size}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What of the log is listed. ``sealed``: with the bytes of each record."""

    selection: Selection
    rid: str | None
    cursor: Cursor | None
    limit: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class Export:
    kind: str
    selection: Selection


class Query:
    """The parameters of one query string.

    Raises:
        RequestError: it is not UTF-8, or a parameter is unknown, empty or given twice.
        UnsupportedParameterError: it asks for what is sealed.
    """

    def __init__(self, raw: bytes, known: Iterable[str]) -> None:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(raw),
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
        except ValueError:
            raise RequestError("The query string cannot be read.") from None
        known = frozenset(known)
        self._values: dict[str, str] = {}
        for name, value in pairs:
            if name in _SEALED:
                _refuse_sealed(name)
            if name not in known:
                raise RequestError("There is no such query parameter at this address.")
            if name in self._values:
                raise RequestError(f"{name} is given more than once.", param=name)
            if not value:
                raise RequestError(f"{name} is empty.", param=name)
            self._values[name] = value

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str, *, least: int = 0) -> int | None:
        """A whole number, written without sign or leading zeros."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text) or int(text) < least:
            raise RequestError(f"{name} is a whole number, {least} at least.", param=name)
        return int(text)

    def flag(self, name: str) -> bool:
        text = self._values.get(name, "false")
        if text not in _FLAGS:
            raise RequestError(f"{name} is true or false.", param=name)
        return _FLAGS[text]

    def selection(self) -> Selection:
        """``from``, ``to`` and ``event``."""
        since, until = self._moment("from", last=False), self._moment("to", last=True)
        event = self._values.get("event")
        if event is not None and not EVENT.fullmatch(event):
            raise RequestError("event is lower-case words joined by dots or dashes.", param="event")
        if since is not None and until is not None and until < since:
            raise RequestError("to is before from.", param="to")
        return Selection(since, until, event)

    def _moment(self, name: str, *, last: bool) -> str | None:
        text = self._values.get(name)
        if text is None:
            return None
        try:
            return moment(text, last=last)
        except RecordError:
            raise RequestError(
                f"{name} is a date or a minute in UTC: 2026-03-01 or 2026-03-01T09:30Z.", param=name
            ) from None


def _refuse_sealed(name: str) -> None:
    raise UnsupportedParameterError(
        f"{name} is sealed, and the gateway holds no auditor's private key: export the log with"
        f" format=bundle and choose on your own machine with auditlog export --{name} --key"
        " --keystore.",
        param=name,
    )


def listing(raw: bytes) -> Listing:
    """Read the query of ``/records``."""
    query = Query(raw, ("from", "to", "event", "rid", "cursor", "limit", "sealed"))
    limit = query.number("limit", least=1) or _USUAL_RECORDS
    if limit > MOST_RECORDS:
        raise RequestError(f"limit is {MOST_RECORDS} at most.", param="limit")
    return Listing(query.selection(), _rid(query), _cursor(query), limit, query.flag("sealed"))


def _rid(query: Query) -> str | None:
    """A receipt's id as in the records, or with its owner's half as in ``X-Receipt-Id``."""
    text = query.get("rid")
    if text is None:
        return None
    match = _RECEIPT_ID.fullmatch(text)
    if match is None:
        raise RequestError("rid is a receipt's id.", param="rid")
    return match[1]


def _cursor(query: Query) -> Cursor | None:
    text = query.get("cursor")
    if text is None:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise RequestError("cursor is not one that was given out here.", param="cursor")
    return Cursor(int(match[1]), int(match[2]))


def export(raw: bytes, kinds: Iterable[str]) -> Export:
    """Read the query of ``/export``."""
    query = Query(raw, ("format", "from", "to", "event"))
    kinds = tuple(kinds)
    kind = query.get("format")
    if kind not in kinds:
        raise RequestError(f"format is one of: {', '.join(kinds)}.", param="format")
    return Export(kind, query.selection())


def filters(selection: Selection, **more: object) -> Mapping[str, object]:
    """What was asked for, as the record of it says, sealed."""
    return {"from": selection.since, "to": selection.until, "event": selection.event, **more}
