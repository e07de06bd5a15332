"""The engine of a home as its settings describe it. Light to import: it is the first to start."""

from __future__ import annotations

from pathlib import Path

from gateway.engine.registry import Registry, open_registry
from gateway.engine.remote.breaker import BreakerLimits
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream
from gateway.engine.supervisor import Limits
from gateway.errors import SettingsError
from gateway.settings import Settings
from gateway.settings import Upstream as UpstreamSettings


def engines(settings: Settings, home: Path) -> Registry:
    """The models of the home and the upstreams of the settings.

    Raises:
        SettingsError: there is none, or an upstream is not private or not reachable in private.
    """
    return open_registry(
        home,
        [RemoteEngine(_upstream(upstream)) for upstream in settings.upstream],
        bundled=settings.engine.bundled_model,
        isolation=settings.engine.isolation,
        limits=Limits(queue=settings.engine.queue, threads=settings.engine.threads),
    )


def _upstream(named: UpstreamSettings) -> Upstream:
    try:
        key = Path(named.api_key_file).read_text("utf-8").strip() if named.api_key_file else ""
    except (OSError, UnicodeDecodeError):
        raise SettingsError("An upstream's api_key_file cannot be read.") from None
    return Upstream(
        name=named.name,
        urls=named.urls,
        model=named.model,
        context=named.context,
        adapters=named.adapters,
        tags=frozenset(named.tags),
        zone=named.zone,
        size_bytes=named.size_bytes,
        api_key=key,
        ca_file=_file(named.ca_file),
        client_certificate=_file(named.client_certificate),
        client_key=_file(named.client_key),
        connect_timeout_s=named.connect_timeout_s,
        read_timeout_s=named.read_timeout_s,
        health_path=named.health_path,
        health_interval_s=named.health_interval_s,
        breaker=BreakerLimits(named.failures, named.cool_down_s, named.longest_cool_down_s),
        shared_cache=named.shared_cache,
    )


def _file(name: str) -> Path | None:
    return Path(name) if name else None
