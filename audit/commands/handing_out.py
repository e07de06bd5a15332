"""``auditlog export``: what leaves the gateway for an auditor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.common import (
    Output,
    OutputOption,
    Passphrase,
    Source,
    fail,
    plain_errors,
    print_json,
    read_passphrase,
)

if TYPE_CHECKING:
    from audit.formats.view import Selection
    from audit.record import Entry
    from audit.verify import Item


class Kind(StrEnum):
    BUNDLE = "bundle"
    JSONL = "jsonl"
    CSV = "csv"
    SYSLOG = "syslog"
    CEF = "cef"


def export(
    source: Source,
    out: Annotated[Path, typer.Option(help="What to write; a bundle: NAME.zip or a directory.")],
    kind: Annotated[Kind, typer.Option("--format", help="The format.")] = Kind.BUNDLE,
    since: Annotated[str | None, typer.Option("--from", help="First date or minute, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last date or minute, UTC.")] = None,
    event: Annotated[str | None, typer.Option(help="Only this event.")] = None,
    principal: Annotated[str | None, typer.Option(help="Only this principal's; by key.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this subject; by key.")] = None,
    key: Annotated[Path | None, typer.Option(help="Your private key: opens seals.")] = None,
    keystore: Annotated[Path | None, typer.Option(help="The gateway's keystore.db.")] = None,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a bundle that can be verified, or records for other programs.

    From a gateway's home, the export is put on record first; a ledger file is copied as it is.
    """
    from audit.errors import RecordError
    from audit.formats.view import Selection, moment

    try:
        selection = Selection(
            moment(since, last=False) if since else None,
            moment(until, last=True) if until else None,
            event, principal, subject,
        )  # fmt: skip
    except RecordError as wrong:
        fail(str(wrong), 2)
    if (key is None) != (keystore is None):
        fail("--key and --keystore go together: reading needs both", 2)
    if selection.needs_key and key is None:
        fail("principals and subjects are sealed: --principal and --subject need --key", 2)
    if kind is Kind.BUNDLE and (key is not None or selection != Selection()):
        fail("a bundle holds the whole log, sealed: name another --format to choose or open", 2)
    with plain_errors():
        if out.exists():
            fail("there is something at the place of the export already")
        count = _export(source, out, kind, selection, key, keystore, passphrase_file)
    if output is Output.JSON:
        name = "bundle" if kind is Kind.BUNDLE else "file"
        print_json({"records": count, name: str(out)})
    else:
        verify = f" Verify with: auditlog verify {out}" if kind is Kind.BUNDLE else ""
        typer.echo(f"{count} records in {out}.{verify}")


def _export(
    source: Path,
    out: Path,
    kind: Kind,
    selection: Selection,
    key: Path | None,
    keystore: Path | None,
    passphrase_file: Path | None,
) -> int:
    """Keys first, so that what cannot be done is not recorded as done; then on record; then out."""
    from audit.export import export_bundle, open_evidence, views, write_records
    from audit.keys import KeyStore, load_private
    from audit.ledger import record_act
    from audit.seal import open_entry
    from audit.storage.place import holds_ledger, place_in

    with ExitStack() as stack:
        opening = None
        if key is not None and keystore is not None:
            private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
            keys = KeyStore.open(keystore, readonly=True)
            stack.callback(keys.close)
            opening = partial(open_entry, key=keys.key, private=private)
        # A home is the place of a ledger; a bundle's directory cannot be appended to.
        if holds_ledger(source):
            record_act(source, _act(kind, selection, opened=opening is not None))
        if kind is Kind.BUNDLE:
            return export_bundle(place_in(source), out)
        evidence = stack.enter_context(open_evidence(source))
        return write_records(out, kind.value, views(_shown(evidence.items()), selection, opening))


def _act(kind: Kind, selection: Selection, *, opened: bool) -> Entry:
    """The record of an export. Who is asked about is sealed under that subject's own key."""
    from audit.record import Entry

    filters = {
        "from": selection.since,
        "to": selection.until,
        "event": selection.event,
        "principal": selection.principal,
        "subject": selection.subject is not None,
    }
    sealed = {"account": os.getuid(), "format": kind.value, "filters": filters, "opened": opened}
    return Entry(
        "export.made", features={"role": "operator"}, sealed=sealed, subject=selection.subject
    )


def _shown(items: Iterator[Item]) -> Iterator[Item]:
    """The same, with a count on a terminal's standard error."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield from items
        return
    count = TextColumn("{task.completed} records read")
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), count, TimeElapsedColumn(), console=console) as progress:
        yield from progress.track(items)


def register(app: typer.Typer) -> None:
    app.command()(export)
