"""The list of auditors as a file: read signature by signature, written whole, watched (§7.7)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audit.auditors import Registry, Request, parse_auditor
from audit.errors import FormatError, KeyStoreError
from audit.recipients import Auditor


def load_registry(path: Path) -> Registry:
    """Read the registry and work out who may read, signature by signature.

    Raises:
        KeyStoreError: no list, an unreadable or empty one, or one that was changed by somebody
            who was not allowed to (fail closed).
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        if value["v"] == 1:
            first = [parse_auditor(entry) for entry in value["auditors"]]
            listed, requests = None, []
        else:
            first = [parse_auditor(entry) for entry in value["first"]]
            listed = value["auditors"]
            requests = [Request.parse(entry) for entry in value["applied"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError):
        raise KeyStoreError("the list of auditors is missing or unreadable") from None
    if value["v"] not in (1, 2):
        raise KeyStoreError("the list of auditors is of a version that is not known here")
    if not first:
        raise KeyStoreError("no auditor's key is registered: nobody could read this log")
    registry = Registry.of(first)
    for request in requests:
        registry = registry.apply(request)
    if listed is not None and listed != registry.to_json()["auditors"]:
        raise KeyStoreError("the list of auditors is not what was signed")
    return registry


def first_registry(path: Path, auditors: Sequence[Auditor]) -> Registry:
    """The registry that a home begins with: these auditors, or those it has.

    One who was registered before there were signatures is given the key that requests of theirs
    are signed with, while nothing was signed yet. That is all that is changed here.

    Raises:
        KeyStoreError: another auditor would be added, or a key exchanged.
    """
    if not path.exists():
        return Registry.of(auditors)
    registry = load_registry(path)
    known = {auditor.id: auditor for auditor in registry.auditors.values()}
    for auditor in auditors:
        old = known.get(auditor.id)
        if old is None:
            raise KeyStoreError("an auditor is added with `auditlog auditors request`, not by init")
        if auditor.signer in (b"", old.signer):
            continue
        if old.signer or registry.applied:
            raise KeyStoreError("the auditor is registered with another key to sign with")
        known[auditor.id] = replace(old, signer=auditor.signer)
    return registry if registry.applied else Registry.of(tuple(known.values()))


def save_registry(path: Path, registry: Registry) -> None:
    """Write the registry whole or not at all. Changing it is an act to put on record first."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(registry.to_json(), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Watched:
    """The auditors of a file as they are now; reads it again when it was replaced.

    Only what was signed since is taken; another list takes a start, which records its digest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._mark()
        self._registry = load_registry(path)
        self.first = tuple(self._registry.auditors.values())

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            raise KeyStoreError("the list of auditors is missing or unreadable") from None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def newest(self) -> Sequence[Auditor] | None:
        """The auditors, where they may have changed since this was last asked, else None.

        Raises:
            KeyStoreError: the list cannot be used any more; nothing may be sealed.
        """
        mark = self._mark()
        if mark == self._seen:
            return None
        registry = load_registry(self._path)
        if not registry.continues(self._registry):
            raise KeyStoreError("the list of auditors was exchanged for another one")
        self._registry, self._seen = registry, mark
        return tuple(registry.auditors.values())
