"""Sealing: what stands on disk is opened by an auditor's key and the key store together.

audit-format.md §4. Each part of a record has a content key of its own (AES-256-GCM). The content
key is HPKE-wrapped to each auditor, and that wrap is encrypted under the key of a (subject,
expiry month), which lives only in the key store: destroy it, and the part is gone while every
proof stays valid. The write path holds public keys only and cannot read what it wrote.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import MissingError, SealError
from audit.recipients import Auditor, PrivateKey, public_of, recipients, unwrap
from audit.record import Entry, Header, Part, Record, build, canonical

Randomness = Callable[[int], bytes]
"""Returns that many bytes nobody can guess."""

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 16
# Owners whose keys are remembered: a subject comes again for months, a request once more at most.
_REMEMBERED = {"subject": 4096, "request": 512}
_PSEUDONYM_BYTES = 16
_LENGTH_BYTES = 4
_MIN_PADDED = 256
_MIN_GROUPS = 4
_TAG_BYTES = 16
_AROUND_ENC = NONCE_BYTES + KEY_BYTES + _TAG_BYTES + _TAG_BYTES  # of a wrap, its HPKE's enc apart

_NOBODY = bytes(KEY_BYTES)
"""In the place of the content key, for an auditor out of scope (audit-format.md §4.7)."""


# --- the keys of data subjects (audit-format.md §7.2) -----------------------------------------


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
        self._lock = threading.Lock()

    def fresh(self, month: str) -> SubjectKey:
        """A key that only one part is sealed under."""
        if self._reserve and self._reserve[-1].month == month:
            key = self._reserve.pop()
            self._taken.add(key.id)
            return key
        return self._new(month)

    def _new(self, month: str) -> SubjectKey:
        return SubjectKey(self._randomness(KEY_ID_BYTES), month, self._randomness(KEY_BYTES))

    def wanted(self, month: str, size: int) -> list[SubjectKey]:
        """Keys to make durable ahead of time, so that an append need not wait for it; often none.

        Give them to ``stock`` once they are in the key store.
        """
        fitting = [key for key in self._reserve if key.month == month]
        if 2 * len(fitting) >= size:
            return []
        count, each = size - len(fitting), KEY_ID_BYTES + KEY_BYTES
        drawn = self._randomness(count * each)  # one call: the system's randomness is slow to ask
        pieces = [drawn[at : at + each] for at in range(0, len(drawn), each)]
        return [SubjectKey(p[:KEY_ID_BYTES], month, p[KEY_ID_BYTES:]) for p in pieces]

    def stock(self, keys: Sequence[SubjectKey]) -> None:
        month = keys[0].month
        self._reserve = [key for key in self._reserve if key.month == month] + list(keys)

    def of(self, kind: str, owner: str, month: str) -> SubjectKey:
        """The key of an owner ("subject" or "request", and its name) for a month."""
        with self._lock:
            kept = self._known[kind]
            known = kept.get((owner, month))
            if known is not None:
                kept.move_to_end((owner, month))
                return known
            known = kept[owner, month] = self.fresh(month)
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
    who = Auditor("", public_of(private)).id
    wrap = dict(part.wraps).get(who)
    if wrap is None:
        raise MissingError("this part was not sealed to this auditor")
    info = _wrap_info(bound, who)
    try:
        inner = AESGCM(outer).decrypt(wrap[:NONCE_BYTES], wrap[NONCE_BYTES:], info)
        content = unwrap(inner, private, info)
        if content == _NOBODY:
            raise MissingError("this part was not sealed to this auditor")
        nonce, ciphertext = part.ciphertext[:NONCE_BYTES], part.ciphertext[NONCE_BYTES:]
        return unpad(AESGCM(content).decrypt(nonce, ciphertext, bound))
    except (InvalidTag, ValueError):
        raise SealError("a sealed part does not open with these keys") from None


def groups_shown(count: int) -> int:
    """How many value parts a record shows for ``count`` groups: 0, 1, 4, 8, 16 ..."""
    if count <= 1:
        return count
    return max(_MIN_GROUPS, 1 << (count - 1).bit_length())


def _wrap_info(bound: bytes, auditor: str) -> bytes:
    return f"cloister/wrap/1\n{auditor}\n".encode() + hashlib.sha256(bound).digest()


# --- texts and commitments --------------------------------------------------------------------


def commitment(salt: bytes, name: str, text: str) -> str:
    """HMAC-SHA-256 of a text under a salt that is sealed with it (audit-format.md §4.6)."""
    message = f"{name}\n".encode() + text.encode("utf-8", "surrogatepass")
    return hmac.new(salt, message, hashlib.sha256).hexdigest()


def to_plain(value: Mapping[str, object]) -> bytes:
    """JSON for a sealed part. ASCII escapes, so that lone surrogates come back as they were."""
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
        self._randomness = self.randomness = randomness
        self.ring = KeyRing(randomness)
        self.boot = randomness(16).hex()

    def seal(self, entry: Entry, position: Position) -> Sealed:
        """Seal an entry (§4): part 0 is "meta", then "text", then one "value" per data subject."""
        changed = self._newest()
        if changed is not None:
            self._recipients = recipients(changed)
        readers = self._readers(entry)
        ring, rid, month = self.ring, entry.receipt_id, position.expires
        own = ring.of("request", rid, month) if rid else ring.fresh(month)
        salt = self._randomness(KEY_BYTES)
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
        # Which key opens which part is sealed, too: else a thief could tell which records are
        # about one subject.
        opens = [key.id.hex() for _, key, _ in plains]
        meta: dict[str, object] = {
            "at": position.at, "keys": opens, "sealed": dict(entry.sealed)
        }  # fmt: skip
        if self._pseudonyms and entry.subject is not None:
            meta["who"] = ring.pseudonym(entry.subject)
        if position.floor is not None:
            meta["floor"] = position.floor
        plains.insert(0, ("meta", own, meta))
        parts = [
            self.part(name, to_plain(plain), context(bound, name, ordinal), key.key, readers)
            for ordinal, (name, key, plain) in enumerate(plains)
        ]
        missing = groups_shown(len(entry.values)) - len(entry.values)
        parts += [self.decoy() for _ in range(missing)]
        return Sealed(build(bound, parts), tuple(key for _, key, _ in plains))

    def _readers(self, entry: Entry) -> frozenset[str]:
        """The ids of those whose scope the entry is in.

        Raises:
            SealError: it is in nobody's, and would be unreadable for ever.
        """
        role, matter = entry.features.get("role"), entry.sealed.get("matter")
        known = (
            role if isinstance(role, str) else None,
            matter if isinstance(matter, str) else None,
        )
        found = frozenset(r.id for r in self._recipients if r.scope.covers(*known))
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
        content, nonce = self._randomness(KEY_BYTES), self._randomness(NONCE_BYTES)
        ciphertext = nonce + AESGCM(content).encrypt(nonce, pad(plain), bound)
        under = AESGCM(outer)
        wraps = []
        for recipient in self._recipients:
            info, nonce = _wrap_info(bound, recipient.id), self._randomness(NONCE_BYTES)
            inner = recipient.wrap(content if recipient.id in readers else _NOBODY, info)
            wraps.append((recipient.id, nonce + under.encrypt(nonce, inner, info)))
        return Part(name, ciphertext, tuple(wraps))

    def decoy(self) -> Part:
        """A value part of random bytes: hides how many data subjects a text names (§4.5)."""
        size = NONCE_BYTES + _MIN_PADDED + _TAG_BYTES
        wraps = tuple((r.id, self._randomness(_AROUND_ENC + r.enc_bytes)) for r in self._recipients)
        return Part("value", self._randomness(size), wraps)


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
