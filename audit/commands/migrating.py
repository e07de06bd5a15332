"""``auditlog migrate``: databases that an older version wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.common import Output, OutputOption, default_home, plain_errors, print_json


def migrate(
    home: Annotated[Path, typer.Argument(default_factory=default_home, help="A gateway's home.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Bring ledger and key store of a home to this version's schema. Stop the gateway first."""
    from audit.ledger import KEYSTORE_FILE
    from audit.storage.migrate import migrate_keystore, migrate_ledger
    from audit.storage.place import place_of

    with plain_errors():
        done = {
            "ledger": migrate_ledger(place_of(home)),
            "keystore": migrate_keystore(home / KEYSTORE_FILE),
        }
    if output is Output.JSON:
        print_json({name: {"before": old, "now": new} for name, (old, new) in done.items()})
        return
    for name, (old, new) in done.items():
        typer.echo(f"{name}: {new}" if old == new else f"{name}: {old} -> {new}")


def register(app: typer.Typer) -> None:
    app.command()(migrate)
