"""Sealing: what stands on disk is opened by an auditor's key and the key store together.

audit-format.md §4. Each part of a record has a content key of its own (AES-256-GCM). The content
key is wrapped to each auditor (HPKE, once for all that is sealed together), and that wrap is
encrypted under the key of a (subject, expiry month), which lives only in the key store: destroy
it, and the part is gone while every proof stays valid. The write path holds public keys only and
cannot read what it wrote.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import MissingError, SealError
from audit.keyring import KEY_BYTES, NONCE_BYTES, TAG_BYTES, KeyRing, Randomness, SubjectKey
from audit.recipients import (
    OLD_WRAP_BYTES,
    Auditor,
    PrivateKey,
    Turn,
    id_of,
    recipients,
    unwrap,
    unwrap_old,
)
from audit.record import Entry, Header, Part, Record, build, canonical

_LENGTH_BYTES = 4
_MIN_PADDED = 256
_DRAWN_BYTES = 4096
_MIN_GROUPS = 4
# Of a wrap, what HPKE makes of the turn's key apart: two nonces, the content key, two tags.
_AROUND_TURN = NONCE_BYTES + (NONCE_BYTES + KEY_BYTES + TAG_BYTES) + TAG_BYTES

_NOBODY = bytes(KEY_BYTES)
"""In the place of the content key, for an auditor out of scope (audit-format.md §4.7)."""


# --- padding (audit-format.md §4.3) -----------------------------------------------------------


def padded_length(length: int) -> int:
    """Padmé (PURBs, PETS 2019, §4): at most 12 % more, and O(log log n) bits of the length told.

    Nothing is shorter than 256 bytes, so short values do not tell themselves apart.
    """
    if length <= _MIN_PADDED:
        return _MIN_PADDED
    exponent = length.bit_length() - 1
    mask = (1 << exponent - exponent.bit_length()) - 1
    return (length + mask) & ~mask


def pad(plain: bytes) -> bytes:
    framed = len(plain).to_bytes(_LENGTH_BYTES, "big") + plain
    return framed.ljust(padded_length(len(framed)), b"\0")


def unpad(padded: bytes) -> bytes:
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if len(padded) < end or any(padded[end:]):
        raise SealError("a sealed part is not padded as it should be")
    return padded[_LENGTH_BYTES:end]


# --- parts ------------------------------------------------------------------------------------


def context(bound: bytes, name: str, ordinal: int) -> bytes:
    """The associated data of a part (audit-format.md §4.4).

    Its place in the record and everything readable there: origin and (boot, seq) included.
    """
    return f"cloister/part/1\n{name}\n{ordinal}\n".encode() + bound


def open_part(part: Part, bound: bytes, outer: bytes, private: PrivateKey) -> bytes:
    """Open one part with the auditor's private key and the key of the key store.

    Raises:
        MissingError: the part was not sealed to this auditor.
        SealError: the keys or the bytes are not the right ones.
    """
    who = id_of(private)
    wrap = dict(part.wraps).get(who)
    if wrap is None:
        raise MissingError("this part was not sealed to this auditor")
    digest = hashlib.sha256(bound).digest()
    try:
        content = _content_key(wrap, AESGCM(outer), private, who, digest)
        if content == _NOBODY:
            raise MissingError("this part was not sealed to this auditor")
        nonce, ciphertext = part.ciphertext[:NONCE_BYTES], part.ciphertext[NONCE_BYTES:]
        return unpad(AESGCM(content).decrypt(nonce, ciphertext, bound))
    except (InvalidTag, ValueError):
        raise SealError("a sealed part does not open with these keys") from None


def _content_key(wrap: bytes, under: AESGCM, private: PrivateKey, who: str, digest: bytes) -> bytes:
    """The content key in a wrap of either form (audit-format.md §4.2)."""
    old = len(wrap) in OLD_WRAP_BYTES
    info = _wrap_info(digest, who, 1 if old else 2)
    inner = under.decrypt(wrap[:NONCE_BYTES], wrap[NONCE_BYTES:], info)
    return unwrap_old(inner, private, info) if old else unwrap(inner, private, info)


def groups_shown(count: int) -> int:
    """How many value parts a record shows for ``count`` groups: 0, 1, 4, 8, 16 ..."""
    if count <= 1:
        return count
    return max(_MIN_GROUPS, 1 << (count - 1).bit_length())


def _wrap_info(digest: bytes, auditor: str, form: int = 2) -> bytes:
    """What a wrap is bound to. ``digest``: the SHA-256 of the part's associated data."""
    return f"cloister/wrap/{form}\n{auditor}\n".encode() + digest


# --- texts and commitments --------------------------------------------------------------------


def commitment(salt: bytes, name: str, text: str) -> str:
    """HMAC-SHA-256 of a text under a salt that is sealed with it (audit-format.md §4.6)."""
    message = f"{name}\n".encode() + text.encode("utf-8", "surrogatepass")
    return hmac.new(salt, message, hashlib.sha256).hexdigest()


