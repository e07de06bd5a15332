"""The registry of auditors: who may read what, and who agreed to it (audit-format.md §7.7).

``auditors.json`` holds who was registered when the home was made, and each change since with its
signatures. Who is an auditor now is worked out from them each time the file is read, so that an
auditor who was added by editing it counts for nothing and stops the ledger.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from audit.checkpoint import is_strict
from audit.errors import FormatError, KeyStoreError, NoteError
from audit.recipients import ANY, EVERYTHING, NAME, Auditor, Scope, check_public
from audit.vkey import unbase64

ADD, WIDEN, REMOVE, SIGNER = "add", "widen", "remove", "signer"
EVENTS = {
    ADD: "auditor.added",
    WIDEN: "auditor.widened",
    REMOVE: "auditor.removed",
    SIGNER: "signer.added",
}
_SIGNED = b"cloister auditors request/1\n"
_ED25519_BYTES = 32


@dataclass(frozen=True, slots=True)
class Signer:
    """A second person: somebody who is no auditor and agrees to what one asks for."""

    name: str
    public: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One change of the registry, as it is signed.

    ``registry`` is the digest of the registry that it changes: it can be used once. ``act`` is
    add, widen, remove or signer; ``auditor`` holds who it is about as they shall be afterwards.
    """

    act: str
    registry: str
    auditor: Auditor
    minute: str
    signatures: Mapping[str, bytes] = field(repr=False, default_factory=dict)

    def signed_bytes(self) -> bytes:
        value = {
            "act": self.act,
            "registry": self.registry,
            "auditor": auditor_json(self.auditor),
            "minute": self.minute,
        }
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return _SIGNED + text.encode("ascii")

    def sign(self, private: Ed25519PrivateKey) -> Request:
        """The request with one more signature, under the hex of its public key."""
        who = private.public_key().public_bytes_raw().hex()
        return replace(self, signatures={**self.signatures, who: private.sign(self.signed_bytes())})

    def has(self, public: bytes) -> bool:
        """Whether the holder of this key signed; a signature that does not verify is none."""
        signature = self.signatures.get(public.hex())
        if signature is None or len(public) != _ED25519_BYTES:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "v": 1,
            "act": self.act,
            "registry": self.registry,
            "auditor": auditor_json(self.auditor),
            "minute": self.minute,
            "signatures": {who: _b64(signature) for who, signature in self.signatures.items()},
        }

    @classmethod
    def parse(cls, value: Any) -> Request:
        """Read a request.

        Raises:
            FormatError: it is none.
        """
        try:
            if value["v"] != 1 or value["act"] not in EVENTS:
                raise FormatError("not a request for the list of auditors")
            signatures = {who: unbase64(text) for who, text in value["signatures"].items()}
            auditor = parse_auditor(value["auditor"], signer=value["act"] == SIGNER)
            texts = (value["registry"], value["minute"])
        except (KeyError, TypeError, AttributeError, NoteError):
            raise FormatError("not a request for the list of auditors") from None
        if not all(isinstance(text, str) for text in texts):
            raise FormatError("not a request for the list of auditors")
        return cls(value["act"], texts[0], auditor, texts[1], signatures)


