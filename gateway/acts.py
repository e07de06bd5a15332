"""Administrative acts on record: the ledger of a home, opened beside a running gateway or alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from audit.errors import AuditError
from audit.ledger import Ledger, Options
from audit.record import Entry
from gateway.clock import utc_now
from gateway.domain import Clock
from gateway.errors import LedgerUnavailableError, SettingsError
from gateway.settings import Settings, home_from_environment, load


def open_ledger(settings: Settings, home: Path, clock: Clock, *, reserve: int = 0) -> Ledger:
    """Open the ledger of a home. ``reserve``: see ``Options``.

    Raises:
        SettingsError: there is none, or nobody could read it.
    """
    options = Options(
        checkpoint_records=settings.ledger.checkpoint_records,
        checkpoint_seconds=settings.ledger.checkpoint_s,
        reserve=reserve,
    )
    try:
        return Ledger.open(home, clock=clock, options=options)
    except AuditError as error:
        raise SettingsError(f"The ledger cannot be opened: {error}.") from None


def record_event(event: str, features: Mapping[str, object], sealed: Mapping[str, object]) -> None:
    """Put an administrative act on record from a command line, beside a running gateway or not.

    Raises:
        SettingsError: the home has no usable ledger.
        LedgerUnavailableError: it is not durable.
    """
    home = home_from_environment()
    settings = load(home)
    ledger = open_ledger(settings, home, utc_now)
    try:
        entry = Entry(
            event=event,
            features={"role": "operator", **features},
            sealed=sealed,
            retain_months=settings.ledger.retain_months,
        )
        ledger.submit(entry).result()
    except AuditError:
        raise LedgerUnavailableError from None
    finally:
        ledger.close()
