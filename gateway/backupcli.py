"""``gateway backup``: the ledger and the key store, each apart from the other."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import AuditError
from gateway.output import Format, Output, fail, show

if TYPE_CHECKING:
    from audit.backup import Backup

backup = typer.Typer(help="Backups of ledger and key store, apart.", no_args_is_help=True)

_KINDS = {"database", "keystore"}


@backup.command("create")
def create(
    kind: Annotated[str, typer.Argument(help="`database` or `keystore`; keep them apart.")],
    out: Annotated[Path, typer.Option(help="The directory to make.")],
    output: Format = Output.TEXT,
) -> None:
    """Copy one of the two while the gateway runs or stands, with a manifest."""
    from audit.backup import Kind
    from audit.backup import create as run
    from gateway.clock import utc_now
    from gateway.settings import home_from_environment

    if kind not in _KINDS:
        raise typer.BadParameter("a backup is of the `database` or of the `keystore`")
    made = utc_now().isoformat(timespec="seconds")
    try:
        done = run(home_from_environment(), Kind(kind), out, made)
    except AuditError as error:
        fail(f"The backup cannot be made: {error}.")
    show(_row(done), f"{out}: {_line(done)}", output)


@backup.command("verify")
def verify(folder: Path, output: Format = Output.TEXT) -> None:
    """Check a backup against its manifest. Exit 1 where it is not whole."""
    from audit.backup import verify as run

    try:
        done = run(folder)
    except AuditError as error:
        fail(f"The backup is not good: {error}.")
    show(_row(done), f"{folder}: {_line(done)}", output)


@backup.command("restore")
def restore(folder: Path, output: Format = Output.TEXT) -> None:
    """Put a backup into CLOISTER_HOME, never over what is there.

    A key store replays the erasures of the ledger in the home before it comes to its place.
    """
    from audit.backup import restore as run
    from gateway.settings import home_from_environment

    try:
        done, gone = run(folder, home_from_environment())
    except AuditError as error:
        fail(f"The backup cannot be restored: {error}.")
    text = f"restored {_line(done)}; {gone} keys of erased subjects were destroyed in it"
    show({**_row(done), "erased_again": gone}, text, output)


def _row(done: Backup) -> dict[str, object]:
    return asdict(done)


def _line(done: Backup) -> str:
    held = f", {done.records} records" if done.records else ""
    return f"{done.kind.value} of {done.origin}, made {done.made}{held}, sha256 {done.sha256}"
