"""Putting a masked file in its place: whole or not at all, for its owner alone.

Where the file system can, the file has no name before it is complete (``O_TMPFILE``), so that
nothing is left of a run that was killed. It never takes the place of another file unless told to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from gateway.errors import RequestError

_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


@dataclass(slots=True)
class Target:
    """A file in the making. ``put`` gives it its name; without that it is gone."""

    file: TextIO
    _folder: Path
    _force: bool
    _hidden: Path | None = field(default=None)

    def put(self, name: str) -> None:
        """Give the complete file its name in the folder.

        Raises:
            RequestError: there is a file of that name already.
            OSError: it could not be written to the end.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        final = self._folder / name
        if self._hidden is None and not self._force:
            self._link(final)
            return
        if self._hidden is None:
            hidden = _hidden_in(self._folder)
            self._link(hidden)
            self._hidden = hidden
        if self._force:
            self._hidden.replace(final)
        else:
            _take(final, self._hidden)
        self._hidden = None

    def _link(self, path: Path) -> None:
        own = f"/proc/self/fd/{self.file.fileno()}"  # open(2), O_TMPFILE
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # with a descriptor of the folder, or Python calls link(2), which does not follow
            os.link(own, path.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            raise RequestError(EXISTS) from None
        finally:
            os.close(folder)


EXISTS = "There is a file of that name already; --force replaces it."


@contextlib.contextmanager
def target(folder: Path, encoding: str, *, force: bool) -> Iterator[Target]:
    """A new file for ``folder``, which exists.

    Raises:
        OSError: it cannot be made.
    """
    hidden: Path | None = None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        hidden = _hidden_in(folder)
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding=encoding, newline="") as file:
        made = Target(file, folder, force, hidden)
        try:
            yield made
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), 0)  # what is still buffered has nowhere to go
            raise
        finally:
            if made._hidden is not None:  # noqa: SLF001 - one file, one owner
                made._hidden.unlink(missing_ok=True)  # noqa: SLF001


def _hidden_in(folder: Path) -> Path:
    return folder / f".cloister-{secrets.token_hex(8)}.part"


def _take(final: Path, hidden: Path) -> None:
    """Rename without replacing; a link is the one way that is atomic everywhere."""
    try:
        os.link(hidden, final, follow_symlinks=False)
    except FileExistsError:
        raise RequestError(EXISTS) from None
    except OSError:  # a file system without links
        if final.exists():
            raise RequestError(EXISTS) from None
        hidden.rename(final)
        return
    hidden.unlink()
