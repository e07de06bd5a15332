"""`gateway mask --jsonl`: rows in, rows out, in order, streaming; one record for the whole run.

A row is ``{"id", "text", "language"?}``; what comes back is ``{"id", "text", "entities"}``, or
``{"id", "error"}`` for a row that is bad or that may not be masked: nothing else is lost, and the
exit status is 1 at the end. A row is not written before it is masked; none is held back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import msgspec

from gateway import evidence
from gateway.acts import record_event
from gateway.app import policies_in_force, protector
from gateway.clock import utc_now
from gateway.domain import Category, Decision, Finding, Principal, Purpose, Role
from gateway.errors import GatewayError, PolicyDeniedError
from gateway.pii.tables import load as tables
from gateway.policy.decide import PolicySet, admit, decide
from gateway.protect import Protected, Protector
from gateway.settings import home_from_environment, load

BAD_ROW = "bad_row"
_LINE_LIMIT = 16 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str | int
    text: str
    language: str | None = None


class _Id(msgspec.Struct, frozen=True):
    """As much of a bad row as can be named in its error."""

    id: str | int | None = None


_ROW = msgspec.json.Decoder(Row)
_ID = msgspec.json.Decoder(_Id)


class Run:
    """One run: the principal is the operator at the terminal, under the rules of a role."""

    def __init__(self, guard: Protector, policies: PolicySet, role: Role, purpose: Purpose) -> None:
        self._guard = guard
        self._policies = policies
        self._principal = Principal("operator", role, frozenset({purpose}), purpose)
        self._purpose = purpose
        self.rows: Counter[str] = Counter()
        self.findings: list[Finding] = []
        gate = admit(policies, principal=self._principal, purpose=purpose, now=utc_now())
        if gate.denied:
            raise PolicyDeniedError

    @property
    def detector_digest(self) -> str:
        return self._guard.detector_digest

    @property
    def categories_digest(self) -> str:
        return self._guard.categories_digest

    def take(self, line: bytes) -> bytes:
        """Return the row for one line, an error row where it cannot be masked."""
        try:
            row = _ROW.decode(line)
            row.text.encode()  # lone surrogates cannot be written back
        except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
            return self._error(_id_of(line), BAD_ROW)
        try:
            return self._masked(row)
        except GatewayError as error:
            return self._error(row.id, error.code)
        except Exception:  # noqa: BLE001 - whatever it is, the other rows are not lost for it
            return self._error(row.id, GatewayError.code)

    def protect(self, text: str, language: str | None = None) -> tuple[str, Protected]:
        """One text as this run masks it.

        Raises: as ``Protector.protect_text``.
        """
        return self._guard.protect_text(text, self._decide, language)

    def _masked(self, row: Row) -> bytes:
        text, protected = self.protect(row.text, row.language)
        if protected.masked is None:
            return self._error(row.id, PolicyDeniedError.code)
        self.rows["masked"] += 1
        self.findings += protected.told
        entities = [
            {
                "entity_type": r.entity_type,
                "start": r.start,
                "end": r.end,
                "score": round(r.score, 4),
                "operator": r.operator.name.lower(),
                "replacement": r.text,
            }
            for r in protected.replacements[0]
        ]
        return _encode({"id": row.id, "text": text, "entities": entities})

    def _decide(self, findings: Sequence[Finding], categories: frozenset[Category]) -> Decision:
        return decide(
            self._policies,
            principal=self._principal,
            purpose=self._purpose,
            findings=findings,
            now=utc_now(),
            categories=categories,
        )

    def _error(self, row_id: str | int | None, code: str) -> bytes:
        self.rows["error"] += 1
        return _encode({"id": row_id, "error": code})


def mask_jsonl(
    source: BinaryIO,
    target: BinaryIO,
    role: Role,
    purpose: Purpose,
    added: Sequence[str] = (),
) -> int:
    """Mask every row of ``source`` into ``target``; return the exit status.

    Raises:
        GatewayError: the run cannot start, or cannot be put on record.
    """
    home = home_from_environment()
    settings = load(home)
    policies = policies_in_force(settings, home).plus(added)
    run = Run(protector(settings, home, utc_now), policies, role, purpose)
    digests = evidence.digests(
        policies.refs,
        detector=run.detector_digest,
        categories=run.categories_digest,
        tables=tables.digest(),
    )
    who: Mapping[str, object] = {"purpose": purpose.value, "digests": digests}
    try:
        for line in _lines(source):
            target.write(run.take(line) + b"\n")
            target.flush()
    finally:
        sealed = {"role": role.value, "rows": dict(run.rows)}
        record_event("mask-run", {**who, **evidence.found(run.findings)}, sealed)
    return 1 if run.rows["error"] else 0


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines that are not blank; of one that is too long only the beginning (a bad row)."""
    while line := source.readline(_LINE_LIMIT):
        if not line.endswith(b"\n") and len(line) == _LINE_LIMIT:
            while (rest := source.readline(_LINE_LIMIT)) and not rest.endswith(b"\n"):
                pass
            yield b"!"
            continue
        if line.strip():
            yield line


def _id_of(line: bytes) -> str | int | None:
    try:
        return _ID.decode(line).id
    except (ValueError, RecursionError):
        return None
