"""What is held of a data subject: found by an auditor with the private key and the key store.

audit-format.md §11. A search reads every record, so that it misses none that this auditor can
open; the blind index answers quickly and is trusted for nothing but that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.blind import EVENT as INDEX_KEY
from audit.blind import normalised, tokens
from audit.errors import MissingError
from audit.recipients import PrivateKey
from audit.record import Header, parse
from audit.seal import Opened, open_entry
from audit.store import Reader

Keys = Callable[[bytes], bytes | None]
EXPORT = "export.made"
_TELLING = 4  # letters or digits of a name that is looked for inside of others
OTHER = "OTHER"
"""The group of values that are no person's name (audit-format.md §4.1)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is looked for: the identifier of requests, and other values that are this person's.

    ``also``: names and numbers as they stand in texts.
    """

    identifier: str = field(repr=False)
    also: Sequence[str] = field(repr=False, default=())

    def names(self) -> frozenset[str]:
        return frozenset(map(normalised, (self.identifier, *self.also)))


@dataclass(frozen=True, slots=True)
class Holding:
    """A record that concerns a subject.

    ``own``: the request named the subject; else only values of its text are theirs. ``keys``: the
    ids of the keys whose destruction erases the subject here. ``groups``: how many data subjects'
    values the record holds.
    """

    index: int
    header: Header
    opened: Opened = field(repr=False)
    own: bool
    keys: tuple[bytes, ...] = field(repr=False)
    groups: int

    @property
    def several(self) -> bool:
        return self.groups > 1 or not self.own

    @property
    def all_keys(self) -> tuple[bytes, ...]:
        """The record's own key and those of its parts: what reading all of it needs."""
        return (bytes.fromhex(self.header.key), *(key_id for key_id, _ in self.opened.keys))


@dataclass(slots=True)
class Search:
    """One reading of a log.

    ``unreadable``: records that others may read and this auditor may not. ``gone``: records whose
    own key was destroyed, which nobody reads any more. ``near``: records with a value that
    contains a name of the subject and is none: another form of it, or somebody else's.
    """

    key: Keys = field(repr=False)
    private: PrivateKey = field(repr=False)
    unreadable: int = 0
    gone: int = 0
    near: list[int] = field(default_factory=list)
    exports: list[int] = field(default_factory=list)
    own: set[str | None] = field(repr=False, default_factory=set)
    """Receipts and pseudonyms of the requests about the subject that were found so far."""

    def opened(self, bodies: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Header, Opened]]:
        """Every record that opens.

        Raises:
            FormatError, SealError: bytes that are no record, or not what they were: verify first.
        """
        for index, body in bodies:
            record = parse(body)
            if record.header.event == EXPORT:
                self.exports.append(index)
            try:
                yield index, record.header, open_entry(record, self.key, self.private)
            except MissingError:
                if self.key(bytes.fromhex(record.header.key)) is None:
                    self.gone += 1
                else:
                    self.unreadable += 1

    def of_subject(
        self, bodies: Iterable[tuple[int, bytes]], subject: Subject
    ) -> Iterator[Holding]:
        """The records that concern a subject."""
        names = subject.names()
        for index, header, opened in self.opened(bodies):
            follows = header.rid in self.own or opened.who in self.own
            found = _holding(index, header, opened, names, follows=follows)
            if found is not None:
                if found.own:
                    self.own |= {header.rid, opened.who} - {None}
                yield found
            if _is_near(opened, names, found):
                self.near.append(index)

    def of_matter(self, bodies: Iterable[tuple[int, bytes]], matter: str) -> Iterator[Holding]:
        """The records of a matter, whoever they concern."""
        wanted = normalised(matter)
        for index, header, opened in self.opened(bodies):
            named = opened.sealed.get("matter")
            if isinstance(named, str) and normalised(named) == wanted:
                yield Holding(index, header, opened, own=True, keys=(), groups=len(opened.values))


def _holding(
    index: int, header: Header, opened: Opened, names: frozenset[str], *, follows: bool
) -> Holding | None:
    """What of a record is the subject's.

    ``follows``: a record of a request about the subject came before, under the same receipt or
    pseudonym. That says whose it is where it names nobody, or its text is gone.
    """
    told = opened.sealed.get("subject")  # sealed with the rest until version 0.1
    in_meta = isinstance(told, str) and normalised(told) in names
    named = opened.text.get("subject")
    own = in_meta or (isinstance(named, str) and normalised(named) in names)
    own = own or (follows and named is None)
    texts = [key_id for key_id, plain in opened.keys if plain and "texts" in plain]
    groups = [(key_id, plain) for key_id, plain in opened.keys if plain and "values" in plain]
    theirs = [key_id for key_id, plain in groups if names & _values(plain)]
    if own:
        # Numbers, dates and addresses stand in one group, whoever's they are, so a number that
        # matches says of no person's group whose it is. Where none is certain to be this
        # person's, any of them may be: all go.
        people = {key_id for key_id, plain in groups if plain.get("group") != OTHER}
        spared = people - set(theirs) if people & set(theirs) else set()
        theirs = [key_id for key_id, _ in groups if key_id not in spared]
        theirs = [*texts, *theirs, *([bytes.fromhex(header.key)] if in_meta else [])]
    if not own and not theirs:
        return None
    return Holding(index, header, opened, own, tuple(theirs), len(groups))


def _is_near(opened: Opened, names: frozenset[str], found: Holding | None) -> bool:
    left = [plain for key_id, plain in opened.keys
            if plain and "values" in plain and not (found and key_id in found.keys)]  # fmt: skip
    long = [name for name in names if len(name) >= _TELLING]
    return any(name in value for plain in left for value in _values(plain) for name in long)


def _values(plain: Mapping[str, Any]) -> set[str]:
    return {normalised(str(value)) for value in plain["values"].values()}


def bodies(
    reader: Reader, start: int = 0, before: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Positions and bytes of a ledger's records, from ``start`` on and ``before`` another one."""
    for row in reader.rows(start):
        if before is not None and row.index >= before:
            return
        yield row.index, row.body


# --- by the blind index (audit-format.md §11.2) -----------------------------------------------


def index_keys(reader: Reader, key: Keys, private: PrivateKey) -> tuple[list[bytes], int]:
    """The index' keys that this auditor can open, and how many are closed to them."""
    found, closed = [], 0
    for index in reader.acts(INDEX_KEY):
        record = parse(reader.row(index).body)
        try:
            found.append(bytes.fromhex(str(open_entry(record, key, private).sealed["key"])))
        except MissingError:
            closed += key(bytes.fromhex(record.header.key)) is not None
    return found, closed


def look_up(
    reader: Reader, key: Keys, private: PrivateKey, kind: str, identifier: str
) -> tuple[tuple[int, ...], int]:
    """The records that the index names for an identifier, and how many of its keys are closed."""
    keys, closed = index_keys(reader, key, private)
    return reader.indexed(tokens(keys, kind, identifier)), closed
