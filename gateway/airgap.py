"""The in-process half of promise 1: refuse and count every address that the settings do not name.

An audit hook (PEP 578) sees each connection, datagram, listener and name lookup that Python code
starts, before the system call is made. It is a tripwire, not a sandbox: it shows a mistake of ours
or of a library, and stops it. It does not see native code that makes system calls of its own, a
descriptor that was connected elsewhere, or a name handed straight to ``socket.connect`` until libc
has resolved it. Walls are built outside the process: a network namespace, ``IPAddressDeny=any``,
a container network without a route, and for the model's child, seccomp.

A hook cannot be removed, and it is one per process: install it in each worker that is started.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import AirGapError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

Address = tuple[str, int] | str
"""A host and a port, or the path of a Unix socket. A host is an IP literal or ``localhost``."""

LOCALHOST = "localhost"

_DETECTED = -1  # a socket object around a descriptor that exists already
_FAMILIES = frozenset({_DETECTED, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})
_KINDS = frozenset({_DETECTED, socket.SOCK_STREAM, socket.SOCK_DGRAM})

# Answered by this machine from its own files.
_LOCAL_EVENTS = frozenset({"socket.gethostname", "socket.getservbyname", "socket.getservbyport"})


def _host(text: str) -> str:
    """The one spelling of an IP literal: no zone, IPv4 never mapped into IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _spellings(addresses: Collection[Address]) -> frozenset[Address]:
    """Addresses in the form in which the hook compares them.

    Raises:
        AirGapError: a host is a name, so that an answer from a resolver would decide.
    """
    result: set[Address] = set()
    for address in addresses:
        if isinstance(address, str):
            result.add(address)
        elif address[0] == LOCALHOST:
            result |= {("127.0.0.1", address[1]), ("::1", address[1])}
        else:
            try:
                result.add((_host(address[0]), address[1]))
            except ValueError:
                raise AirGapError("An address must be an IP literal or localhost.") from None
    return frozenset(result)


def _spelling(address: object) -> Address | None:
    """The address of an audit event, or ``None`` where it is of no known form."""
    if isinstance(address, bytes):
        return os.fsdecode(address)
    if isinstance(address, str):
        return address
    match address:
        case (str(host), int(port), *_):
            try:
                return _host(host), port
            except ValueError:
                return None
    return None


@dataclass(frozen=True, slots=True)
class Tripwire:
    """Decides on one audit event. Its ``check`` is the hook; alone it changes nothing.

    ``report`` gets the name of a refused event, never an address or a name that was looked up:
    what stands there may come from a request. It MUST NOT raise or open a socket.
    """

    connect: frozenset[Address]
    listen: frozenset[Address]
    report: Callable[[str], None]
    _counts: Counter[str] = field(default_factory=Counter, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def refused(self) -> Mapping[str, int]:
        """How often each event was refused so far."""
        with self._lock:
            return dict(self._counts)

    def check(self, event: str, args: tuple[Any, ...]) -> None:
        """Return for what is allowed and for events of other kinds.

        Raises:
            AirGapError: an address, a lookup or a kind of socket that nothing names.
        """
        # Called for every audited event of the process, most of them imports and opened files.
        if not event.startswith("socket.") or self._allows(event, args):
            return
        with self._lock:
            self._counts[event] += 1
        self.report(event)
        raise AirGapError

    def _allows(self, event: str, args: tuple[Any, ...]) -> bool:
        # What is not listed is refused: gethostbyname, gethostbyaddr, getnameinfo, sethostname,
        # and whatever a later Python adds.
        allowed = event in _LOCAL_EVENTS
        match event:
            case "socket.connect":
                allowed = _spelling(args[1]) in self.connect
            case "socket.sendto" | "socket.sendmsg":
                # Without an address the socket was connected before, and checked then.
                allowed = args[1] is None or _spelling(args[1]) in self.connect
            case "socket.bind":
                allowed = _spelling(args[1]) in self.listen
            case "socket.getaddrinfo":
                allowed = self._is_local_lookup(args[0])
            case "socket.__new__":
                allowed = args[1] in _FAMILIES and _kind(args[2]) in _KINDS
        return allowed

    def _is_local_lookup(self, host: object) -> bool:
        """A literal needs no resolver; ``localhost`` is looked up only where it is named."""
        if host is None:
            return True
        text = host.decode("latin-1") if isinstance(host, bytes) else str(host)
        if text == LOCALHOST:
            return any(a[0] in ("127.0.0.1", "::1") for a in self.connect | self.listen)
        try:
            ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return not text
        return True


def _kind(value: int) -> int:
    """The type of a socket without the flags that Linux carries in it."""
    if value == _DETECTED:
        return value
    return value & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def tripwire(
    *, connect: Collection[Address], listen: Collection[Address], report: Callable[[str], None]
) -> Tripwire:
    """Make a tripwire that allows these addresses; none at all is allowed, and usual in a worker.

    Raises:
        AirGapError: a host is neither an IP literal nor ``localhost``.
    """
    return Tripwire(_spellings(connect), _spellings(listen), report)


def install(wire: Tripwire) -> None:
    """Put ``wire`` in front of every socket of this process, until the process ends."""
    sys.addaudithook(wire.check)


@functools.cache
def holds() -> bool:
    """Tell whether a tripwire in a fresh interpreter stops a connection. Sends nothing.

    The address is one for documentation (RFC 5737), the socket a datagram one, whose ``connect``
    puts no packet on the wire even where the hook does not work.
    """
    done = subprocess.run(  # noqa: S603  # this interpreter, constant arguments
        [sys.executable, "-c", _PROBE], capture_output=True, check=False, timeout=60
    )
    return done.returncode == 0


_PROBE = """
import socket
from gateway import airgap, errors
airgap.install(airgap.tripwire(connect=(), listen=(), report=lambda event: None))
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
except errors.AirGapError:
    raise SystemExit(0)
raise SystemExit(1)
"""
