"""What is held of a data subject: found by an auditor with the private key and the key store.

audit-format.md §11. A search reads every record, so that it misses none that this auditor can
open; the blind index answers quickly and is trusted for nothing but that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from audit.blind import EVENT as INDEX_KEY
from audit.blind import normalised, tokens
from audit.errors import MissingError
from audit.recipients import PrivateKey
from audit.record import Header, parse
from audit.seal import Opened, open_entry
from audit.store import Reader

Keys = Callable[[bytes], bytes | None]
EXPORT = "export.made"


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
    """One reading of a log. ``unreadable``: records that these keys do not open at all."""

    key: Keys = field(repr=False)
    private: PrivateKey = field(repr=False)
    unreadable: int = 0
    exports: list[int] = field(default_factory=list)

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
                self.unreadable += 1

    def of_subject(
        self, bodies: Iterable[tuple[int, bytes]], subject: Subject
    ) -> Iterator[Holding]:
        """The records that concern a subject."""
        names = subject.names()
        for index, header, opened in self.opened(bodies):
            found = _holding(index, header, opened, names)
            if found is not None:
                yield found

    def of_matter(self, bodies: Iterable[tuple[int, bytes]], matter: str) -> Iterator[Holding]:
        """The records of a matter, whoever they concern."""
        wanted = normalised(matter)
        for index, header, opened in self.opened(bodies):
            named = opened.sealed.get("matter")
            if isinstance(named, str) and normalised(named) == wanted:
                yield Holding(index, header, opened, own=True, keys=(), groups=len(opened.values))


def _holding(index: int, header: Header, opened: Opened, names: frozenset[str]) -> Holding | None:
    told = opened.sealed.get("subject")  # sealed with the rest until version 0.1
    in_meta = isinstance(told, str) and normalised(told) in names
    named = opened.text.get("subject")
    own = in_meta or (isinstance(named, str) and normalised(named) in names)
    texts = [key_id for key_id, plain in opened.keys if plain and "texts" in plain]
    groups = [(key_id, plain["values"]) for key_id, plain in opened.keys
              if plain and "values" in plain]  # fmt: skip
    theirs = [key_id for key_id, values in groups if names & set(map(_plain, values.values()))]
    if own:
        # Where no group is certain to be this person's, any of them may be: all go.
        theirs = theirs or [key_id for key_id, _ in groups]
        theirs = [*texts, *theirs, *([bytes.fromhex(header.key)] if in_meta else [])]
    if not own and not theirs:
        return None
    return Holding(index, header, opened, own, tuple(theirs), len(groups))


def _plain(value: object) -> str:
    return normalised(str(value))


def bodies(reader: Reader, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Positions and bytes of a ledger's records, from ``start`` on."""
    return ((row.index, row.body) for row in reader.rows(start))


# --- by the blind index (audit-format.md §11.2) -----------------------------------------------


def index_keys(reader: Reader, key: Keys, private: PrivateKey) -> list[bytes]:
    """The index' keys of all days that this auditor can open."""
    found = []
    for index in reader.acts(INDEX_KEY):
        record = parse(reader.row(index).body)
        try:
            found.append(bytes.fromhex(str(open_entry(record, key, private).sealed["key"])))
        except MissingError:
            continue
    return found


def look_up(
    reader: Reader, key: Keys, private: PrivateKey, kind: str, identifier: str
) -> tuple[int, ...]:
    """The records that the index names for an identifier, over all days."""
    return reader.indexed(tokens(index_keys(reader, key, private), kind, identifier))
