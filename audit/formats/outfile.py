"""Files that are handed out: private, whole or not there, and never over another."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from audit.errors import LedgerError


@contextmanager
def whole_file(out: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that gets its name when it is complete and synced.

    Raises:
        LedgerError: something stands at its place, also if it came there meanwhile.
    """
    if out.exists() or out.is_symlink():
        raise LedgerError("there is something at the place of the export already")
    part = out.with_name(f".{out.name[:200]}.{secrets.token_hex(8)}.part")
    try:
        with private_file(part) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(part, out)
    except FileExistsError:
        raise LedgerError("there is something at the place of the export already") from None
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, out: Path) -> None:
    try:
        os.link(part, out)  # unlike a rename, it never replaces
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, as on memory sticks
        if out.exists():
            raise FileExistsError from None
        part.rename(out)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder of mode 0700 that gets its name when it is complete.

    Raises:
        LedgerError: something stands at its place.
    """
    if out.exists() or out.is_symlink():
        raise LedgerError("there is something at the place of the export already")
    part = out.with_name(f".{out.name[:200]}.{secrets.token_hex(8)}.part")
    part.mkdir(mode=0o700, parents=True)
    try:
        yield part
        if out.exists():
            raise LedgerError("there is something at the place of the export already")
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def private_file(path: Path) -> IO[bytes]:
    """A new file of mode 0600."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")
