"""``auditlog keystore``: what the key store of a gateway is encrypted with (docs/ops/keys.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.common import Output, OutputOption, Source, plain_errors, print_json

if TYPE_CHECKING:
    from audit.keystore.change import Change
    from audit.keystore.lock import Guard

keystore = typer.Typer(help="What encrypts the key store.", no_args_is_help=True)


@keystore.command()
def status(source: Source, output: OutputOption = Output.TEXT) -> None:
    """Tell what the key store is locked with. Needs no key."""
    from audit.keystore.change import state

    with plain_errors():
        lock = state(_path(source))
    kind, complete = (lock.kind, lock.complete) if lock else ("none", True)
    if output is Output.JSON:
        print_json({"lock": kind, "complete": complete})
    elif complete:
        typer.echo(f"lock  {kind}")
    else:
        typer.echo(f"lock  {kind}, not complete: run the command that was broken off again")


@keystore.command()
def lock(source: Source) -> None:
    """Encrypt the key store with what [keystore] of the settings names. Goes on if broken off."""
    _change(source, "keystore.locked", lambda change: change.lock(_guard(source)))
    typer.echo("The key store is locked. Without what opens it, the past cannot be read.")


@keystore.command()
def rotate(source: Source) -> None:
    """Put every row under a new key, while the gateway runs. Goes on if broken off."""
    _change(source, "keystore.rotated", lambda change: change.rotate(_guard(source)))
    typer.echo("Every row is under a new key.")


@keystore.command()
def rotate_signing(source: Source, output: OutputOption = Output.TEXT) -> None:
    """Let a new key sign the log, while the gateway runs; destroy the old one."""
    from audit.rotate import rotate_signing as rotate_now

    with plain_errors():
        done = rotate_now(source, clock=lambda: datetime.now(UTC))
    if output is Output.JSON:
        print_json({"vkey": done.key.vkey(), "from": done.size, "checkpoint": done.checkpoint})
        return
    typer.echo(f"Records from {done.size} on are signed with {done.key.vkey()}")
    typer.echo("Keep this checkpoint elsewhere now: `auditlog checkpoint`. Have it cosigned.")


@keystore.command()
def change(
    source: Source,
    old_passphrase_file: Annotated[
        Path | None, typer.Option(help="A file with the passphrase that opens it until now.")
    ] = None,
    old_settings: Annotated[
        Path | None, typer.Option(help="A copy of the settings that open it until now.")
    ] = None,
) -> None:
    """Let what the settings name now open the key store, instead of what opens it until now."""
    _change(
        source,
        "keystore.changed",
        lambda one: one.guard(
            _named_guard(source, old_passphrase_file, old_settings), _guard(source)
        ),
    )
    typer.echo("The key store opens as the settings say. Copies made before open as they did.")


@keystore.command()
def unlock(source: Source) -> None:
    """Decrypt the key store for good, once keystore.lock is none. Goes on if broken off."""
    _change(source, "keystore.unlocked", lambda change: change.unlock(_old_guard(source)))
    typer.echo("The key store is not encrypted any more.")


def _path(source: Path) -> Path:
    from audit.ledger import KEYSTORE_FILE

    return source / KEYSTORE_FILE if source.is_dir() else source


def _guard(source: Path) -> Guard:
    """What the settings name, in a home or beside a key store."""
    from audit.errors import KeyStoreError
    from audit.keystore.find import SETTINGS_FILE, guard_of, read_settings

    folder = _path(source).parent
    settings = read_settings(folder / SETTINGS_FILE)
    if settings.lock == "none":
        raise KeyStoreError("keystore.lock of the settings names nothing to encrypt with")
    return guard_of(settings, folder, os.environ, settings.lock)


def _old_guard(source: Path) -> Guard:
    """What opens the key store, once the settings do not ask for a lock any more.

    They come first: a gateway that runs meanwhile would not take an open key store otherwise.
    """
    from audit.errors import KeyStoreError
    from audit.keystore.change import state
    from audit.keystore.find import SETTINGS_FILE, guard_of, read_settings

    folder, found = _path(source).parent, state(_path(source))
    settings = read_settings(folder / SETTINGS_FILE)
    if settings.lock != "none" or found is None:
        raise KeyStoreError("set keystore.lock to none first, or it is not locked")
    return guard_of(settings, folder, os.environ, found.kind)


def _named_guard(source: Path, passphrase: Path | None, settings: Path | None) -> Guard:
    from audit.errors import KeyStoreError
    from audit.keystore.change import state
    from audit.keystore.find import guard_of, read_settings, secret_from
    from audit.keystore.passphrase import Passphrase

    found = state(_path(source))
    if found is None:
        raise KeyStoreError("the key store is not locked")
    if passphrase is not None:
        return Passphrase(secret_from(passphrase))
    if settings is None or not settings.exists():
        raise KeyStoreError("say what opens it until now: --old-passphrase-file or --old-settings")
    return guard_of(read_settings(settings), settings.parent, {}, found.kind)


def _change(source: Path, event: str, work: Callable[[Change], None]) -> None:
    """Do it, and put it on record where there is a ledger beside the key store."""
    from audit.keystore.change import Change
    from audit.ledger import record_act
    from audit.record import Entry

    with plain_errors():
        work(Change(_path(source)))
        if source.is_dir():
            record_act(source, Entry(event, features={"role": "operator"}))


def register(app: typer.Typer) -> None:
    app.add_typer(keystore, name="keystore")
