"""`gateway doctor`: what this machine, this home and these settings mean for the promises.

Looks, and changes nothing but one probe file that it removes. It opens no connection and asks no
resolver: whether the machine could reach beyond is read from the kernel's tables. ``fail`` is what
breaks a promise, ``warn`` what weakens a wall around it and is the operator's to judge.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway import airgap, nettables
from gateway.errors import GatewayError, PolicyFileError
from gateway.pii.site.files import load_site
from gateway.policy.load import load_policy, shipped
from gateway.settings import RECOGNIZERS_DIR, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gateway.settings import Settings

_OTHERS = 0o077
_LOW_DISK_BYTES = 2**30
_SHOWN = 12  # hex digits of a digest


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``detail`` is for people; ``name`` and ``status`` are stable."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """No check failed. Nothing checked is no pass."""
        return bool(self.checks) and all(c.status is not Status.FAIL for c in self.checks)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the facts are read: ``root`` of the file system and the process's environment."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def lines(self, path: str) -> list[str] | None:
        """The lines of a file below ``root``, or ``None`` where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None


def run_doctor(settings: Settings, home: Path, machine: Machine, now: datetime) -> Report:
    """Check everything; one check that fails keeps no other from being made."""
    return Report(
        (
            _routes(machine),
            _resolver(machine),
            _proxies(machine),
            _tripwire(),
            _listeners(settings, machine),
            _upstreams(settings),
            _isolation(settings),
            _user(),
            _home(home),
            _swap(machine),
            _core_dumps(machine),
            _ledger(home),
            _policies(settings, home, now),
            _recognizers(settings, home),
        )
    )


# --- the air gap --------------------------------------------------------------------------------


def _routes(machine: Machine) -> Check:
    table = machine.lines("proc/net/route")
    if table is None:
        return Check("routes", Status.WARN, "the kernel's routes cannot be read here")
    table6 = machine.lines("proc/net/ipv6_route") or []
    interfaces = sorted({*nettables.defaults(table), *nettables.defaults6(table6)})
    if interfaces:
        detail = f"a default route exists ({', '.join(interfaces)}): only walls keep traffic in"
        return Check("routes", Status.WARN, detail)
    return Check("routes", Status.OK, "no default route: nothing beyond this network is reachable")


def _resolver(machine: Machine) -> Check:
    lines = machine.lines("etc/resolv.conf") or []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    if servers:
        detail = f"{len(servers)} name server(s) configured; the gateway itself looks up no name"
        return Check("resolver", Status.WARN, detail)
    return Check("resolver", Status.OK, "no name server is configured")


def _proxies(machine: Machine) -> Check:
    names = sorted(n for n in machine.environ if n.lower().endswith("_proxy"))
    if names:
        return Check("proxies", Status.WARN, f"set, and ignored by the gateway: {', '.join(names)}")
    return Check("proxies", Status.OK, "no proxy in the environment")


def _tripwire() -> Check:
    if airgap.holds():
        detail = "the in-process hook refuses an address that no setting names"
        return Check("tripwire", Status.OK, detail)
    return Check("tripwire", Status.FAIL, "the in-process hook did not refuse a connection")


def _listeners(settings: Settings, machine: Machine) -> Check:
    server = settings.server
    tables = [machine.lines(path) or [] for path in ("proc/net/tcp", "proc/net/tcp6")]
    open_at = [a for table in tables for a in nettables.listening(table, server.port)]
    beyond = [a for a in open_at if not is_loopback(a)]
    if beyond and not server.tls_certificate:
        detail = f"port {server.port} is open beyond loopback without TLS"
        return Check("listeners", Status.FAIL, detail)
    where = "loopback only" if is_loopback(server.host) else "beyond loopback, with TLS"
    return Check("listeners", Status.OK, f"port {server.port}: {where}")


def _upstreams(settings: Settings) -> Check:
    names = [u.name for u in settings.upstream if not all(map(_is_inside, u.urls))]
    if names:
        detail = f"not a private address, or no TLS beyond loopback: {', '.join(names)}"
        return Check("upstreams", Status.FAIL, detail)
    detail = f"{len(settings.upstream)} named, all on private or loopback addresses"
    return Check("upstreams", Status.OK, detail)


