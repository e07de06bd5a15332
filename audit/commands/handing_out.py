"""``auditlog checkpoint`` and ``export``: what leaves the gateway for an auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.common import Output, OutputOption, Source, fail, plain_errors, print_json


def checkpoint(source: Source) -> None:
    """Print the newest signed checkpoint: keep it elsewhere, it anchors `verify`."""
    from audit.errors import MissingError
    from audit.export import open_evidence

    with plain_errors(), open_evidence(source) as evidence:
        newest = None
        for newest in evidence.checkpoints():  # noqa: B007 - the last one is wanted
            pass
        if newest is None:
            raise MissingError("no checkpoint was signed yet")
        typer.echo(newest, nl=False)


def export(
    source: Source,
    out: Annotated[Path, typer.Option(help="The bundle to write: NAME.zip, or a directory.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a bundle: records, checkpoints, and the stand-alone verifier.

    From a gateway's home, the export is put on record first; a ledger file is copied as it is.
    """
    from audit.export import export_bundle
    from audit.ledger import record_act
    from audit.record import Entry
    from audit.storage.place import place_of

    with plain_errors():
        if out.exists():
            fail("there is something at the place of the bundle already")
        if source.is_dir():
            record_act(source, Entry("export.made", features={"role": "operator"}))
        count = export_bundle(place_of(source) if source.is_dir() else source, out)
    if output is Output.JSON:
        print_json({"records": count, "bundle": str(out)})
    else:
        typer.echo(f"{count} records in {out}. Verify with: auditlog verify {out}")


def register(app: typer.Typer) -> None:
    app.command()(checkpoint)
    app.command()(export)
