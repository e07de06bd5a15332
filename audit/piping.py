"""What writes a file, turned around: its bytes are taken while it writes, a piece at a time."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, cast

_PIECE_BYTES = 64 << 10
_WAITING = 4  # pieces made before anybody asks
_LOOK_S = 0.5


class _AbandonedError(Exception):
    """Nobody takes what is written any more."""


class _Pipe(io.RawIOBase):
    """A file that cannot be rewound. It waits while nobody takes what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
        self.abandoned = threading.Event()
        self._held, self._at = bytearray(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: object, /) -> int:
        taken = bytes(cast("bytes", data))
        self._held += taken
        self._at += len(taken)
        if len(self._held) >= _PIECE_BYTES:
            self._put(bytes(self._held))
            self._held.clear()
        return len(taken)

    def feed(self, write: Callable[[IO[bytes]], object]) -> None:
        """Let ``write`` write all of it; what it raises is for who takes the pieces."""
        try:
            write(cast("IO[bytes]", self))
            self._put(bytes(self._held))
            self._put(None)
        except _AbandonedError:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised where the pieces are taken
            with suppress(_AbandonedError):
                self._put(error)

    def _put(self, piece: bytes | BaseException | None) -> None:
        while not self.abandoned.is_set():
            with suppress(queue.Full):
                self.pieces.put(piece, timeout=_LOOK_S)
                return
        raise _AbandonedError


def pulled(write: Callable[[IO[bytes]], object]) -> Iterator[bytes]:
    """The bytes that ``write`` writes, which has a thread of its own as long as they are taken.

    A piece is empty where none was ready for a while, so that whoever waits can think again.
    Closed before its end, ``write`` meets an error at what it writes next.

    Raises:
        Exception: whatever ``write`` raises.
    """
    pipe = _Pipe()
    thread = threading.Thread(target=pipe.feed, args=(write,), name="export", daemon=True)
    thread.start()
    try:
        while True:
            try:
                piece = pipe.pieces.get(timeout=_LOOK_S)
            except queue.Empty:
                piece = b""
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                return
            yield piece
    finally:
        pipe.abandoned.set()
        thread.join()
