"""Presidio, imported without what the gateway must not have.

Importing Presidio imports spaCy, and spaCy's package imports its command line: the model downloader
with its HTTP clients, a third of the time and 13 MiB of memory. A stand-in takes its place for the
moment of the import; nothing in use here calls it, and whoever imports ``spacy.cli`` later gets the
real one.
"""

from __future__ import annotations

import importlib
import logging
import sys
from threading import Lock
from types import ModuleType

_LOCK = Lock()
_LOGGERS = ("presidio-analyzer", "decision_process")


def import_presidio() -> ModuleType:
    """Return ``presidio_analyzer.predefined_recognizers`` with Presidio's loggers silenced.

    Two of its recognizers log the text that they check, and importing it attaches a handler that
    writes to stderr.
    """
    with _LOCK:
        stand_ins = _stand_ins() if "spacy" not in sys.modules else {}
        sys.modules.update(stand_ins)
        try:
            predefined = importlib.import_module("presidio_analyzer.predefined_recognizers")
        finally:
            for name in stand_ins:
                sys.modules.pop(name, None)
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers[:] = [logging.NullHandler()]
            logger.propagate = False
            logger.setLevel(logging.CRITICAL + 1)
    return predefined


def _stand_ins() -> dict[str, ModuleType]:
    """``spacy/__init__.py`` takes ``info`` from ``spacy.cli.info`` and nothing else."""
    cli, info = ModuleType("spacy.cli"), ModuleType("spacy.cli.info")
    cli.__path__ = []
    info.info = None  # type: ignore[attr-defined]
    return {"spacy.cli": cli, "spacy.cli.info": info}
