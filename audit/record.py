"""Records: what an entry may say in the open, and the canonical bytes of a leaf.

Pure. The readable part is an allow-list of keys with closed shapes (audit-format.md §3): a
record that holds anything else is refused, so that free text cannot drift into the open. The
wire format grows at the end: fields are added, never renamed or removed, and readers ignore
those they do not know.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from audit.errors import FormatError, NoteError, RecordError
from audit.vkey import unbase64

VERSION = 1
_MAX_ITEMS = 256
MAX_ERASED = 4096  # tags in one record: an erasure of more is several records
_MAX_INTEGER = 1 << 53  # RFC 8785: what a double holds exactly

MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z")
MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
EVENT = re.compile(r"(?=.{2,40}\Z)[a-z]+(?:[.-][a-z]+)*")
RID = re.compile(r"[0-9a-f]{32}")


# --- values of the readable part (audit-format.md §3) -----------------------------------------


def count_bucket(count: int) -> str:
    """How often, coarsely: promise 7 allows 0, 1, 2-4, 5+."""
    if count <= 1:
        return "1" if count == 1 else "0"
    return "2-4" if count < 5 else "5+"  # noqa: PLR2004 - the bucket's edge


def score_band(score: float) -> str:
    """A score in [0, 1] as one of three bands."""
    if score >= 0.85:  # noqa: PLR2004 - the band's edge
        return "high"
    return "medium" if score >= 0.5 else "low"  # noqa: PLR2004 - the band's edge


def _one_of(*allowed: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in allowed


def _shape(pattern: str) -> Callable[[object], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _within(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _list_of(item: Callable[[object], bool], most: int = _MAX_ITEMS) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, list | tuple) and len(value) <= most and all(map(item, value))
    )


def _map_of(
    key: Callable[[object], bool], item: Callable[[object], bool]
) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, (dict, Mapping))  # the first is asked without a look at ABCs
        and len(value) <= _MAX_ITEMS
        and all(key(k) and item(v) for k, v in value.items())
    )


_BUCKET = _one_of("0", "1", "2-4", "5+")
_ENTITY = _shape(r"[A-Z][A-Z0-9_]{1,39}")
_TOKEN = _shape(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+){0,7}")
_DIGEST = _shape(r"[0-9a-f]{64}")

READABLE: Mapping[str, Callable[[object], bool]] = {
    "role": _one_of("clinician", "lawyer", "researcher", "admin", "auditor", "operator", "system"),
    "purpose": _one_of(
        "treatment", "payment", "operations", "research", "legal-advice", "litigation",
        "public-interest", "marketing", "other",
    ),
    "decision": _one_of("allowed", "denied"),
    "entities": _map_of(_ENTITY, _BUCKET),
    "scores": _map_of(_ENTITY, _one_of("low", "medium", "high")),
    "rules": _list_of(_shape(r"[A-Za-z0-9][A-Za-z0-9._:/()-]{0,127}")),
    "stages": _map_of(_TOKEN, _one_of("passed", "failed")),
    "status": _within(100, 599),
    "error": _shape(r"[a-z]+(?:_[a-z]+){0,7}"),
    "finish": _one_of("stop", "length", "tool_calls", "content_filter", "error", "cancelled"),
    "isolation": _one_of("none", "remote", "seccomp", "landlock", "namespace",
                         "seccomp+landlock", "seccomp+namespace"),
    "digests": _map_of(
        _shape(r"(?:policy|detector|tables|model|adapter|template|settings|bundle|key)"
               r"(?::[a-z0-9][a-z0-9._-]{0,62})?"),
        _DIGEST,
    ),
    "restore": _flag,
    "stream": _flag,
    "attempt": _within(1, 9),
    "count": _BUCKET,
    "version": _shape(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}(?:(?:a|b|rc|\.dev)[0-9]{1,4})?"),
    "erased": _list_of(_shape(r"[0-9a-f]{32}"), MAX_ERASED),
    "through": _shape(r"[0-9]{4}-(?:0[1-9]|1[0-2])"),
    "signing": _DIGEST,
}  # fmt: skip
"""Every readable key and the shape of its value. Append here and in audit-format.md §3."""


def check_features(features: Mapping[str, object]) -> None:
    """Raise RecordError unless each key is on the allow-list and its value has its shape.

    The offending key is not named unless it is a published one: it may be anything.
    """
    for key, value in features.items():
        allowed = READABLE.get(key)
        if allowed is None:
            raise RecordError("a readable feature is not on the allow-list")
        if not allowed(value):
            raise RecordError(f"the readable feature {key!r} does not have its shape")


# --- what the gateway hands over --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One event to put on record. Only ``event``, ``receipt_id`` and ``features`` stay readable.

    ``sealed`` is JSON that auditors may read as long as the request's key lives (principal,
    matter, findings as types and scores, sampling, timings). ``texts`` are stored and sealed
    under the key of ``subject`` where one is named, else under the request's. ``committed`` are
    texts of which only the salted commitment is kept. ``values`` maps each data subject of the
    text (``"PERSON_1"``) to its placeholders and values; each group gets a key of its own.
    ``subject`` is an identifier as the caller sent it: put it nowhere else. ``retain_months``
    from now, to the end of that month; ``floor_months``: how long of these an erasure is refused.
    ``deadline``: when an intent counts as open. ``identifiers``: record numbers by which an auditor
    should find this entry, beside its subject and its matter; they are nowhere but in the index.
    """

    event: str
    receipt_id: str | None = None
    features: Mapping[str, object] = field(default_factory=dict)
    sealed: Mapping[str, object] = field(repr=False, default_factory=dict)
    texts: Mapping[str, str] = field(repr=False, default_factory=dict)
    committed: Mapping[str, str] = field(repr=False, default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(repr=False, default_factory=dict)
    subject: str | None = field(repr=False, default=None)
    retain_months: int = 72
    deadline: datetime | None = None
    identifiers: Sequence[str] = field(repr=False, default=())
    floor_months: int = 0

    def check(self) -> None:
        """Raise RecordError where the readable part is not coarse, or the entry is malformed."""
        if not EVENT.fullmatch(self.event):
            raise RecordError("an event is lower-case words joined by dots or dashes")
        if self.receipt_id is not None and not RID.fullmatch(self.receipt_id):
            raise RecordError("a receipt id is 128 random bits in hex")
        if self.event in ("intent", "outcome") and self.receipt_id is None:
            raise RecordError("an intent and its outcome need a receipt id")
        if not 0 < self.retain_months <= 1200:  # noqa: PLR2004 - a century
            raise RecordError("retain_months is between 1 and 1200")
        if not 0 <= self.floor_months <= self.retain_months:
            raise RecordError("floor_months is between 0 and retain_months")
        if self.deadline is not None and self.deadline.tzinfo is None:
            raise RecordError("a deadline needs a time zone")
        for name in (*self.texts, *self.committed):
            if not _TOKEN(name):
                raise RecordError("a text is named by a short lower-case token")
        if self.texts.keys() & self.committed.keys():
            raise RecordError("a text is either stored or only committed to")
        check_features(self.features)


# --- the leaf ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One sealed part: ciphertext, and one doubly encrypted content key per auditor."""

    name: str
    ciphertext: bytes = field(repr=False)
    wraps: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The readable part of a record. Every sealed part is bound to all of it (§4.4)."""

    origin: str
    boot: str
    seq: int
    event: str
    rid: str | None
    minute: str
    expires: str
    key: str
    features: Mapping[str, object] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)
    deadline: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "v": VERSION,
            "origin": self.origin,
            "boot": self.boot,
            "seq": self.seq,
            "event": self.event,
            "rid": self.rid,
            "minute": self.minute,
            "expires": self.expires,
            "key": self.key,
            "features": dict(self.features),
            "commits": dict(self.commits),
            "deadline": self.deadline,
        }


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed leaf: ``header`` readable, ``parts`` sealed, ``bound`` what the seals bind to."""

    header: Header
    parts: tuple[Part, ...]
    bound: bytes = field(repr=False, default=b"")


def canonical(header: Header) -> bytes:
    """The RFC 8785 bytes of a header: what every seal of the record is bound to.

    Raises:
        RecordError: a readable value is no text.
    """
    data = _plain(header.to_json())
    if not data:
        raise RecordError("a readable value cannot be written")
    return data


def build(bound: bytes, parts: Sequence[Part]) -> bytes:
    """The canonical bytes of a record: the leaf's data, stored and exported as they are.

    ``bound`` is the canonical header. Parts hold base64, hex and plain words only, which JSON
    spells in one way.
    """
    return b'{"header":%b,"parts":[%b]}' % (bound, b",".join(map(_written, parts)))


def _written(part: Part) -> bytes:
    wraps = b",".join(b'"%b":"%b"' % (who.encode(), b64encode(w)) for who, w in sorted(part.wraps))
    return b'{"c":"%b","n":"%b","w":{%b}}' % (
        b64encode(part.ciphertext), part.name.encode(), wraps,
    )  # fmt: skip


def parse(body: bytes) -> Record:
    """Read the bytes of a leaf. Unknown fields are left alone; known ones are strict.

    Raises:
        FormatError: not canonical JSON, a missing field, a value out of shape.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise FormatError("a record is not JSON") from None
    if not isinstance(value, dict) or _plain(value) != body:
        raise FormatError("a record is not canonical JSON")
    try:
        header, parts = _header(value["header"]), _parts(value["parts"])
    except (KeyError, TypeError, AttributeError, NoteError):
        raise FormatError("a record lacks a field or has one out of shape") from None
    return Record(header, parts, _plain(value["header"]))


def _integer(text: str) -> int:
    """A number of §2.2. Others have spellings in which readers of JSON differ."""
    if len(text) > 17 or not text.strip("-").isdigit() or abs(int(text)) >= _MAX_INTEGER:  # noqa: PLR2004 - digits of 2^53 and a sign
        raise ValueError("not an integer below 2^53")
    return int(text)


_DECODER = json.JSONDecoder(parse_float=_integer, parse_int=_integer, parse_constant=_integer)


_ENCODER = msgspec.json.Encoder(order="sorted")


def _plain(value: object) -> bytes:
    """Canonical bytes.

    Records hold no floats and ASCII keys only; there, sorted and compact JSON is RFC 8785 (tests
    hold it to a library that does all of it, at a hundred times the cost).
    """
    try:
        return _ENCODER.encode(value)
    except (ValueError, TypeError, UnicodeEncodeError, RecursionError):
        return b""


def _header(value: dict[str, Any]) -> Header:
    if value["v"] != VERSION or type(value["v"]) is not int:
        raise FormatError("a record of a version that is not known here")
    rid, deadline, seq = value["rid"], value["deadline"], value["seq"]
    shapes = (
        RID.fullmatch(value["boot"]),
        EVENT.fullmatch(value["event"]),
        rid is None or RID.fullmatch(rid),
        MINUTE.fullmatch(value["minute"]),
        MONTH.fullmatch(value["expires"]),
        deadline is None or MINUTE.fullmatch(deadline),
        RID.fullmatch(value["key"]),
        type(seq) is int and 0 <= seq < _MAX_INTEGER,
        isinstance(value["origin"], str),
        isinstance(value["features"], dict),
        isinstance(value["commits"], dict),
    )
    if not all(shapes):
        raise FormatError("a record has a field out of shape")
    return Header(
        origin=value["origin"], boot=value["boot"], seq=seq, event=value["event"], rid=rid,
        minute=value["minute"], expires=value["expires"], key=value["key"],
        features=value["features"], commits=value["commits"], deadline=deadline,
    )  # fmt: skip


def _parts(values: list[dict[str, Any]]) -> tuple[Part, ...]:
    if not isinstance(values, list) or not all(isinstance(part["n"], str) for part in values):
        raise FormatError("a record has a field out of shape")
    return tuple(
        Part(
            part["n"],
            unbase64(part["c"]),
            tuple((who, unbase64(wrap)) for who, wrap in part["w"].items()),
        )
        for part in values
    )


# --- times ------------------------------------------------------------------------------------


def minute(moment: datetime) -> str:
    """UTC, cut to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def deadline_minute(moment: datetime) -> str:
    """UTC, rounded up to the minute, so that no deadline passes early."""
    whole = moment.astimezone(UTC).replace(second=0, microsecond=0)
    return minute(whole if whole == moment else whole + timedelta(minutes=1))


def months_until(moment: datetime, month: str) -> int:
    """How many months on ``month`` is, as ``expiry_month`` counts them; negative in the past."""
    year, number = map(int, month.split("-"))
    now = moment.astimezone(UTC)
    return (year - now.year) * 12 + number - now.month


def expiry_month(moment: datetime, months: int) -> str:
    """The month at whose end a record expires that is kept ``months`` from ``moment``."""
    now = moment.astimezone(UTC)
    count = now.year * 12 + now.month - 1 + months
    return f"{count // 12:04d}-{count % 12 + 1:02d}"