def _is_inside(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return True
    try:
        return ipaddress.ip_address(host).is_private and parts.scheme == "https"
    except ValueError:
        return False


# --- the process and the machine ------------------------------------------------------------------

_WALL_PROBE = "from gateway.engine.wall import raise_wall; print(raise_wall(), flush=True)"


def _isolation(settings: Settings) -> Check:
    if settings.engine.isolation == "none":
        return Check("isolation", Status.WARN, 'engine.isolation = "none": records will say so')
    stands = _wall()
    if not stands:
        detail = "the kernel grants no wall around the model's process: the gateway will not start"
        return Check("isolation", Status.FAIL, detail)
    return Check("isolation", Status.OK, f"the model's process runs behind {stands}")


@functools.cache
def _wall() -> str:
    """What stands around a child of this process, by raising the wall in one; empty: nothing."""
    done = subprocess.run(  # noqa: S603  # this interpreter, constant arguments
        [sys.executable, "-c", _WALL_PROBE],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def _user() -> Check:
    if os.geteuid() == 0:
        return Check("user", Status.WARN, "running as root; give the gateway a user of its own")
    return Check("user", Status.OK, "not root")


def _home(home: Path) -> Check:
    open_to_others = [p for p in (home, *home.rglob("*")) if _is_open(p)]
    if open_to_others:
        count = len(open_to_others)
        detail = f"{count} path(s) belong to or are open to other users: chmod -R go= the home"
        return Check("home", Status.FAIL, detail)
    return Check("home", Status.OK, "owned by this user and closed to others")


def _is_open(path: Path) -> bool:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return False  # its own mode means nothing; what it points to is looked at where it lies
    return bool(status.st_mode & _OTHERS) or status.st_uid not in (0, os.geteuid())


def _swap(machine: Machine) -> Check:
    lines = machine.lines("proc/swaps")
    if lines is None:
        return Check("swap", Status.WARN, "whether swap is on cannot be read here")
    if lines[1:]:
        detail = "swap is on: prompts in memory may reach the disk; encrypt it or turn it off"
        return Check("swap", Status.WARN, detail)
    return Check("swap", Status.OK, "off")


def _core_dumps(machine: Machine) -> Check:
    pattern = "".join(machine.lines("proc/sys/kernel/core_pattern") or [])
    if pattern.startswith("|"):
        detail = "the kernel pipes dumps to a program; the gateway's own processes allow none"
        return Check("core_dumps", Status.WARN, detail)
    return Check("core_dumps", Status.OK, "the gateway's processes are non-dumpable")


# --- what it stands on --------------------------------------------------------------------------


def _ledger(home: Path) -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".doctor-") as probe:
            probe.write(b"probe")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return Check("ledger", Status.FAIL, f"the home cannot be written ({error.strerror})")
    free = shutil.disk_usage(home).free
    if free < _LOW_DISK_BYTES:
        return Check("ledger", Status.WARN, f"writable, but only {free // 2**20} MiB are free")
    return Check("ledger", Status.OK, f"writable and durable, {free // 2**30} GiB free")


def _policies(settings: Settings, home: Path, now: datetime) -> Check:
    in_force = []
    for name in settings.policy.in_force:
        own = home / "policies" / f"{name}.yaml"
        try:
            policy = load_policy(own if own.exists() else shipped(name))
        except PolicyFileError as error:
            return Check("policy", Status.FAIL, error.message)
        if now < policy.starts or (policy.ends is not None and now >= policy.ends):
            return Check("policy", Status.FAIL, f"{name} is not in force today: requests stop")
        in_force.append(f"{name} {policy.ref.digest[:_SHOWN]}")
    return Check("policy", Status.OK, f"in force: {', '.join(in_force)}")


def _recognizers(settings: Settings, home: Path) -> Check:
    try:
        site = load_site(home / RECOGNIZERS_DIR)
        if not site.files:
            return Check("recognizers", Status.OK, "no file of the site's own")
        # Building a detector takes a second: only where there is something to try out.
        from gateway.app import build_detector  # noqa: PLC0415
        from gateway.pii.site.detector import check  # noqa: PLC0415

        check(site, build_detector(settings, site))
    except GatewayError as error:
        return Check("recognizers", Status.FAIL, error.message)
    named = [f"{file.name} {file.version} {file.digest[:_SHOWN]}" for file in site.files]
    return Check("recognizers", Status.OK, f"in force: {', '.join(named)}")
