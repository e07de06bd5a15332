"""Every error of the log, in one tree, ordered by who is to blame.

Messages are constants or name published fields: none carries text of a request, a key or a
value, so any of them may be logged. ``code`` is stable.
"""

from __future__ import annotations

from typing import ClassVar


class AuditError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "audit_error"


# --- the caller ---------------------------------------------------------------------------


class ScopeError(AuditError):
    """An auditor's key does not reach as far as what was asked for."""

    code = "scope"


class RecordError(AuditError):
    """An entry that may not be written: free text in its readable part, an unknown field."""

    code = "record"


# --- bytes that were read -------------------------------------------------------------------


class FormatError(AuditError):
    """Bytes that are not what their place promises (a note, a record, a bundle, a key file)."""

    code = "format"


class NoteError(FormatError):
    """A signed note that is malformed or that no known key signed."""

    code = "note"


class WitnessError(AuditError):
    """A witness does not cosign: the head does not extend what it holds, or is of another log."""

    code = "witness"


class StampError(AuditError):
    """A time stamp on something else, or one that no named authority signed."""

    code = "stamp"


class ProofError(AuditError):
    """A Merkle proof that does not prove what it claims."""

    code = "proof"


class SealError(AuditError):
    """A sealed part that these keys do not open."""

    code = "seal"


class MissingError(AuditError):
    """Bytes that should be there and are not: a file, a record, a key that was destroyed."""

    code = "missing"


class NothingChosenError(MissingError):
    """No record is what was asked for."""

    code = "nothing_chosen"


# --- the site -----------------------------------------------------------------------------


class KeyStoreError(AuditError):
    """The key store or the list of auditors cannot be used. Nothing may be written."""

    code = "key_store"


class StaleLockError(KeyStoreError):
    """The key store was locked, unlocked or rotated by another process: look again, once more."""


class LedgerError(AuditError):
    """The ledger cannot be written. Whoever waits for durability MUST NOT go on."""

    code = "ledger"
