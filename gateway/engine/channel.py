"""The child's end of the pipe to the gateway."""

from __future__ import annotations

import os
import select

from gateway.engine import wire

_STDIN, _STDOUT = 0, 1


class Channel:
    """The pipe to the gateway. Single-threaded: it is listened to between two batches."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(_STDIN, select.POLLIN | select.POLLHUP)

    def send(self, message: wire.FromChild) -> None:
        data = memoryview(wire.pack(message))
        while data:
            data = data[os.write(_STDOUT, data) :]

    def receive(self, within_s: float | None) -> list[wire.ToChild]:
        """Return the messages that are there; wait for the first, None: as long as it takes.

        Raises:
            EOFError: the gateway is gone.
        """
        messages = self._take_all()
        wait = 0 if messages else within_s
        while self._poll.poll(None if wait is None else wait * 1000):
            data = os.read(_STDIN, 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
            messages += self._take_all()
            wait = 0 if messages else within_s
        return messages

    def _take_all(self) -> list[wire.ToChild]:
        messages: list[wire.ToChild] = []
        head = wire.HEADER_BYTES
        while len(self._buffer) >= head:
            end = head + wire.length(bytes(self._buffer[:head]))
            if len(self._buffer) < end:
                break
            messages.append(wire.read_to_child(bytes(self._buffer[head:end])))
            del self._buffer[:end]
        return messages
