"""Which guard opens a key store: ``[keystore]`` of the settings beside it, and the environment.

A passphrase, a PIN or a token comes from a file, never from a command line or a variable's value.
What the lock says of itself never decides where a key is looked for: who can write the key store
could send a token to a server of their own.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from audit.errors import KeyStoreError
from audit.keystore.hsm import Hsm
from audit.keystore.lock import Guard
from audit.keystore.passphrase import Passphrase
from audit.keystore.transit import Transit

SETTINGS_FILE = "settings.toml"
PASSPHRASE_VARIABLE = "CLOISTER_KEYSTORE_PASSPHRASE_FILE"  # noqa: S105 - names a file
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
CREDENTIAL = "keystore-passphrase"

FindGuard = Callable[[str | None], Guard | None]
"""Gives the guard for a lock of that kind; None where there is no lock and none is asked for.

Raises KeyStoreError: no guard is set up for it, or a lock is asked for and there is none."""


@dataclass(frozen=True, slots=True)
class KeystoreSettings:
    """``[keystore]`` of settings.toml. ``lock``: none, passphrase, pkcs11 or transit.

    Relative paths count from the folder of the settings. docs/ops/keys.md explains each.
    """

    lock: str = "none"
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


def read_settings(path: Path) -> KeystoreSettings:
    """The key store's settings; the defaults where there is no file or no such table.

    Raises:
        KeyStoreError: they are not what settings look like.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("keystore", {})
    except FileNotFoundError:
        return KeystoreSettings()
    except (OSError, ValueError):
        raise KeyStoreError("the settings beside the key store cannot be read") from None
    names = {one.name for one in fields(KeystoreSettings)}
    if not isinstance(table, dict) or not table.keys() <= names:
        raise KeyStoreError("[keystore] has a setting that is not known")
    if not all(isinstance(value, str) for value in table.values()):
        raise KeyStoreError("the settings of [keystore] are texts")
    return KeystoreSettings(**table)


def guard_of(
    settings: KeystoreSettings, folder: Path, environment: Mapping[str, str], kind: str
) -> Guard:
    """The guard of that kind, as the settings and the environment say.

    Raises:
        KeyStoreError: nothing says where it is, or it cannot be read.
    """
    if kind == "passphrase":
        path, private = _passphrase_file(settings, folder, environment)
        return Passphrase(secret_from(path, private=private))
    # Settings of a lock that is given up stay until nothing is under it any more.
    if settings.lock not in (kind, "none"):
        raise KeyStoreError(f"the key store is locked with {kind}: [keystore] has to say so")
    if kind == "pkcs11":
        return Hsm(
            _said(settings.pkcs11_module),
            _said(settings.pkcs11_token),
            _said(settings.pkcs11_key),
            _text(secret_from(folder / _said(settings.pkcs11_pin_file))),
        )
    if kind == "transit":
        return Transit(
            _said(settings.transit_url),
            _said(settings.transit_mount),
            _said(settings.transit_key),
            _text(secret_from(folder / _said(settings.transit_token_file))),
            str(folder / settings.transit_ca_file) if settings.transit_ca_file else "",
        )
    raise KeyStoreError("keystore.lock is none of: none, passphrase, pkcs11, transit")


def _said(value: str) -> str:
    if not value:
        raise KeyStoreError("[keystore] lacks a setting that its lock needs: docs/ops/keys.md")
    return value


def _text(secret: bytes) -> str:
    try:
        return secret.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyStoreError("a file with a secret of the key store is no text") from None


def _passphrase_file(
    settings: KeystoreSettings, folder: Path, environment: Mapping[str, str]
) -> tuple[Path, bool]:
    """The file, and whether its mode has to say that it is private."""
    named = environment.get(PASSPHRASE_VARIABLE)
    credentials = environment.get(CREDENTIALS_VARIABLE)
    if named:
        return Path(named), True
    if settings.passphrase_file:
        return folder / settings.passphrase_file, True
    if credentials and (Path(credentials) / CREDENTIAL).exists():
        # systemd keeps the folder from others, and shows an ACL for the service as group access.
        return Path(credentials) / CREDENTIAL, False
    raise KeyStoreError(
        "the key store is locked with a passphrase: name its file in "
        f"keystore.passphrase_file or ${PASSPHRASE_VARIABLE}"
    )


def secret_from(path: Path, *, private: bool = True) -> bytes:
    """The first line of a file.

    Raises:
        KeyStoreError: it cannot be read, or others may read it.
    """
    try:
        if private and path.stat().st_mode & 0o077:
            raise KeyStoreError("a file with a secret of the key store is readable to others")
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError:
        raise KeyStoreError("a file with a secret of the key store cannot be read") from None


def guard_from(settings: KeystoreSettings, folder: Path) -> FindGuard:
    """Find the guard of a key store of these settings when it is needed."""

    def find(kind: str | None) -> Guard | None:
        if kind is not None:
            return guard_of(settings, folder, os.environ, kind)
        if settings.lock != "none":
            raise KeyStoreError(
                "the settings ask for a locked key store and it is not: auditlog keystore lock"
            )
        return None

    return find


def guard_beside(path: Path) -> FindGuard:
    """As ``guard_from``, with the settings of the home that the key store lies in."""

    def find(kind: str | None) -> Guard | None:
        return guard_from(read_settings(path.parent / SETTINGS_FILE), path.parent)(kind)

    return find
