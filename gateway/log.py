"""Logging: constant event names, and only keys of an allow-list, as JSON lines on stderr.

Personal data cannot reach a log because nothing that could hold it is accepted: a processor
drops every key that is not listed here, exceptions are reduced to their class, and messages of
other libraries are reduced to the name of their logger (their texts may quote what they parse).
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

ALLOWED_KEYS = frozenset(
    {
        "code",
        "count",
        "duration_ms",
        "entity_counts",
        "error",
        "event",
        "finish",
        "host",
        "index",
        "isolation",
        "level",
        "logger",
        "model_digest",
        "policies",
        "port",
        "purpose",
        "reasons",
        "request_id",
        "role",
        "stage",
        "status",
        "timestamp",
        "verdict",
        "version",
    }
)


def _allow_listed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    exc_info = event.pop("exc_info", None)
    if isinstance(exc_info, BaseException):
        event["error"] = type(exc_info).__name__
    elif exc_info:
        kind = sys.exc_info()[0]
        event["error"] = kind.__name__ if kind else "unknown"
    return {key: value for key, value in event.items() if key in ALLOWED_KEYS}


class _NameOnly(logging.Handler):
    """Turns a record of a foreign library into its logger's name and level, without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        event = structlog.get_logger().bind(logger=record.name)
        if record.exc_info and record.exc_info[0]:
            event = event.bind(error=record.exc_info[0].__name__)
        event.warning("library_message")


def configure(stream: TextIO | None = None) -> None:
    """Set up logging for this process. Call once, from an entry point."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _allow_listed,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_NameOnly(level=logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread


def _uncaught(kind: type[BaseException], _error: BaseException, _trace: object) -> None:
    """Report what nobody caught by its class: the message of an exception may quote a value."""
    structlog.get_logger().error("uncaught", error=kind.__name__)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    structlog.get_logger().error("uncaught", error=unraisable.exc_type.__name__)


def _in_thread(args: threading.ExceptHookArgs) -> None:
    structlog.get_logger().error("uncaught", error=args.exc_type.__name__)