@dataclass(frozen=True, slots=True)
class Registry:
    """Who is an auditor and who is a second person, by name, and how it came to that."""

    auditors: Mapping[str, Auditor]
    signers: Mapping[str, Signer] = field(default_factory=dict)
    first: tuple[Auditor, ...] = ()
    applied: tuple[Request, ...] = ()

    @classmethod
    def of(cls, first: Sequence[Auditor]) -> Registry:
        """The registry of a home that was just made."""
        return cls({auditor.name: auditor for auditor in first}, first=tuple(first))

    @property
    def digest(self) -> str:
        """What a request names to say which registry it changes."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """With the list that older versions read, which is not what counts here."""
        return {
            "v": 2,
            "auditors": [auditor_json(auditor) for auditor in self.auditors.values()],
            "first": [auditor_json(auditor) for auditor in self.first],
            "applied": [request.to_json() for request in self.applied],
        }

    def apply(self, request: Request) -> Registry:
        """The registry after a request that the right people signed.

        Raises:
            KeyStoreError: it changes another registry, lacks a signature, or makes no sense.
        """
        if request.registry != self.digest:
            raise KeyStoreError("the request was made for another state of the list of auditors")
        self._check_signed(request)
        name, auditors, signers = request.auditor.name, dict(self.auditors), dict(self.signers)
        known = auditors.get(name)
        if request.act == SIGNER:
            self._check_new(name, request.auditor.signer)
            signers[name] = Signer(name, request.auditor.signer)
        elif request.act == ADD:
            self._check_new(name, request.auditor.signer, request.auditor.id)
            auditors[name] = request.auditor
        elif known is None or known.public != request.auditor.public:
            raise KeyStoreError("the request is about an auditor who is not registered")
        elif request.act == WIDEN:
            if not request.auditor.scope.includes(known.scope):
                raise KeyStoreError("the request takes from the auditor's scope; remove, then add")
            auditors[name] = replace(known, scope=request.auditor.scope, since=request.minute)
        else:
            del auditors[name]
        if not any(auditor.scope.everything for auditor in auditors.values()):
            raise KeyStoreError("nobody would be left who may read everything")
        return replace(self, auditors=auditors, signers=signers, applied=(*self.applied, request))

    def continues(self, earlier: Registry) -> bool:
        """Whether this is an earlier registry and what was signed since, and not another one."""
        began = [(auditor.id, auditor.scope, auditor.signer) for auditor in self.first]
        return (
            began == [(auditor.id, auditor.scope, auditor.signer) for auditor in earlier.first]
            and self.applied[: len(earlier.applied)] == earlier.applied
        )

    def _check_new(self, name: str, signer: bytes, auditor_id: str | None = None) -> None:
        """One person, one name, one key: nobody is both halves of the four eyes."""
        names = self.auditors.keys() | self.signers.keys()
        keys = {a.signer for a in self.auditors.values()} | {
            s.public for s in self.signers.values()
        }
        ids = {auditor.id for auditor in self.auditors.values()}
        if name in names or (signer and signer in keys) or auditor_id in ids:
            raise KeyStoreError("this name or key is registered already")

    def _check_signed(self, request: Request) -> None:
        """Four eyes: an auditor who may read all that is granted, and a second person.

        The very first second person is named by an auditor alone: there is no other yet.
        """
        scope = EVERYTHING if request.act == SIGNER else request.auditor.scope
        auditor = any(
            a.name != request.auditor.name and a.scope.includes(scope) and request.has(a.signer)
            for a in self.auditors.values()
        )
        if not auditor:
            raise KeyStoreError(
                "the request lacks the signature of an auditor who may read what it grants"
            )
        if request.act == SIGNER and not self.signers:
            return
        if not any(request.has(signer.public) for signer in self.signers.values()):
            raise KeyStoreError("the request lacks the signature of a second person")


def auditor_json(auditor: Auditor) -> dict[str, Any]:
    """One entry of the list; what older versions do not know is left out where it says nothing."""
    value: dict[str, Any] = {
        "name": auditor.name,
        "id": auditor.id,
        "public_key": _b64(auditor.public),
    }
    if auditor.scope != EVERYTHING:
        value["roles"], value["matters"] = (
            sorted(auditor.scope.roles),
            sorted(auditor.scope.matters),
        )
    if auditor.signer:
        value["signer"] = _b64(auditor.signer)
    if auditor.since:
        value["since"] = auditor.since
    return value


def parse_auditor(value: Any, *, signer: bool = False) -> Auditor:
    """Read one entry. ``signer``: of a second person, who has no key to read with.

    Raises:
        FormatError: it is none.
    """
    try:
        public = unbase64(value["public_key"])
        scope = Scope(_names(value, "roles"), _names(value, "matters"))
        signs = unbase64(value.get("signer", ""))
        name, since = value["name"], value.get("since", "")
    except (KeyError, TypeError, AttributeError, NoteError):
        raise FormatError("not an auditor's public key") from None
    if not signer:
        check_public(public)
    shapes = (
        isinstance(name, str) and NAME.fullmatch(name),
        isinstance(since, str),
        not signs or (len(signs) == _ED25519_BYTES and is_strict(signs)),
        not signer or (not public and signs),
        scope.roles and scope.matters,
    )
    if not all(shapes):
        raise FormatError("not an auditor's public key")
    return Auditor(name, public, scope, signs, since)


def _names(value: Mapping[str, Any], key: str) -> frozenset[str]:
    names = value.get(key, [ANY])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError("not an auditor's scope")
    return frozenset(names)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
