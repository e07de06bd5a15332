"""`gateway init`: make a home, once. What exists is left as it is; nothing secret is kept twice.

A home holds the settings, the ledger and its key store, the API keys (hashed), the models and the
site's own policies. It never holds an auditor's private key, except a demo home, which says DEMO
in every verdict and cannot be promoted.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import AuditError
from audit.keys import generate_auditor, parse_auditor_line
from audit.ledger import AUDITORS_FILE, init_home
from audit.recipients import Auditor
from audit.setup import record_setup
from gateway.api.keyfile import Grant, issue_key
from gateway.domain import Clock, Purpose, Role
from gateway.errors import SettingsError
from gateway.settings import (
    API_KEYS_FILE,
    DEMO_MARKER,
    OWNER_KEY_FILE,
    POLICIES_DIR,
    RECOGNIZERS_DIR,
    SETTINGS_FILE,
)

KEY_LIFETIME = timedelta(days=365)
DEMO_LIFETIME = timedelta(days=7)
DEMO_KEYS_FILE = "demo-keys.json"
DEMO_AUDITOR_FILE = "demo-auditor.pem"
_CLINICAL = frozenset({Purpose.TREATMENT, Purpose.PAYMENT, Purpose.OPERATIONS})
_LEGAL = frozenset({Purpose.LEGAL_ADVICE, Purpose.LITIGATION})
_SETTINGS = """\
# Settings of this gateway. Every key has a safe default; deploy/settings.example.toml shows all.
"""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was made now. ``shown`` holds secrets by name: print them once, store them nowhere."""

    home: Path
    created: tuple[str, ...]
    shown: dict[str, str] = field(repr=False, default_factory=dict)


def first_grants(clock: Clock, lifetime: timedelta) -> dict[str, Grant]:
    """The first key of each duty, by the name it is shown under."""
    expires = clock() + lifetime
    other = frozenset({Purpose.OPERATIONS})

    def grant(role: Role, purposes: frozenset[Purpose], default: Purpose) -> Grant:
        return Grant(
            principal=f"{role.value}-1",
            role=role,
            purposes=purposes,
            default_purpose=default,
            expires=expires,
        )

    return {
        "clinician": grant(Role.CLINICIAN, _CLINICAL, Purpose.TREATMENT),
        "lawyer": grant(Role.LAWYER, _LEGAL, Purpose.LEGAL_ADVICE),
        "auditor": grant(Role.AUDITOR, other, Purpose.OPERATIONS),
        "admin": grant(Role.ADMIN, other, Purpose.OPERATIONS),
    }


def provision(
    home: Path, clock: Clock, *, demo: bool = False, auditors: Sequence[str] = ()
) -> Provisioned:
    """Make what is missing of a home. Idempotent: a second call makes and shows nothing.

    ``auditors`` are public keys as ``auditlog keygen`` writes them. Without any, and with none
    registered, a key pair is made and its private half shown. Later, two people add one.

    Raises:
        SettingsError: the home cannot be written, an auditor's key is none, or a demo home is
            asked to become a real one or the other way round.
    """
    os.umask(0o077)
    try:
        return _provision(home, clock, demo=demo, auditors=auditors)
    except OSError as error:
        raise SettingsError(f"{home} cannot be written ({error.strerror}).") from None
    except AuditError as error:
        raise SettingsError(f"The home cannot be made: {error}.") from None


def _provision(home: Path, clock: Clock, *, demo: bool, auditors: Sequence[str]) -> Provisioned:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    _check_kind(home, demo=demo)
    created: list[str] = []
    shown: dict[str, str] = {}
    for directory in (POLICIES_DIR, RECOGNIZERS_DIR, "models"):
        (home / directory).mkdir(mode=0o700, exist_ok=True)
    if not (home / AUDITORS_FILE).exists() or auditors:
        if not (home / AUDITORS_FILE).exists():
            created.append("ledger")
        registered = [parse_auditor_line(line) for line in auditors]
        if not registered:
            registered, shown["auditor private key"] = _new_auditor(demo=demo)
        init_home(home, registered, demo=demo)
    if not (home / OWNER_KEY_FILE).exists():
        _write(home / OWNER_KEY_FILE, secrets.token_bytes(32))
        created.append(OWNER_KEY_FILE)
    if not (home / API_KEYS_FILE).exists():
        created.append(API_KEYS_FILE)
        grants = first_grants(clock, DEMO_LIFETIME if demo else KEY_LIFETIME)
        for name, grant in grants.items():
            shown[name] = issue_key(home / API_KEYS_FILE, grant, clock()).secret
    if not (home / SETTINGS_FILE).exists():  # last: it says that the home is complete
        _write(home / SETTINGS_FILE, _SETTINGS.encode())
        created.append(SETTINGS_FILE)
    if demo and shown:
        _keep_demo_keys(home, shown)
    record_setup(home, clock())
    return Provisioned(home, tuple(created), shown)


def _check_kind(home: Path, *, demo: bool) -> None:
    marker = home / DEMO_MARKER
    fresh = not (home / AUDITORS_FILE).exists()
    if demo and fresh:
        _write(marker, b"This home was made by `gateway init --demo`. It cannot be promoted.\n")
    elif demo != marker.exists():
        kind = "a demo home" if marker.exists() else "not a demo home"
        raise SettingsError(f"{home} is {kind}; use another CLOISTER_HOME.")


def _new_auditor(*, demo: bool) -> tuple[list[Auditor], str]:
    auditor, pem = generate_auditor("demo-auditor" if demo else "auditor-1")
    return [auditor], pem.decode()


def _keep_demo_keys(home: Path, shown: dict[str, str]) -> None:
    """A demo keeps its keys, so that `make demo` needs nobody to copy them."""
    pem = shown.pop("auditor private key", None)
    if pem:
        _write(home / DEMO_AUDITOR_FILE, pem.encode())
    signers = [
        base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        for _ in range(2)
    ]
    keys = {"api_keys": shown, "admin_signers": signers}
    _write(home / DEMO_KEYS_FILE, json.dumps(keys, indent=2).encode() + b"\n")


def _write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
