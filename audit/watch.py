"""Live forwarding of each record's readable part to a local syslog or a file.

audit-format.md §12.1. The ledger is the queue: a thread of its own reads what was appended and
hands it on, so that no append ever waits for a sink, and a sink that is dead for a week loses
nothing. Where it was stands in a small file, written after a sink took a batch: after a crash the
last batch comes again, at least once. Sealed parts never leave: a line is made of the header
alone.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from audit.errors import AuditError, FormatError
from audit.record import Header, parse
from audit.store import Reader

BATCH = 256
_MOST_BATCHES = 64  # of one step, so that a long way to catch up holds up no shutdown
_FACILITY, _NOTICE, _ALERT = 13, 5, 1  # RFC 5424 §6.2.1: log audit
_SEND_S = 1.0
_LEAST_FILE = 4096

Reading = Callable[[], AbstractContextManager[Reader]]


class Sink(Protocol):
    """Takes lines. Raises OSError where it does not, and MAY have taken some of them."""

    def send(self, lines: list[Line]) -> None: ...


@dataclass(frozen=True, slots=True)
class Line:
    """One record's readable part as JSON in ASCII: no value of it can end a line."""

    event: str
    minute: str
    text: str
    index: int


def line(index: int, header: Header) -> Line:
    told = {
        "index": index,
        "origin": header.origin,
        "event": header.event,
        "minute": header.minute,
        "rid": header.rid,
        "boot": header.boot,
        "seq": header.seq,
        "features": dict(header.features),
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Line(header.event, header.minute, text, index)


# --- sinks ------------------------------------------------------------------------------------


class SyslogSink:
    """RFC 5424 over a Unix datagram socket (a path) or UDP to a loopback address and port."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self._address = address
        self._family = socket.AF_UNIX if isinstance(address, str) else _family(address[0])

    def send(self, lines: list[Line]) -> None:
        with closing(socket.socket(self._family, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(_SEND_S)
            sock.connect(self._address)
            for each in lines:
                try:
                    sock.send(message(each))
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
                    sock.send(message(_cut(each)))
                # A closed port answers at once on loopback, and tells with the next call only.
                failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    raise OSError(failed, os.strerror(failed))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def message(each: Line) -> bytes:
    """RFC 5424 §6: the event is the MSGID; an alert has severity 1."""
    severity = _ALERT if each.event.startswith("alert") else _NOTICE
    time = each.minute.removesuffix("Z") + ":00Z"
    head = f"<{_FACILITY * 8 + severity}>1 {time} - cloister - {each.event[:32]} -"
    return f"{head} {each.text}".encode("ascii")


def _cut(each: Line) -> Line:
    """For a datagram that is too large: the record's place, where all of it can be read."""
    told = json.dumps({"index": each.index, "event": each.event, "cut": True}, sort_keys=True)
    return Line(each.event, each.minute, told, each.index)


class FileSink:
    """A line a record, 0600; at ``most`` bytes the file becomes ``NAME.1``, ``keep`` of them."""

    def __init__(self, path: Path, *, most: int = 16 << 20, keep: int = 5) -> None:
        self._path, self._most, self._keep = path, max(most, _LEAST_FILE), keep

    def send(self, lines: list[Line]) -> None:
        file = self._open()
        try:
            for each in lines:
                data = each.text.encode("ascii") + b"\n"
                if file.tell() and file.tell() + len(data) > self._most:
                    file.close()
                    self._rotate()
                    file = self._open()
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.close()

    def _open(self) -> IO[bytes]:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW
        file = os.fdopen(os.open(self._path, flags, 0o600), "ab")
        os.fchmod(file.fileno(), 0o600)
        return file

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._old(number).replace(self._old(number + 1))
        if self._keep:
            self._path.replace(self._old(1))
        else:
            self._path.unlink()

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


# --- the forwarder ----------------------------------------------------------------------------


class Forwarder:
    """Hands records on to one sink. ``step`` does what there is to do and never raises.

    ``told`` is called with a constant and a number: ``forwarding_stopped`` (records that wait) when
    the sink first refuses, ``forwarding_resumed`` (records that had waited) when it takes again,
    ``forwarding_skipped`` (an index) for bytes that are no record.
    """

    def __init__(
        self, reading: Reading, sink: Sink, state: Path, told: Callable[[str, int], None]
    ) -> None:
        self._reading, self._sink, self._state, self._told = reading, sink, state, told
        self._next: int | None = None
        self._origin = ""
        self._down = False

    @property
    def stopped(self) -> bool:
        """Whether the sink refused what it was given last."""
        return self._down

    def step(self) -> int:
        """Forward what was appended; return how many records were taken. A thread of its own."""
        taken = 0
        for _ in range(_MOST_BATCHES):
            try:
                size, lines = self._waiting()
            except AuditError:
                return taken  # the ledger itself cannot be read: readiness tells
            if not lines and (self._next or 0) >= size:
                return taken
            first = self._next or 0
            if not self._handed_on(lines, size - first):
                return taken
            self._next = min(first + BATCH, size)
            self._save()
            taken += len(lines)
        return taken

    def _waiting(self) -> tuple[int, list[Line]]:
        with self._reading() as reader:
            size = reader.last()[0]
            if self._next is None:
                self._origin = reader.fact("vkey").decode("ascii", "replace")
                self._next = self._load()
            if self._next > size:  # the ledger of a backup: again rather than never
                self._next = 0
            lines = []
            for index in range(self._next, min(self._next + BATCH, size)):
                try:
                    lines.append(line(index, parse(reader.row(index).body).header))
                except FormatError:
                    self._told("forwarding_skipped", index)
            return size, lines

    def _handed_on(self, lines: list[Line], waiting: int) -> bool:
        try:
            self._sink.send(lines)
        except OSError:
            if not self._down:
                self._told("forwarding_stopped", waiting)
            self._down = True
            return False
        if self._down:
            self._told("forwarding_resumed", waiting)
        self._down = False
        return True

    def _load(self) -> int:
        try:
            found = json.loads(self._state.read_bytes())
            number, origin = found["next"], found["log"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return number if type(number) is int and number >= 0 and origin == self._origin else 0

    def _save(self) -> None:
        """A crash before this hands the batch on again; an unwritable disk does so, too."""
        fresh = self._state.with_name(self._state.name + ".new")
        with suppress(OSError):
            descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"log": self._origin, "next": self._next}, file)
            fresh.replace(self._state)


class Rounds:
    """Calls ``work`` every ``seconds`` in a thread, once more when it is closed, then ``last``."""

    def __init__(
        self, work: Callable[[], object], last: Callable[[], object], seconds: float = 1.0
    ) -> None:
        self._work, self._last, self._seconds = work, last, seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Return when the thread has ended. Idempotent."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing.wait(self._seconds):
                self._work()
            self._work()
        finally:
            self._last()
