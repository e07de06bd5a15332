"""The child's end of the pipe to the gateway."""

from __future__ import annotations

import os
import select

from gateway.engine import wire

_STDIN, _STDOUT = 0, 1


class CancelledError(Exception):
    """The gateway no longer wants this answer, or is gone."""


class Channel:
    """The pipe to the gateway. Single-threaded: cancellation is polled between tokens."""

    def __init__(self) -> None:
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(_STDIN, select.POLLIN | select.POLLHUP)

    def send(self, message: wire.FromChild) -> None:
        data = memoryview(wire.pack(message))
        while data:
            data = data[os.write(_STDOUT, data) :]

    def receive(self) -> wire.ToChild:
        """Wait for the next message.

        Raises:
            EOFError: the gateway is gone.
        """
        while True:
            message = self._take()
            if message is not None:
                return message
            self._fill()

    def check(self, generation: int) -> None:
        """Raise ``CancelledError`` when the gateway has cancelled ``generation``."""
        while self._poll.poll(0):
            self._fill()
            message = self._take()
            if isinstance(message, wire.Cancel) and message.id == generation:
                raise CancelledError

    def _fill(self) -> None:
        data = os.read(_STDIN, 1 << 16)
        if not data:
            raise EOFError
        self._buffer += data

    def _take(self) -> wire.ToChild | None:
        head = wire.HEADER_BYTES
        if len(self._buffer) < head:
            return None
        end = head + wire.length(self._buffer[:head])
        if len(self._buffer) < end:
            return None
        body, self._buffer = self._buffer[head:end], self._buffer[end:]
        return wire.read_to_child(body)
