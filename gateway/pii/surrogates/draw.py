"""Choices that look random and are the same again: drawn from a secret and a conversation.

No state: what is drawn for a value depends on the key and on what is asked, so a conversation that
comes again with more turns draws the same. The key lives in memory only; without it nothing
leads from a surrogate to its value (45 CFR 164.514(c): surrogates are no codes to be kept).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.domain import Prompt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws under ``key``, which ``conversation_key`` makes."""

    key: bytes = field(repr=False)

    def number(self, *what: str) -> int:
        """64 bits for ``what``."""
        return int.from_bytes(self._digest(what)[:8], "big")

    def stream(self, *what: str) -> Iterator[int]:
        """512 numbers under 65,536 for ``what``."""
        octets = hashlib.shake_256(self._digest(what)).digest(1024)
        return (int.from_bytes(octets[i : i + 2], "big") for i in range(0, len(octets), 2))

    def order(self, items: Sequence[T], *what: str) -> list[T]:
        """The items (at most 512) in an order of their own for ``what``."""
        keyed = zip(self.stream(*what), range(len(items)), items, strict=False)
        return [item for *_, item in sorted(keyed, key=lambda each: each[:2])]

    def _digest(self, what: Sequence[str]) -> bytes:
        said = b"".join(
            len(part).to_bytes(4, "big") + part
            for part in (each.encode("utf-8", "surrogatepass") for each in what)
        )
        return hmac.digest(self.key, said, "sha256")


def conversation_key(secret: bytes, scope: bytes, beginning: Sequence[str]) -> bytes:
    """The key of a conversation: of one process, one scope (who, matter), one beginning."""
    said = json.dumps([scope.hex(), *beginning]).encode()
    return hmac.digest(secret, b"surrogates\0" + said, "sha256")


def beginning(prompt: Prompt) -> list[str]:
    """What tells a conversation from others: its messages up to the user's first one.

    A conversation that goes on keeps its beginning. One without any message of a user has none
    but its first message, so that it too can go on.
    """
    first = next((i for i, m in enumerate(prompt.messages) if m.role == "user"), 0)
    return [f"{m.role}\0{m.name or ''}\0{m.content or ''}" for m in prompt.messages[: first + 1]]
