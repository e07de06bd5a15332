"""The settings of one gateway: ``CLOISTER_HOME/settings.toml``, read once at start.

Every key has a safe default, unknown keys are refused, and nothing security-relevant can be
switched off by leaving a value empty. ``deploy/settings.example.toml`` shows every key.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.errors import SettingsError

DEFAULT_HOME = ".cloister"
SETTINGS_FILE = "settings.toml"
DEMO_MARKER = "DEMO"
API_KEYS_FILE = "api-keys.json"
OWNER_KEY_FILE = "receipts.key"
_OWNER_KEY_BYTES = 32
POLICIES_DIR = "policies"
RECOGNIZERS_DIR = "recognizers"

_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway listens. Beyond loopback it refuses to start without TLS."""

    host: str = "127.0.0.1"
    port: _Port = 8080
    tls_certificate: str = ""
    tls_key: str = ""
    body_limit_bytes: _Positive = 2 * 1024 * 1024
    depth_limit: Annotated[int, msgspec.Meta(ge=4, le=200)] = 64
    request_timeout_s: _Seconds = 300.0


class Detection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``languages``: ISO 639-1 codes served; a request in another one runs all of them."""

    languages: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("en", "es", "fr", "de")
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``isolation = "none"`` runs native code without its wall, and every record says so.

    ``slots``: answers at once per model, ``queue``: requests that wait for one. ``memory_mib`` 0:
    three quarters of the machine's memory; models beyond it are unloaded, or refused.
    ``shared_prompts``: files, each a system prompt that all users may share in the cache.
    """

    isolation: Literal["required", "none"] = "required"
    default_model: str = "auto"
    bundled_model: bool = True
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    queue: Annotated[int, msgspec.Meta(ge=0)] = 32
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    deadline_s: _Seconds = 120.0
    memory_mib: Annotated[int, msgspec.Meta(ge=0)] = 0
    shared_prompts: tuple[str, ...] = ()


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model on OpenAI-compatible servers on loopback or private addresses; TLS beyond loopback.

    ``failures`` in a row leave a server out for ``cool_down_s``, and for twice as long each time it
    fails again. ``shared_cache``: a server that knows no ``cache_salt`` may use the beginning of
    one user's prompt again for another, who can measure that.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    urls: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    model: str
    context: _Positive = 8192
    adapters: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=128)], ...] = ()
    tags: tuple[str, ...] = ()
    zone: str = "local"
    api_key_file: str = ""
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    connect_timeout_s: _Seconds = 5.0
    read_timeout_s: _Seconds = 60.0
    health_path: str = "models"
    health_interval_s: _Seconds = 10.0
    failures: _Positive = 3
    cool_down_s: _Seconds = 5.0
    longest_cool_down_s: _Seconds = 120.0
    shared_cache: bool = False
    size_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Policies in force, by name: from ``CLOISTER_HOME/policies`` first, then the shipped ones."""

    in_force: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("hipaa", "gdpr")


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``retain_months`` counts from the record; keys of older records are then destroyed.

    ``floor_months``: how long of these the law keeps them, against a request to erase (GDPR
    Art. 17(3)(b)). ``ceiling_months``: what ``retain_months`` may be at most.

    ``url``: ``postgresql://USER@HOST:PORT/DATABASE``, TLS beyond loopback; empty: a SQLite file in
    the home. Its password stands in ``password_file``; ``ca_file`` is who vouches for the server.
    """

    url: str = ""
    password_file: str = ""
    ca_file: str = ""
    checkpoint_records: _Positive = 256
    checkpoint_s: _Seconds = 60.0
    retain_months: Annotated[int, msgspec.Meta(ge=1, le=1200)] = 72
    floor_months: Annotated[int, msgspec.Meta(ge=0, le=1200)] = 0
    ceiling_months: Annotated[int, msgspec.Meta(ge=1, le=1200)] = 1200


class KeystoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What encrypts the key store. The log reads this table itself: docs/ops/keys.md."""

    lock: Literal["none", "passphrase", "pkcs11", "transit"] = "none"
    passphrase_file: str = ""
    pkcs11_module: str = ""
    pkcs11_token: str = ""
    pkcs11_key: str = ""
    pkcs11_pin_file: str = ""
    transit_url: str = ""
    transit_mount: str = "transit"
    transit_key: str = ""
    transit_token_file: str = ""
    transit_ca_file: str = ""


class EnergySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an answer is taken to cost. ``grid_gco2e_per_kwh`` 0: CO2e is not told.

    ``watts_per_core`` counts where the processor's own counters cannot be read: 350 W over 56
    cores, the TDP of an Intel Xeon Platinum 8480+.
    """

    watts_per_core: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 6.25
    grid_gco2e_per_kwh: Annotated[float, msgspec.Meta(ge=0, le=5000)] = 0.0


class WatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the readable part of each record is sent on, and when an alert is raised.

    ``syslog``: the path of a Unix datagram socket, or ``127.0.0.1:514``; ``file``: beside the
    settings, or absolute; empty: none. Alerts count a principal's day; 0 raises none of its kind.
    """

    syslog: str = ""
    file: str = ""
    file_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 16 * 1024 * 1024
    file_keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    subjects_per_day: Annotated[int, msgspec.Meta(ge=0)] = 100
    denials_per_day: Annotated[int, msgspec.Meta(ge=0)] = 20
    break_glass_per_day: Annotated[int, msgspec.Meta(ge=0)] = 1
    open_intents: Annotated[int, msgspec.Meta(ge=0)] = 1

    def syslog_address(self) -> str | tuple[str, int] | None:
        """A path, a loopback address and port, or None.

        Raises:
            SettingsError: neither an absolute path nor a port of this machine.
        """
        if not self.syslog or self.syslog.startswith("/"):
            return self.syslog or None
        host, _, port = self.syslog.rpartition(":")
        host = host.strip("[]")
        if host == "localhost" or not is_loopback(host) or not port.isdecimal():
            raise SettingsError("watch.syslog is a socket's path or 127.0.0.1:PORT or [::1]:PORT.")
        return host, int(port)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings. ``load`` is the only way in that checks them."""

    server: Server = Server()
    detection: Detection = Detection()
    engine: EngineSettings = EngineSettings()
    upstream: tuple[Upstream, ...] = ()
    energy: EnergySettings = EnergySettings()
    policy: PolicySettings = PolicySettings()
    ledger: LedgerSettings = LedgerSettings()
    keystore: KeystoreSettings = KeystoreSettings()
    watch: WatchSettings = WatchSettings()


def home_from_environment() -> Path:
    """Return ``CLOISTER_HOME`` or the default, absolute."""
    return Path(os.environ.get("CLOISTER_HOME") or DEFAULT_HOME).absolute()


def owner_key(home: Path) -> bytes:
    """The key that ties receipt ids to their owners.

    Raises:
        SettingsError: it is missing or not what `gateway init` wrote.
    """
    try:
        key = (home / OWNER_KEY_FILE).read_bytes()
    except OSError:
        key = b""
    if len(key) != _OWNER_KEY_BYTES:
        raise SettingsError(f"{OWNER_KEY_FILE} is missing or damaged; `gateway init` creates it.")
    return key


def is_demo(home: Path) -> bool:
    return (home / DEMO_MARKER).exists()


def load(home: Path) -> Settings:
    """Read and check the settings of ``home``.

    Raises:
        SettingsError: no file, not TOML, an unknown key, a wrong value, or a listener beyond
            loopback without TLS (or at all, in a demo home).
    """
    path = home / SETTINGS_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}); `gateway init` creates it."
        ) from None
    try:
        settings = msgspec.toml.decode(raw, type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    check_listener(settings.server, demo=is_demo(home))
    check_retention(settings.ledger)
    settings.watch.syslog_address()
    if "@" in settings.ledger.url and ":" in settings.ledger.url.split("//", 1)[-1].split("@")[0]:
        raise SettingsError("ledger.url holds a password: put it into ledger.password_file.")
    return settings


def check_retention(ledger: LedgerSettings) -> None:
    """Refuse a retention outside its floor and ceiling.

    Raises:
        SettingsError: floor, retention and ceiling are not in this order.
    """
    if not ledger.floor_months <= ledger.retain_months <= ledger.ceiling_months:
        raise SettingsError(
            "ledger.retain_months must be between ledger.floor_months and ledger.ceiling_months."
        )


def check_listener(server: Server, *, demo: bool) -> None:
    """Refuse a listener that would show prompts to the network.

    Raises:
        SettingsError: beyond loopback without TLS, half a TLS configuration, or a demo home
            beyond loopback.
    """
    if bool(server.tls_certificate) != bool(server.tls_key):
        raise SettingsError("server.tls_certificate and server.tls_key are set together or not.")
    if is_loopback(server.host):
        return
    if demo:
        raise SettingsError("A demo home serves loopback only; run `gateway init` for a real one.")
    if not server.tls_certificate:
        raise SettingsError(
            "server.host is beyond loopback: set server.tls_certificate and server.tls_key."
        )


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is a loopback literal. Names other than localhost are not trusted."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
