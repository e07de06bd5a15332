"""`gateway serve`: one process, one listener, until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import airgap
from gateway import log as logging_setup
from gateway.engine.configured import engines
from gateway.engine.wall import harden_process
from gateway.errors import SettingsError
from gateway.settings import (
    Server,
    Settings,
    check_listener,
    home_from_environment,
    is_demo,
    load,
)

if TYPE_CHECKING:
    from gateway.engine.registry import Registry

Application = Callable[..., Awaitable[None]]
"""An ASGI application."""

log = structlog.get_logger()

_SWITCH_INTERVAL_S = 0.001
_GC_THRESHOLD = 20_000  # allocations between collections; a request makes some thousands
_BACKLOG = 512
_GRACE_S = 10
_LONGEST_HEAD = 64 * 1024  # bytes


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 with a bound on what is read before a body, after it, and between its chunks.

    The parser keeps headers and trailers of any size in memory, and no key was shown by then.
    """

    _unread = 0  # bytes since the last piece of a body or the end of a head

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > _LONGEST_HEAD and not self.transport.is_closing():
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()


def serve(*, host: str, port: int) -> None:
    """Serve the home that the environment names.

    Raises:
        SettingsError: the gateway refuses to start.
    """
    logging_setup.configure()
    harden_process()
    home = home_from_environment()
    settings = load(home)
    server = msgspec.structs.replace(
        settings.server, host=host or settings.server.host, port=port or settings.server.port
    )
    check_listener(server, demo=is_demo(home))
    close_air_gap(settings, server)
    # Detection runs in threads; the loop must not wait for their time slices.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.run(_serve(settings, home, server))


async def _serve(settings: Settings, home: Path, server: Server) -> None:
    """Load the model in its child while this process imports and builds the rest.

    The listener comes first: a port that is taken must not cost a start, or a record of one.
    """
    listener = _listener(server)
    engine = engines(settings, home)
    starting = asyncio.create_task(engine.start())
    try:
        app = await asyncio.to_thread(_compose, settings, home, engine)
        await starting
        say(home, server)
        await uvicorn.Server(_config(app, server)).serve(sockets=[listener])
    finally:
        listener.close()
        starting.cancel()
        await engine.aclose()


def _listener(server: Server) -> socket.socket:
    """Bind the address of the settings.

    Raises:
        SettingsError: it is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on: forty milliseconds an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host, server.port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "not an address"
        raise SettingsError(
            f"Port {server.port} on {server.host} cannot be used: {reason}."
        ) from None
    listener.setblocking(False)
    return listener


def _compose(settings: Settings, home: Path, engine: Registry) -> Application:
    from gateway.app import create_app  # noqa: PLC0415 - a second of imports, beside the child's

    app = create_app(settings, home, engine)
    gc.freeze()  # what is loaded by now lives as long as the process
    gc.set_threshold(_GC_THRESHOLD)
    return app


def _config(app: Application, server: Server) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=server.host,
        port=server.port,
        ssl_certfile=server.tls_certificate or None,
        ssl_keyfile=server.tls_key or None,
        loop="asyncio",  # another loop's sockets would be out of the tripwire's sight
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="on",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
    )


def close_air_gap(settings: Settings, server: Server) -> None:
    """From here on this process may listen where the settings say and connect to upstreams only."""

    def report(event: str) -> None:
        log.error("air_gap_refused", code=event)

    connect: list[airgap.Address] = []
    urls = [url for upstream in settings.upstream for url in upstream.urls]
    if settings.keystore.lock == "transit":
        urls.append(settings.keystore.transit_url)
    for parts in map(urlsplit, urls):
        default = 443 if parts.scheme == "https" else 80
        connect.append((parts.hostname or "", parts.port or default))
    syslog = settings.watch.syslog_address()
    if syslog is not None:
        connect.append(syslog)
    # urllib3, which Presidio imports, binds ::1 once to see whether there is IPv6; nothing leaves.
    listen: list[airgap.Address] = [(server.host, server.port), ("::1", 0)]
    airgap.install(airgap.tripwire(connect=connect, listen=listen, report=report))


def say(home: Path, server: Server) -> None:
    """Tell people where it listens; the log on stderr is for machines."""
    scheme = "https" if server.tls_certificate else "http"
    demo = " DEMO" if is_demo(home) else ""
    print(f"Cloister{demo}: {scheme}://{server.host}:{server.port}  home {home}", flush=True)  # noqa: T201
