"""The in-process hook of promise 1: only addresses that the settings name, nothing else."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import airgap
from gateway.errors import AirGapError

UPSTREAM = ("10.0.0.5", 8000)
LISTENER = ("127.0.0.1", 8080)

ALLOWED = [
    ("socket.connect", (None, UPSTREAM)),
    ("socket.connect", (None, ("::ffff:10.0.0.5", 8000, 0, 0))),
    ("socket.connect", (None, ("::1", 9000, 0, 0))),
    ("socket.connect", (None, ("127.0.0.1", 9000))),
    ("socket.connect", (None, "/run/cloister/engine.sock")),
    ("socket.connect", (None, b"/run/cloister/engine.sock")),
    ("socket.sendto", (None, UPSTREAM)),
    ("socket.sendmsg", (None, None)),
    ("socket.bind", (None, LISTENER)),
    ("socket.getaddrinfo", ("127.0.0.1", 8080, 0, 1, 0)),
    ("socket.getaddrinfo", (b"::1", 8080, 0, 1, 0)),
    ("socket.getaddrinfo", (None, 8080, 0, 1, 0)),
    ("socket.getaddrinfo", ("localhost", 9000, 0, 1, 0)),
    ("socket.gethostname", ()),
    ("socket.__new__", (None, socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)),
    ("socket.__new__", (None, socket.AF_UNIX, socket.SOCK_STREAM, 0)),
    ("socket.__new__", (None, -1, -1, -1)),
    ("import", ("json", None, None, None, None)),
    ("open", ("/etc/hostname", "r", 0)),
]

REFUSED = [
    ("socket.connect", (None, ("10.0.0.5", 8001))),
    ("socket.connect", (None, ("10.0.0.6", 8000))),
    ("socket.connect", (None, LISTENER)),
    ("socket.connect", (None, ("2001:db8::1", 443, 0, 0))),
    ("socket.connect", (None, "/run/other.sock")),
    ("socket.connect", (None, "\0abstract")),
    ("socket.connect", (None, ("example.org", 443))),
    ("socket.connect", (None, (1, 2))),
    ("socket.sendto", (None, ("192.0.2.1", 53))),
    ("socket.sendmsg", (None, ("192.0.2.1", 53))),
    ("socket.bind", (None, ("0.0.0.0", 8080))),
    ("socket.bind", (None, ("", 8080))),
    ("socket.bind", (None, UPSTREAM)),
    ("socket.getaddrinfo", ("example.org", 443, 0, 1, 0)),
    ("socket.gethostbyname", ("example.org",)),
    ("socket.gethostbyaddr", ("127.0.0.1",)),
    ("socket.getnameinfo", (UPSTREAM,)),
    ("socket.sethostname", ("x",)),
    ("socket.of_a_later_python", ()),
    ("socket.__new__", (None, socket.AF_PACKET, socket.SOCK_RAW, 0)),
    ("socket.__new__", (None, socket.AF_NETLINK, socket.SOCK_DGRAM, 0)),
    ("socket.__new__", (None, socket.AF_INET, socket.SOCK_RAW, 0)),
]


def _wire(reports: list[str]) -> airgap.Tripwire:
    return airgap.tripwire(
        connect=[UPSTREAM, ("localhost", 9000), "/run/cloister/engine.sock"],
        listen=[LISTENER],
        report=reports.append,
    )


@pytest.mark.parametrize(("event", "args"), ALLOWED)
def test_named_addresses_pass(event, args):
    """What the settings name, and events that concern no network, pass without a report."""
    reports: list[str] = []
    _wire(reports).check(event, args)
    assert reports == []


@pytest.mark.parametrize(("event", "args"), REFUSED)
def test_everything_else_is_refused_counted_and_reported_without_its_address(event, args):
    """A refusal raises, counts, and reports the name of the event only."""
    reports: list[str] = []
    wire = _wire(reports)
    with pytest.raises(AirGapError) as caught:
        wire.check(event, args)
    assert str(caught.value) == AirGapError.default_message
    assert wire.refused() == {event: 1}
    assert reports == [event]


_ADDRESSES = st.one_of(
    st.none(),
    st.text(),
    st.binary(),
    st.integers(),
    st.tuples(st.text(), st.integers()),
    st.tuples(st.ip_addresses().map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535), st.just(0), st.just(0)),
)


@given(event=st.sampled_from(["connect", "sendto", "bind"]), address=_ADDRESSES)
def test_with_nothing_named_every_address_is_refused(event, address):
    """Empty denies, and no form of address raises anything but our error."""
    wire = airgap.tripwire(connect=(), listen=(), report=lambda _: None)
    if event == "sendto" and address is None:
        return  # a socket that was connected, and checked, before
    with pytest.raises(AirGapError):
        wire.check(f"socket.{event}", (None, address))


def test_a_name_is_no_address():
    """An allowed address is a literal: otherwise a resolver would decide what is allowed."""
    with pytest.raises(AirGapError, match="IP literal"):
        airgap.tripwire(connect=[("example.org", 443)], listen=(), report=lambda _: None)


def test_localhost_is_looked_up_only_where_it_is_named():
    """A resolver is not asked for localhost when no address of this machine is allowed."""
    wire = airgap.tripwire(connect=[UPSTREAM], listen=(), report=lambda _: None)
    with pytest.raises(AirGapError):
        wire.check("socket.getaddrinfo", ("localhost", 80, 0, 0, 0))


_IN_A_PROCESS = """
import asyncio, json, socket, sys, urllib.request
from gateway import airgap
from gateway.errors import AirGapError

listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()
reports = []
wire = airgap.tripwire(connect=[address], listen=(), report=reports.append)
airgap.install(wire)

def outcome(call):
    try:
        call()
    except AirGapError:
        return "refused"
    return "allowed"

def datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))

async def stream():
    await asyncio.wait_for(asyncio.open_connection("192.0.2.1", 9), 5)

print({
    "named": outcome(lambda: socket.create_connection(address, 5)),
    "other": outcome(lambda: socket.create_connection(("192.0.2.1", 9), 5)),
    "datagram": outcome(datagram),
    "lookup": outcome(lambda: socket.getaddrinfo("gateway.invalid", 443)),
    "asyncio": outcome(lambda: asyncio.run(stream())),
    "urllib": outcome(lambda: urllib.request.urlopen("http://192.0.2.1:9/", timeout=5)),
    "listen": outcome(lambda: socket.create_server(("127.0.0.1", 0))),
    "reports": len(reports),
})
"""


def test_the_hook_stands_before_the_system_call_in_a_real_process():
    """Installed, it stops sockets, asyncio, urllib and the resolver, and lets the named one be."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_PROCESS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout) == {
        "named": "allowed",
        "other": "refused",
        "datagram": "refused",
        "lookup": "refused",
        "asyncio": "refused",
        "urllib": "refused",
        "listen": "refused",
        "reports": 6,
    }


def test_the_probe_of_doctor_sees_a_working_hook():
    """`gateway doctor` tries the hook in a fresh interpreter and finds that it holds."""
    assert airgap.holds()