_ENCODER = msgspec.json.Encoder(order="sorted")


def to_plain(value: Mapping[str, object]) -> bytes:
    """JSON for a sealed part. Lone surrogates come back as they were, which takes escapes."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("ascii")


# --- a whole entry ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bytes of a record, and the keys that MUST be in the key store before it is appended."""

    body: bytes = field(repr=False)
    keys: tuple[SubjectKey, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where and when a record is written. ``at`` is exact and sealed, ``minute`` readable."""

    origin: str
    boot: str
    seq: int
    minute: str
    expires: str
    at: str
    deadline: str | None = None
    floor: str | None = None


class Sealer:
    """Seals entries to the auditors of one log. Holds public keys and subjects' keys only."""

    def __init__(
        self,
        auditors: Sequence[Auditor],
        randomness: Randomness,
        newest: Callable[[], Sequence[Auditor] | None] = lambda: None,
        *,
        pseudonyms: bool = False,
    ) -> None:
        """``newest`` tells who the auditors are now, or None where they are the same as before."""
        self._recipients = recipients(auditors)
        self._pseudonyms, self._newest = pseudonyms, newest
        self.randomness = randomness
        self.ring = KeyRing(randomness)
        self.boot = randomness(16).hex()

    def begin(self) -> Batch:
        """Get ready to seal what is appended together: to who is an auditor now.

        Raises:
            KeyStoreError: the auditors cannot be told; nothing may be sealed.
        """
        changed = self._newest()
        if changed is not None:
            self._recipients = recipients(changed)
        turns = tuple(recipient.begin(self.randomness) for recipient in self._recipients)
        return Batch(turns, self.ring, self.randomness, pseudonyms=self._pseudonyms)


class Batch:
    """Seals entries that are appended together, then is dropped: with it go the turns' keys."""

    def __init__(
        self, turns: Sequence[Turn], ring: KeyRing, randomness: Randomness, *, pseudonyms: bool
    ) -> None:
        self._turns, self._ring, self._pseudonyms = turns, ring, pseudonyms
        self._randomness, self._drawn, self._used = randomness, b"", 0
        self._readers: dict[tuple[object, object], frozenset[str]] = {}

    def _draw(self, size: int) -> bytes:
        """Random bytes, each handed out once."""
        # The system is asked for many at a time: each call to it lets another thread go first.
        if self._used + size > len(self._drawn):
            self._drawn, self._used = self._randomness(max(size, _DRAWN_BYTES)), 0
        self._used += size
        return self._drawn[self._used - size : self._used]

    def seal(self, entry: Entry, position: Position) -> Sealed:
        """Seal an entry (§4): part 0 is "meta", then "text", then one "value" per data subject.

        Raises:
            SealError: the entry is in no auditor's scope.
        """
        readers = self._who_reads(entry)
        ring, rid, month = self._ring, entry.receipt_id, position.expires
        own = ring.of("request", rid, month) if rid else ring.fresh(month)
        salt = self._draw(KEY_BYTES)
        bound = canonical(_header(entry, position, own, salt))
        plains: list[tuple[str, SubjectKey, Mapping[str, object]]] = []
        if entry.texts or entry.committed or entry.subject is not None:
            named = entry.subject is not None
            key = ring.of("subject", entry.subject or "", month) if named else own
            text = {"salt": salt.hex(), "subject": entry.subject, "texts": dict(entry.texts)}
            plains.append(("text", key, text))
        for group, values in entry.values.items():
            content = {"group": group, "values": dict(values)}
            plains.append(("value", ring.fresh(month), content))
        plains.insert(0, ("meta", own, self._meta(entry, position, plains)))
        parts = [
            self.part(name, to_plain(plain), context(bound, name, ordinal), key.key, readers)
            for ordinal, (name, key, plain) in enumerate(plains)
        ]
        missing = groups_shown(len(entry.values)) - len(entry.values)
        parts += [self.decoy() for _ in range(missing)]
        return Sealed(build(bound, parts), tuple(key for _, key, _ in plains))

    def _meta(
        self,
        entry: Entry,
        position: Position,
        others: Sequence[tuple[str, SubjectKey, Mapping[str, object]]],
    ) -> dict[str, object]:
        """Part 0."""
        # Which key opens which part is sealed, too: else a thief could tell which records are
        # about one subject.
        opens = [key.id.hex() for _, key, _ in others]
        meta: dict[str, object] = {
            "at": position.at, "keys": opens, "sealed": dict(entry.sealed)
        }  # fmt: skip
        if self._pseudonyms and entry.subject is not None:
            meta["who"] = self._ring.pseudonym(entry.subject)
        if position.floor is not None:
            meta["floor"] = position.floor
        return meta

    def _who_reads(self, entry: Entry) -> frozenset[str]:
        """The ids of those whose scope the entry is in.

        Raises:
            SealError: it is in nobody's, and would be unreadable for ever.
        """
        role, matter = entry.features.get("role"), entry.sealed.get("matter")
        role, matter = (each if isinstance(each, str) else None for each in (role, matter))
        found = self._readers.get((role, matter))
        if found is None:
            found = frozenset(turn.id for turn in self._turns if turn.scope.covers(role, matter))
            self._readers[role, matter] = found
        if not found:
            raise SealError("an entry is in no auditor's scope")
        return found

    def part(
        self, name: str, plain: bytes, bound: bytes, outer: bytes, readers: Collection[str]
    ) -> Part:
        """Seal under a fresh content key, wrapped to each auditor and then under ``outer``.

        Who is not one of ``readers`` is given a wrap, too: of nothing. Else a matter could be
        told by who may read about it.
        """
        draw = self._draw
        content, nonce, digest = draw(KEY_BYTES), draw(NONCE_BYTES), hashlib.sha256(bound).digest()
        ciphertext = nonce + AESGCM(content).encrypt(nonce, pad(plain), bound)
        under = AESGCM(outer)
        wraps = []
        for turn in self._turns:
            info, nonce = _wrap_info(digest, turn.id), draw(NONCE_BYTES)
            told = content if turn.id in readers else _NOBODY
            inner = turn.wrap(told, draw(NONCE_BYTES), info)
            wraps.append((turn.id, nonce + under.encrypt(nonce, inner, info)))
        return Part(name, ciphertext, tuple(wraps))

    def decoy(self) -> Part:
        """A value part of random bytes: hides how many data subjects a text names (§4.5)."""
        size = NONCE_BYTES + _MIN_PADDED + TAG_BYTES
        wraps = tuple(
            (turn.id, self._draw(_AROUND_TURN + len(turn.wrapped))) for turn in self._turns
        )
        return Part("value", self._draw(size), wraps)


def _header(entry: Entry, position: Position, own: SubjectKey, salt: bytes) -> Header:
    texts = (*entry.texts.items(), *entry.committed.items())
    return Header(
        origin=position.origin,
        boot=position.boot,
        seq=position.seq,
        event=entry.event,
        rid=entry.receipt_id,
        minute=position.minute,
        expires=position.expires,
        key=own.id.hex(),
        features=entry.features,
        commits={name: commitment(salt, name, text) for name, text in texts},
        deadline=position.deadline,
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A record as an auditor reads it. ``erased``: how many parts nobody can open any more.

    ``keys``: the id of the key of each part after the first, with what the part says (None where
    it is erased). ``who``: the subject's pseudonym. ``floor``: the month until whose end an
    erasure is refused.
    """

    at: str
    sealed: Mapping[str, object] = field(repr=False)
    text: Mapping[str, object] = field(repr=False)
    values: tuple[Mapping[str, object], ...] = field(repr=False)
    erased: int = 0
    keys: tuple[tuple[bytes, Mapping[str, Any] | None], ...] = field(repr=False, default=())
    who: str | None = None
    floor: str | None = None


def open_entry(record: Record, key: Callable[[bytes], bytes | None], private: PrivateKey) -> Opened:
    """Open what these keys open. A part whose key was destroyed counts as erased.

    Raises:
        MissingError: not sealed to this auditor, or the record's own key was destroyed.
        SealError: a part that should open does not, or a text is not the one committed to.
    """
    own, parts = key(bytes.fromhex(record.header.key)), record.parts
    if own is None or not parts:
        raise MissingError("the key of this record was destroyed, or this is another key store")

    def read(ordinal: int, outer: bytes) -> dict[str, Any]:
        part = parts[ordinal]
        bound = context(record.bound, part.name, ordinal)
        return dict(json.loads(open_part(part, bound, outer, private)))

    meta = read(0, own)
    ids = [bytes.fromhex(key_id) for key_id in meta["keys"]]
    if len(ids) >= len(parts):
        raise SealError("a record lacks a part that its sealed list names")
    outers = [key(key_id) for key_id in ids]
    found = [None if k is None else read(i, k) for i, k in enumerate(outers, start=1)]
    opened = [plain for plain in found if plain is not None]
    text = next((plain for plain in opened if "texts" in plain), {})
    for name, value in text.get("texts", {}).items():
        expected = commitment(bytes.fromhex(text["salt"]), name, value)
        if not hmac.compare_digest(expected, str(record.header.commits.get(name))):
            raise SealError("a sealed text is not the one the record commits to")
    values = tuple(plain for plain in opened if "values" in plain)
    return Opened(
        meta["at"], meta["sealed"], text, values, outers.count(None),
        tuple(zip(ids, found, strict=True)), meta.get("who"), meta.get("floor"),
    )  # fmt: skip
