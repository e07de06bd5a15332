"""What settings say of watching, as parts of ``audit``: sinks, thresholds, a thread for both."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from audit.alerts import Thresholds, Watched
from audit.errors import AuditError
from audit.ledger import Ledger
from audit.storage.place import place_of
from audit.store import LedgerStore
from audit.watch import FileSink, Forwarder, Rounds, Sink, SyslogSink
from gateway.settings import Settings

log = structlog.get_logger()

OPEN_INTENTS_S = 60.0


def thresholds(settings: Settings) -> Thresholds:
    watch = settings.watch
    return Thresholds(
        subjects=watch.subjects_per_day,
        denials=watch.denials_per_day,
        break_glass=watch.break_glass_per_day,
        open_intents=watch.open_intents,
    )


def start_watch(settings: Settings, home: Path, ledger: Ledger, watched: Watched) -> Rounds:
    """Begin to forward and to look for open intents. Close it before the ledger."""
    store = LedgerStore(place_of(home), readonly=True)
    forwarders = [
        Forwarder(store.reading, sink, home / f"watch-{name}.json", _tell)
        for name, sink in _sinks(settings, home).items()
    ]
    looked = time.monotonic()

    def work() -> None:
        nonlocal looked
        if time.monotonic() - looked >= OPEN_INTENTS_S:
            looked = time.monotonic()
            _look(ledger, watched)
        for forwarder in forwarders:
            forwarder.step()

    rounds = Rounds(work, last=store.close)
    rounds.start()
    return rounds


def _sinks(settings: Settings, home: Path) -> dict[str, Sink]:
    watch, sinks = settings.watch, dict[str, Sink]()
    address = watch.syslog_address()
    if address is not None:
        sinks["syslog"] = SyslogSink(address)
    if watch.file:
        sinks["file"] = FileSink(home / watch.file, most=watch.file_bytes, keep=watch.file_keep)
    return sinks


def _look(ledger: Ledger, watched: Watched) -> None:
    try:
        watched.check_open(ledger.open_intents())
    except AuditError:
        log.warning("open_intents_not_read")


def _tell(event: str, count: int) -> None:
    """``event`` is one of the forwarder's constants."""
    log.warning(event, count=count)
