"""``Upstream``: a model that servers on the premises offer, and where they may stand."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from gateway.domain import ModelCard
from gateway.engine.remote.breaker import BreakerLimits
from gateway.errors import SettingsError

# Loopback and what RFC 1918, 4193 and 6598 set aside. Not link-local: clouds keep secrets there.
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One model and the servers that all have it.

    Each of ``urls`` ends before ``/chat/completions``. A host is an IP literal or ``localhost``,
    which is 127.0.0.1. ``api_key`` "" sends none; ``ca_file`` None trusts the system's store; the
    client's certificate and its key are set together. ``adapters`` are served under their own
    names. ``health_path`` is relative to each URL, as links are; "" asks nothing.
    ``shared_cache``: see ``reuse`` of ``requests.generation_call``.
    """

    name: str
    urls: tuple[str, ...]
    model: str
    context: int
    adapters: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    size_bytes: int = 0
    api_key: str = field(repr=False, default="")
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    health_path: str = "models"
    health_interval_s: float = 10.0
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    shared_cache: bool = False

    def cards(self) -> tuple[ModelCard, ...]:
        """The model's card and one for each adapter. No digest: the weights are not here."""
        names = ((self.name, ""), *((adapter, self.name) for adapter in self.adapters))
        return tuple(
            ModelCard(
                name=name,
                digest="",
                backend="remote",
                size_bytes=self.size_bytes,
                context=self.context,
                tags=self.tags,
                zone=self.zone,
                base=base,
            )
            for name, base in names
        )

    def check(self) -> None:
        """Check that every address is on the premises, and the health path on the same server.

        Raises:
            SettingsError: see ``check_address``; no address, or one that is named twice.
        """
        if not self.urls or len({url.rstrip("/") for url in self.urls}) != len(self.urls):
            raise SettingsError("An upstream has at least one url, and each of them once.")
        for url in self.urls:
            check_address(url)
            health, server = urlsplit(health_url(url, self.health_path)), urlsplit(url)
            if (health.scheme, health.netloc) != (server.scheme, server.netloc):
                raise SettingsError("An upstream's health_path is a path and nothing more.")

    def tls(self) -> ssl.SSLContext:
        """What the servers must show, and what is shown to them.

        An IP literal is matched with the certificate's IP entries (RFC 6125, ``subjectAltName``).

        Raises:
            SettingsError: a file that cannot be read, or half of a client's certificate.
        """
        if (self.client_certificate is None) != (self.client_key is None):
            raise SettingsError("client_certificate and client_key are set together or not.")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError):
            raise SettingsError("The CA file of an upstream cannot be read.") from None
        if self.client_certificate is not None:
            try:
                # Without a password of ours OpenSSL would ask the terminal for one, and wait.
                context.load_cert_chain(self.client_certificate, self.client_key, password="")
            except (OSError, ssl.SSLError, ValueError):
                raise SettingsError(
                    "The client certificate of an upstream, or its key, cannot be read."
                ) from None
        return context


def health_url(url: str, path: str) -> str:
    return urljoin(f"{url.rstrip('/')}/", path)


def check_address(url: str) -> None:
    """Check that ``url`` is on the premises.

    Raises:
        SettingsError: no http(s) URL, a host that is neither loopback nor a private IP literal,
            or plain http beyond loopback.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
        host = parts.hostname or ""
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise SettingsError(
            "An upstream's host is an IP address or localhost: a name could lead elsewhere."
        ) from None
    if parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise SettingsError("An upstream's url is http(s)://HOST:PORT/PATH and nothing more.")
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_loopback:
        return
    if not any(address in network for network in _PRIVATE):
        raise SettingsError("An upstream's address must be loopback or private.")
    if parts.scheme != "https":
        raise SettingsError("An upstream beyond loopback needs https.")
