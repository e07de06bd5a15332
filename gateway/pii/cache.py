"""Findings of texts that were searched before, so that a conversation is not searched again.

Every turn of a conversation comes again with each request. Kept are offsets, types and scores: no
text, no digest of a text. A text is known by a MAC under a secret of this process, over it and the
scope it was asked in (who, matter, policies), so nobody learns from the time an answer takes what
another has asked (DESIGN §5). In memory only, bounded, ten minutes.
"""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.domain import Finding
from gateway.pii.port import Changed, Detector

LIFETIME_S = 600.0
MOST_TEXTS = 20_000
MOST_FINDINGS = 400_000
_SHORTEST = 40  # characters: below, a look costs as much as a search


@dataclass(frozen=True, slots=True)
class _Known:
    findings: tuple[Finding, ...]
    until: float


class FindingsCache:
    """Answers for a detector what it answered before. Thread-safe where the detector is.

    ``secret`` is random and of this process; ``now`` a monotonic clock in seconds.
    """

    def __init__(self, detector: Detector, secret: bytes, now: Callable[[], float]) -> None:
        self._detector = detector
        self._secret = secret
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._findings = 0

    def detect(
        self,
        texts: Sequence[str],
        language: str | None,
        scope: bytes,
        changed: Sequence[Changed | None] | None = None,
    ) -> list[tuple[Finding, ...]]:
        """As ``Detector.detect``; within one ``scope``, a text is searched once.

        Raises:
            DetectorError: as the detector. Nothing of the call is kept then.
        """
        places = changed or (None,) * len(texts)
        keys = [
            self._key(text, language, scope, near) for text, near in zip(texts, places, strict=True)
        ]
        answers = self._look_up(keys)
        missing = [index for index, answer in enumerate(answers) if answer is None]
        if missing:
            near = changed and [changed[index] for index in missing]
            found = self._detector.detect([texts[index] for index in missing], language, near)
            for index, findings in zip(missing, found, strict=True):
                answers[index] = findings
            self._keep([(keys[index], answers[index] or ()) for index in missing])
        return [answer or () for answer in answers]

    def flush(self) -> None:
        """Forget everything: a policy was applied or a key revoked."""
        with self._lock:
            self._known.clear()
            self._findings = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._known)

    def _key(
        self, text: str, language: str | None, scope: bytes, changed: Changed | None
    ) -> bytes | None:
        if len(text) < _SHORTEST:
            return None
        mac = hmac.new(self._secret, digestmod="sha256")
        # What was searched near changes only is no answer for the same text as a user's own.
        near = repr(changed if changed is None else [*changed]).encode()
        said = text.encode("utf-8", "surrogatepass")
        for part in (scope, (language or "").encode(), near, said):
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.digest()

    def _look_up(self, keys: Sequence[bytes | None]) -> list[tuple[Finding, ...] | None]:
        answers: list[tuple[Finding, ...] | None] = []
        with self._lock:
            now = self._now()
            for key in keys:
                known = None if key is None else self._known.get(key)
                if key is None or known is None or known.until <= now:
                    answers.append(None)
                else:
                    self._known.move_to_end(key)
                    answers.append(known.findings)
        return answers

    def _keep(self, found: Sequence[tuple[bytes | None, tuple[Finding, ...]]]) -> None:
        with self._lock:
            now = self._now()
            until = now + LIFETIME_S
            for key, findings in found:
                if key is None:
                    continue
                self._drop(key)
                self._known[key] = _Known(findings, until)
                self._findings += len(findings)
            while self._known and (
                len(self._known) > MOST_TEXTS
                or self._findings > MOST_FINDINGS
                or next(iter(self._known.values())).until <= now
            ):
                self._drop(next(iter(self._known)))

    def _drop(self, key: bytes) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._findings -= len(known.findings)
