"""The texts of policies that records name: found by their digests, never by their names.

A record names a policy as ``policy:NAME`` in ``features.digests``, by the SHA-256 of its file's
bytes (audit-format.md §3.1). Only texts that are still there can be handed out: the home's own, and
those of this distribution.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = "policies"
_MAX_TEXT = 4 << 20
_SHOWN_OF_DIGEST = 12


def texts_of(home: Path) -> Iterator[bytes]:
    """The policy files of a home, then those that come with this distribution."""
    for folder in (home / FOLDER, importlib.resources.files(FOLDER)):
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".yaml") and file.is_file():
                with file.open("rb") as stream:
                    text = stream.read(_MAX_TEXT + 1)
                if len(text) <= _MAX_TEXT:
                    yield text


class PolicyTexts:
    """Candidates, and those of them that a record named: file name to text."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._wanted = {hashlib.sha256(text).hexdigest(): text for text in texts}
        self.found: dict[str, bytes] = {}
        self._pattern = self._of_wanted()

    def _of_wanted(self) -> re.Pattern[bytes]:
        # Records are canonical (§2.1), so a name and its digest stand in one spelling.
        digests = "|".join(self._wanted)
        return re.compile(rf'"policy:([a-z0-9][a-z0-9._-]{{0,62}})":"({digests})"'.encode())

    def look(self, body: bytes) -> None:
        """Take the texts that this record names."""
        if not self._wanted:
            return
        for match in self._pattern.finditer(body):
            name, digest = match[1].decode(), match[2].decode()
            text = self._wanted.pop(digest, None)
            if text is not None:
                self.found[f"{FOLDER}/{name}-{digest[:_SHOWN_OF_DIGEST]}.yaml"] = text
                self._pattern = self._of_wanted()
                break
        else:
            return
        self.look(body)
