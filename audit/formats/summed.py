"""Files that are summed while they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True, slots=True)
class Sum:
    """What a file's bytes add up to; digests in hex."""

    size: int
    sha256: str
    sha512: str


class Summing:
    """A file that is written once, from its start."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size, self._short, self._long = 0, hashlib.sha256(), hashlib.sha512()

    def write(self, data: bytes) -> int:
        self._size += len(data)
        self._short.update(data)
        self._long.update(data)
        return self._file.write(data)

    def sum(self) -> Sum:
        return Sum(self._size, self._short.hexdigest(), self._long.hexdigest())


class Sums:
    """Opens files to write and knows the sums of those that are complete, by name."""

    def __init__(self, opener: Callable[[str], AbstractContextManager[IO[bytes]]]) -> None:
        self._open = opener
        self.known: dict[str, Sum] = {}

    @contextmanager
    def open(self, name: str) -> Iterator[Summing]:
        with self._open(name) as file:
            summing = Summing(file)
            yield summing
        self.known[name] = summing.sum()

    def write(self, name: str, data: bytes) -> None:
        with self.open(name) as file:
            file.write(data)
