"""The child's end of the pipe to the gateway."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator

from gateway.engine import wire

_STDIN, _STDOUT = 0, 1


class Channel:
    """The pipe to the gateway. What comes in is read at once, by a thread, and waits in order.

    ``heard`` is called by that thread behind each message, and with None when the gateway is gone.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[wire.ToChild | Exception] = queue.SimpleQueue()
        self.heard: Callable[[wire.ToChild | None], None] = lambda _: None

    def listen(self) -> None:
        """Begin to read. The wall MUST stand: a thread that is there before it stays outside."""
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: wire.FromChild) -> None:
        data = memoryview(wire.pack(message))
        while data:
            data = data[os.write(_STDOUT, data) :]

    def receive(self, within_s: float | None) -> list[wire.ToChild]:
        """Return the messages that are there; wait for the first, None: as long as it takes.

        Raises:
            EOFError: the gateway is gone.
            WireError: it broke the protocol.
        """
        messages: list[wire.ToChild] = []
        try:
            wait = within_s is None or within_s > 0
            messages.append(self._taken(self._waiting.get(wait, within_s)))
            while True:
                messages.append(self._taken(self._waiting.get_nowait()))
        except queue.Empty:
            return messages

    @staticmethod
    def _taken(message: wire.ToChild | Exception) -> wire.ToChild:
        if isinstance(message, Exception):
            raise message
        return message

    def _listen(self) -> None:
        try:
            for message in _messages():
                self._waiting.put(message)
                self.heard(message)
        except (EOFError, OSError, wire.WireError) as error:
            self._waiting.put(error)
            self.heard(None)


def _messages() -> Iterator[wire.ToChild]:
    """Raises: EOFError: the gateway is gone."""
    buffer, head = bytearray(), wire.HEADER_BYTES
    while True:
        while len(buffer) >= head:
            end = head + wire.length(bytes(buffer[:head]))
            if len(buffer) < end:
                break
            yield wire.read_to_child(bytes(buffer[head:end]))
            del buffer[:end]
        data = os.read(_STDIN, 1 << 16)
        if not data:
            raise EOFError
        buffer += data
