"""The engine of a home as its settings describe it. Light to import: it is the first to start."""

from __future__ import annotations

from pathlib import Path

from gateway.engine.keeper import Limits
from gateway.engine.llama import LlamaEngine
from gateway.engine.memory import budget_bytes
from gateway.engine.registry import Registry, local_specs
from gateway.engine.remote.breaker import BreakerLimits
from gateway.engine.remote.engine import RemoteEngine
from gateway.engine.remote.upstream import Upstream
from gateway.errors import SettingsError
from gateway.settings import Settings
from gateway.settings import Upstream as UpstreamSettings


def engines(settings: Settings, home: Path) -> Registry:
    """The models of the home and the upstreams of the settings.

    Raises:
        SettingsError: there is none, an upstream is not private or not reachable in private, or a
            shared prompt cannot be read.
    """
    engine = settings.engine
    specs = local_specs(home, bundled=engine.bundled_model)
    if not specs and not settings.upstream:
        raise SettingsError("There is no model: add one with `gateway models add FILE`.")
    local = LlamaEngine(
        specs,
        isolation=engine.isolation,
        limits=Limits(slots=engine.slots, queue=engine.queue, threads=engine.threads),
        shared=frozenset(_shared(home / name) for name in engine.shared_prompts),
        budget=budget_bytes(engine.memory_mib),
    )
    return Registry(local, [RemoteEngine(_upstream(upstream)) for upstream in settings.upstream])


def _shared(path: Path) -> str:
    """A system prompt that is public, as its users send it: without the file's last line break."""
    try:
        return path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"engine.shared_prompts: {path} cannot be read.") from None


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
