"""Which files a run masks, as what, and where each of them goes.

Links are not followed, and what is no plain file of a known format is refused by its name. Names
of files and folders are personal data as well: one that tells something becomes a number, which
follows from the order of the names alone, so that a second run gives the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.masking.formats import SUFFIXES

Telling = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Job:
    """One file: where it is, where it goes, and the name it gets should its own be telling."""

    source: Path
    format: str
    folder: Path
    name: str
    number_name: str
    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A file (or folder) that is not masked, and why."""

    source: Path
    reason: str


def plan(
    paths: Sequence[Path], out: Path, kind: str | None, telling: Telling
) -> list[Job | Refused]:
    """Every file of ``paths`` in a fixed order; ``kind`` is a format instead of that by suffix."""
    found: list[Job | Refused] = []
    namer = _Namer(telling)
    for path in paths:
        found += _of(path, out, kind, namer)
    return found


def _of(path: Path, out: Path, kind: str | None, namer: _Namer) -> Iterator[Job | Refused]:
    try:
        mode = path.lstat().st_mode
    except OSError:
        yield Refused(path, "It cannot be read.")
        return
    if not stat.S_ISDIR(mode):
        yield _file(path, out, kind, namer)
        return
    name = path.resolve().name
    failed: list[OSError] = []
    folders = {path: out / namer.folder(path, name)}
    for parent, children, files in os.walk(path, onerror=failed.append):
        here = Path(parent)
        links = [child for child in children if (here / child).is_symlink()]
        children[:] = sorted(
            child for child in children if child not in links and not _same(here / child, out)
        )
        for child in children:
            folders[here / child] = folders[here] / namer.folder(here / child, child)
        for name in sorted([*files, *links]):
            yield _file(here / name, folders[here], kind, namer)
    for error in failed:
        yield Refused(Path(error.filename), "It cannot be read.")


def _file(path: Path, folder: Path, kind: str | None, namer: _Namer) -> Job | Refused:
    number = namer.number(path)
    try:
        status = path.lstat()
    except OSError:
        return Refused(path, "It cannot be read.")
    if stat.S_ISLNK(status.st_mode):
        return Refused(path, "A symbolic link is not followed.")
    if not stat.S_ISREG(status.st_mode):
        return Refused(path, "It is no file.")
    suffix = path.suffix.lower()
    format_ = kind or SUFFIXES.get(suffix)
    if format_ is None:
        return Refused(path, "Its suffix is of no text format; --as names one.")
    known = path.suffix if suffix in SUFFIXES else ""
    return Job(path, format_, folder, path.name, f"{number}{known}", status.st_size)


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


class _Namer:
    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._files = 0
        self._folders = 0
        self._known: dict[str, bool] = {}

    def number(self, path: Path) -> str:
        """A name for a file, but for the suffix, that no sibling has."""
        self._files += 1
        name = f"file-{self._files}"
        while (path.parent / f"{name}{path.suffix}").exists():
            name += "-"
        return name

    def folder(self, path: Path, name: str) -> str:
        """The name of a folder as it is, or a number that no sibling has."""
        self._folders += 1
        if name not in self._known:
            self._known[name] = self._telling(name)
        if not self._known[name]:
            return name
        number = f"folder-{self._folders}"
        while (path.parent / number).exists():
            number += "-"
        return number
