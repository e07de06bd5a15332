"""One change of a home at a time, whichever process makes it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Wait until no other process changes the home's keys or list of auditors, and keep others out.

    The lock is on the folder and goes with the process, so that a killed one leaves none behind.
    It MUST NOT be taken twice by one thread: the second would wait for the first.
    """
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
