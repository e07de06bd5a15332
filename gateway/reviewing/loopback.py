"""One page, served once, from memory, to the browser of whoever started the review.

The server listens on 127.0.0.1 at a port of the kernel's choice. The page is given out once, to
whoever knows its path (256 random bits, shown at the terminal only), when the request names this
host and port (a rebound DNS name does not) and no other site caused it. The page then holds one
request open under a second secret; when that ends, the server does.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

HOST = "127.0.0.1"
BEAT_S = 1.0
_TIMEOUT_S = 30


class Once:
    """The page until it was fetched, and whether somebody still looks at it."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.alive = f"/{secrets.token_urlsafe(32)}"
        self.closed = threading.Event()
        self._page: bytes | None = None
        self._lock = threading.Lock()

    def load(self, page: bytes) -> None:
        self._page = page

    def take(self, path: str) -> bytes | None:
        """The page for the right path, the first time; then never again."""
        if not hmac.compare_digest(path.encode(), f"/{self.token}".encode()):
            return None
        with self._lock:
            page, self._page = self._page, None
        return page


class Handler(BaseHTTPRequestHandler):
    """Answers the two paths, and 404 to anything else without saying why."""

    once: ClassVar[Once]
    policy: ClassVar[str]
    port: ClassVar[int]
    server_version = "review"
    sys_version = ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        if not self._from_here():
            self._send(403, b"", "text/plain")
        elif hmac.compare_digest(self.path.encode(), self.once.alive.encode()):
            self._stay()
        elif (page := self.once.take(self.path)) is not None:
            self._send(200, page, "text/html; charset=utf-8")
        else:
            self._send(404, b"", "text/plain")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        """Say nothing: paths are secrets."""

    def _from_here(self) -> bool:
        own = f"{HOST}:{self.port}"
        site = self.headers.get("Sec-Fetch-Site", "none")
        origin = self.headers.get("Origin", f"http://{own}")
        hosts = self.headers.get_all("Host", [])
        return hosts == [own] and site in ("none", "same-origin") and origin == f"http://{own}"

    def _send(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        for name, value in self._headers(media_type):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _stay(self) -> None:
        """Hold the request open until the page is gone."""
        self.send_response(200)
        for name, value in self._headers("text/plain"):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(BEAT_S)
        except OSError:
            self.once.closed.set()

    def _headers(self, media_type: str) -> list[tuple[str, str]]:
        return [
            ("Content-Type", media_type),
            ("Content-Security-Policy", self.policy),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a trace could hold a path."""


def serve_once(once: Once, policy: str, announce: Callable[[str], None]) -> None:
    """Serve the page of ``once`` until it is closed; Ctrl-C is the caller's."""
    handler = type("_Handler", (Handler,), {"once": once, "policy": policy})
    with _Server((HOST, 0), handler) as server:
        Handler.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        try:
            announce(f"http://{HOST}:{server.server_address[1]}/{once.token}")
            once.closed.wait()
        finally:
            server.shutdown()
