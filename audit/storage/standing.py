"""Whether an open SQLite database still is the one at its path.

A file that was moved away, exchanged or deleted can be written to as before, and what is
acknowledged is gone with the last process that holds it (sqlite.org/howtocorrupt.html).
audit-format.md §8.5.
"""

from __future__ import annotations

from pathlib import Path


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


class Standing:
    """The identity of a database's file, and of its write-ahead log while a connection is held."""

    def __init__(self, path: Path | None) -> None:
        """None stands for a database that is no file of ours, and always stands."""
        # SQLite keeps its log beside the file that a link leads to.
        self._path = path.resolve() if path else None
        self._file = identity(self._path) if self._path else None
        self._log_file: tuple[int, int] | None = None
        self._lost = False

    def check(self, *, held: bool) -> None:
        """Before a write, and after its commit. ``held``: by a connection that stays open.

        Raises:
            OSError: a file is another one, now or before. What was committed may be nowhere.
        """
        if self._path is None:
            return
        if self._lost:
            raise FileNotFoundError
        self._lost = True  # until all is found as it was
        if identity(self._path) != self._file:
            raise FileNotFoundError
        if held:
            log = identity(self._path.with_name(self._path.name + "-wal"))
            if self._log_file not in {None, log}:
                raise FileNotFoundError
            self._log_file = log
        self._lost = False

    def let_go(self) -> None:
        """The connection was closed: where it was the last one, the next makes another log."""
        self._log_file = None
