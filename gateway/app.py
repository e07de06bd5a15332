"""The composition root: the only place where adapters are built and settings become parts."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from litestar import Litestar

from audit.alerts import Watched
from audit.errors import AuditError
from audit.ledger import Ledger, Options
from audit.policytexts import texts_of
from audit.retention import Expirer
from audit.setup import setup
from gateway import __version__
from gateway.api.auditor.desk import Desk
from gateway.api.auth import AuthFailures
from gateway.api.keyfile import KeyFile
from gateway.api.metrics import Metrics
from gateway.api.routes import create_api
from gateway.api.services import Limits
from gateway.clock import new_id, utc_now
from gateway.domain import Clock, ModelCard, Retention, Usage
from gateway.engine.energy import Account, Energy, Meter, Rates
from gateway.engine.registry import Registry
from gateway.engine.tally import FILE as USAGE_FILE
from gateway.engine.tally import Tally
from gateway.errors import GatewayError, SettingsError
from gateway.guards.registry import ALL as GUARDS
from gateway.pii.cache import FindingsCache
from gateway.pii.categories import Categorizer
from gateway.pii.port import Detector
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.presidio.operators import PresidioApply
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.pii.site.detector import SiteDetector, check
from gateway.pii.site.files import Knowledge, load_site
from gateway.pipeline import Pipeline
from gateway.policy.decide import PolicySet
from gateway.policy.lint import check_retention, check_vocabulary
from gateway.policy.load import SHIPPED, load_policy, shipped
from gateway.policy.model import Policy
from gateway.protect import Protector
from gateway.recorder import Recorder, Site
from gateway.routing.choose import AUTO
from gateway.settings import (
    API_KEYS_FILE,
    POLICIES_DIR,
    RECOGNIZERS_DIR,
    Settings,
    is_demo,
    owner_key,
)
from gateway.steps import Parts
from gateway.upkeep import expire, expired, saved
from gateway.watching import limits, start_watch
from gateway.web import pages

log = structlog.get_logger()

_KEYS_AHEAD = 256  # a request takes one and one for each person of its text


def policies_in_force(settings: Settings, home: Path) -> PolicySet:
    """Load the policies that the settings name: the home's own before the shipped ones.

    Raises:
        SettingsError: there is none of this name.
        PolicyFileError: one of them is not valid, or they leave no retention.
    """
    bounds = site_bounds(settings)
    own = sorted(path.stem for path in (home / POLICIES_DIR).glob("*.yaml"))
    available = [_policy(home, name) for name in own if name not in settings.policy.in_force]
    in_force = [_policy(home, name) for name in settings.policy.in_force]
    check_retention(in_force, bounds)
    return PolicySet(in_force, available, bounds)


def site_bounds(settings: Settings) -> Retention:
    """What the settings say of retention; policies can only narrow it."""
    floor = settings.ledger.floor_months
    return Retention(floor, settings.ledger.ceiling_months, floor)


def _policy(home: Path, name: str) -> Policy:
    own = home / POLICIES_DIR / f"{name}.yaml"
    if not own.exists() and name not in SHIPPED:
        raise SettingsError(
            f"policy.in_force names no policy of {own.parent} and none of: {', '.join(SHIPPED)}."
        )
    policy = load_policy(own if own.exists() else shipped(name))
    check_vocabulary(policy, ENTITY_TYPES)
    return policy


def build_detector(settings: Settings, site: Knowledge) -> Detector:
    """The detector with a site's own knowledge, which nothing has tried yet."""
    detector = PresidioDetector(settings.detection.languages, extra=site.recognizers)
    return SiteDetector(detector, site) if site.files else detector


def protector(settings: Settings, home: Path, clock: Clock) -> Protector:
    """Build what masks.

    Raises:
        DataFileError: a file of ``home``'s recognizers cannot be used, or a case of it fails.
    """
    site = load_site(home / RECOGNIZERS_DIR)
    detector = build_detector(settings, site)
    check(site, detector)
    cache = FindingsCache(detector, os.urandom(32), time.monotonic)
    return Protector(detector, PresidioApply(), clock, Categorizer(), cache, os.urandom(32))


def open_ledger(settings: Settings, home: Path, clock: Clock) -> Ledger:
    """Open the ledger of a home.

    Raises:
        SettingsError: there is none, or nobody could read it.
    """
    options = Options(
        checkpoint_records=settings.ledger.checkpoint_records,
        checkpoint_seconds=settings.ledger.checkpoint_s,
        reserve=_KEYS_AHEAD,
        index=True,
    )
    try:
        ledger = Ledger.open(home, clock=clock, options=options)
    except AuditError as error:
        raise SettingsError(f"The ledger cannot be opened: {error}.") from None
    if ledger.demo and not is_demo(home):
        ledger.close()
        raise SettingsError("This is the ledger of a demo home, which cannot be promoted.")
    return ledger


