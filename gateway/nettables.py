"""What the kernel's tables under /proc/net say: default routes and open ports.

The tables are those of the process's own network namespace. Pure: lines in, values out.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_REJECT = 0x200  # RTF_REJECT: the route says that there is none
_WORD = 8  # hex digits of one 32-bit word of an address


def defaults(route: Sequence[str]) -> Iterator[str]:
    """The interfaces with an IPv4 default route, from the lines of /proc/net/route."""
    for line in route[1:]:
        interface, destination, _, flags, _, _, _, mask, *_ = line.split()
        if destination == mask == "00000000" and not int(flags, 16) & _REJECT:
            yield interface


def defaults6(ipv6_route: Sequence[str]) -> Iterator[str]:
    """The interfaces with an IPv6 default route, from the lines of /proc/net/ipv6_route."""
    for line in ipv6_route:
        destination, length, *_, flags, interface = line.split()
        is_default = int(destination, 16) == 0 and length == "00"
        if is_default and interface != "lo" and not int(flags, 16) & _REJECT:
            yield interface


def listening(tcp: Sequence[str], port: int) -> Iterator[str]:
    """The addresses that listen on ``port``, from the lines of /proc/net/tcp or tcp6."""
    for line in tcp[1:]:
        _, local, _, state, *_ = line.split()
        address, _, number = local.partition(":")
        if state == _LISTEN and int(number, 16) == port:
            yield _address(address)


def _address(digits: str) -> str:
    """The kernel writes each 32-bit word of an address in the order of the machine's bytes."""
    words = (digits[i : i + _WORD] for i in range(0, len(digits), _WORD))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address)
