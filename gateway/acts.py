"""Administrative acts on record, from a command line, beside a running gateway or without one."""

from __future__ import annotations

from collections.abc import Mapping

from audit.errors import AuditError
from audit.ledger import record_act
from audit.record import Entry
from gateway.errors import LedgerUnavailableError
from gateway.settings import home_from_environment, load


def record_event(event: str, features: Mapping[str, object], sealed: Mapping[str, object]) -> None:
    """Put one act of an operator on record in the home that the environment names.

    Raises:
        SettingsError: the home has no settings.
        LedgerUnavailableError: it is not durable.
    """
    home = home_from_environment()
    entry = Entry(
        event=event,
        features={"role": "operator", **features},
        sealed=sealed,
        retain_months=load(home).ledger.retain_months,
    )
    try:
        record_act(home, entry)
    except AuditError:
        raise LedgerUnavailableError("The act could not be put on record.") from None