def check_default(name: str, cards: Sequence[ModelCard]) -> None:
    """Refuse a default model that is not there.

    Raises:
        SettingsError: no model has this name.
    """
    known = [AUTO, *(card.name for card in cards)]
    if name not in known:
        raise SettingsError(f"engine.default_model is none of: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class _Site:
    """The long-lived parts of one gateway, and what of them is not well right now."""

    ledger: Ledger
    engine: Registry
    policies: PolicySet
    keys: KeyFile
    clock: Clock

    async def reasons(self) -> Sequence[str]:
        """Why no prompt could be answered now, as constants."""
        wrong = []
        if not self.ledger.writable:
            wrong.append("ledger_not_writable")
        if not self.engine.models():
            wrong.append("no_model_loaded")
        try:
            self.policies.check_in_force(self.clock())
        except GatewayError:
            wrong.append("policy_not_in_force")
        try:
            self.keys.check()
        except GatewayError:
            wrong.append("key_store_unreadable")
        return wrong


def create_app(
    settings: Settings, home: Path, engine: Registry, *, clock: Clock = utc_now
) -> Litestar:
    """Build the gateway of a home around its engine, which may still be starting.

    Nothing is listening yet. The app's lifespan waits for the engine and ends it.

    Raises:
        SettingsError: a part cannot be built from these settings.
    """
    policies = policies_in_force(settings, home)
    guard = protector(settings, home, clock)
    ledger = open_ledger(settings, home, clock)
    auditors, found = setup(home)
    pool = ThreadPoolExecutor(settings.detection.workers, thread_name_prefix="detect")

    def forget() -> None:
        guard.flush()
        engine.flush()

    keys = KeyFile(home / API_KEYS_FILE, clock, revoked=forget)
    watched = Watched(ledger, clock, limits(settings, policies), settings.ledger.retain_months)
    record = Recorder(
        watched,
        clock,
        Site(
            detector_digest=guard.detector_digest,
            categories_digest=guard.categories_digest,
            isolation=lambda: engine.isolation or "remote",
            deadline_s=settings.engine.deadline_s,
            retain_months=settings.ledger.retain_months,
            floor_months=settings.ledger.floor_months,
            owner_key=owner_key(home),
        ),
    )
    metrics = Metrics()
    metrics.watch(lambda: engine.load)
    tally = Tally(home / USAGE_FILE, lambda: clock().date().isoformat())

    def count(model: str, usage: Usage, energy: Energy | None) -> None:
        metrics.generated(usage, energy)
        tally.add(model, usage, energy)

    rates = Rates(settings.energy.watts_per_core, settings.energy.grid_gco2e_per_kwh)
    pipeline = Pipeline(
        Parts(
            protector=guard,
            policies=lambda: policies,
            engine=engine,
            account=Account(Meter(), rates, count),
            guards=GUARDS,
            recorder=record,
            pool=pool,
            clock=clock,
            new_id=new_id,
            secret=os.urandom(32),
            default_model=settings.engine.default_model,
            deadline_s=settings.engine.deadline_s,
            languages=settings.detection.languages,
        )
    )

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        try:
            await engine.start()
            check_default(settings.engine.default_model, engine.models())
            expirer = Expirer(ledger)
            await asyncio.to_thread(expire, ledger, expirer)
            await record.boot(__version__, auditors, found)
        except GatewayError as error:
            log.error("gateway_not_started", code=error.code)  # noqa: TRY400 - for machines
            sys.stderr.write(f"gateway: {error.message}\n")  # for people: the library logs neither
            raise
        log.info("gateway_started", version=__version__, isolation=engine.isolation)
        upkeep = [asyncio.create_task(task) for task in (saved(tally), expired(ledger, expirer))]
        watch = start_watch(settings, home, ledger, watched)
        try:
            yield
        finally:
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
            await engine.aclose()
            tally.save()
            pool.shutdown(cancel_futures=True)
            record.close()
            await asyncio.to_thread(watch.close)
            ledger.close()
            log.info("gateway_stopped")

    return create_api(
        pipeline,
        keys,
        AuthFailures(record.failures),
        _Site(ledger, engine, policies, keys, clock).reasons,
        limits=Limits(
            body_bytes=settings.server.body_limit_bytes,
            depth=settings.server.depth_limit,
            request_s=settings.server.request_timeout_s,
        ),
        metrics=metrics,
        desk=Desk(ledger, record, new_id, lambda: texts_of(home)),
        pages=pages(),
        lifespan=[running],
    )
