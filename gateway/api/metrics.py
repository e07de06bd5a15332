"""Prometheus metrics of the HTTP surface. Every label's values are a closed enumeration.

The registry is this object's own, so that two applications in one process do not meet. Nothing
here can hold a value of a request: routes are templates, codes are constants of the error tree.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.api.keyfile import Refusal
    from gateway.domain import Usage
    from gateway.engine.energy import Energy

CONTENT_TYPE = CONTENT_TYPE_PLAIN_1_0_0
OTHER = "other"
ROUTES = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/deidentify",
        "/v1/receipts/{id}",
        "/v1/receipts/{id}/report",
        "/audit/v1/records",
        "/audit/v1/records/{index}",
        "/audit/v1/checkpoint",
        "/audit/v1/proof",
        "/audit/v1/export",
        "/health/live",
        "/health/ready",
        "/metrics",
        OTHER,
    }
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What an operator watches. ``code`` is one of the stable codes of ``gateway/errors.py``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._responses = Counter(
            "cloister_http_responses",
            "Answers by route and status",
            ("route", "status"),
            registry=self.registry,
        )
        self._errors = Counter(
            "cloister_errors", "Errors told to clients, by code", ("code",), registry=self.registry
        )
        self._refused = Counter(
            "cloister_auth_failures",
            "Requests without a valid key, by reason",
            ("reason",),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "cloister_request_seconds",
            "From the request's body to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._first = Histogram(
            "cloister_admission_seconds",
            "From the request's body until generation has begun and its intent is on record",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._running = Gauge(
            "cloister_requests_running",
            "Requests being answered now",
            ("route",),
            registry=self.registry,
        )
        self._tokens = Counter(
            "cloister_tokens",
            "Tokens of prompts, of these the ones that were kept from before, and of answers",
            ("kind",),
            registry=self.registry,
        )
        self._joules = Counter(
            "cloister_energy_joules",
            "Energy of answers, by how it is known",
            ("source",),
            registry=self.registry,
        )

    def watch(self, load: Callable[[], tuple[int, int]]) -> None:
        """Show how many answers are being made, and how many wait, whenever somebody looks."""
        running = Gauge(
            "cloister_engine_running", "Answers that are being made now", registry=self.registry
        )
        running.set_function(lambda: load()[0])
        waiting = Gauge("cloister_engine_waiting", "Answers that wait", registry=self.registry)
        waiting.set_function(lambda: load()[1])

    def generated(self, usage: Usage, energy: Energy | None) -> None:
        """Count the tokens of one answer, and its energy where that is known."""
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("cached").inc(usage.cached_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)
        if energy is not None:
            self._joules.labels(energy.source.value).inc(energy.millijoules / 1000)

    def answered(self, route: str, status: int) -> None:
        self._responses.labels(route if route in ROUTES else OTHER, str(status)).inc()

    def failed(self, code: str) -> None:
        self._errors.labels(code).inc()

    def refused(self, reason: Refusal) -> None:
        self._refused.labels(reason.value).inc()

    def admitted(self, seconds: float) -> None:
        self._first.observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def begin(self, route: str) -> Callable[[], None]:
        """Count a request as running until the returned function is called, once."""
        self._running.labels(route).inc()
        started = time.perf_counter()

        def end() -> None:
            self._running.labels(route).dec()
            self._seconds.labels(route).observe(time.perf_counter() - started)

        return end
