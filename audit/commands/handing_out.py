"""``auditlog export``: what leaves the gateway for an auditor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

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
    from audit.formats.view import Selection, View
    from audit.record import Entry

T = TypeVar("T")
_EVERY = 256  # records between two looks at the bar


class Kind(StrEnum):
    BUNDLE = "bundle"
    JSONL = "jsonl"
    CSV = "csv"
    SYSLOG = "syslog"
    CEF = "cef"
    PARQUET = "parquet"
    FHIR = "fhir"
    OCSF = "ocsf"


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
    certification: Annotated[
        bool, typer.Option("--certification", help="A bundle: add sums of all files and a form.")
    ] = False,
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
    if kind is Kind.BUNDLE and key is not None:
        fail("a bundle is sealed: it takes --from, --to and --event, and no --key", 2)
    if kind is not Kind.BUNDLE and certification:
        fail("--certification is for bundles, which can be verified", 2)
    with plain_errors():
        if out.exists():
            fail("there is something at the place of the export already")
        wanted = Wanted(source, out, kind, selection, key, keystore, certification)
        count = _export(wanted, passphrase_file)
    if output is Output.JSON:
        name = "bundle" if kind is Kind.BUNDLE else "file"
        print_json({"records": count, name: str(out)})
    else:
        verify = f" Verify with: auditlog verify {out}" if kind is Kind.BUNDLE else ""
        typer.echo(f"{count} records in {out}.{verify}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An export as it was asked for."""

    source: Path
    out: Path
    kind: Kind
    selection: Selection
    key: Path | None
    keystore: Path | None
    certification: bool


def _export(wanted: Wanted, passphrase_file: Path | None) -> int:
    """Keys first, so that what cannot be done is not recorded as done; then on record; then out."""
    from audit.export import open_evidence, open_whole, views
    from audit.keys import KeyStore, load_private
    from audit.ledger import record_act
    from audit.replay import spared, tags_of
    from audit.seal import open_entry
    from audit.storage.place import holds_ledger

    source, selection = wanted.source, wanted.selection
    with ExitStack() as stack:
        opening = None
        if wanted.key is not None and wanted.keystore is not None:
            private = load_private(wanted.key.read_bytes(), read_passphrase(passphrase_file))
            keys = KeyStore.open(wanted.keystore, readonly=True)
            stack.callback(keys.close)
            with open_whole(source) as log:
                # A copy of the key store that is older than an erasure still has its keys.
                readable = spared(keys.key, tags_of(item.body for item in log.items()))
            opening = partial(open_entry, key=readable, private=private)
        write = None if wanted.kind is Kind.BUNDLE else _writer(wanted.kind)
        # A home is the place of a ledger; a bundle's directory cannot be appended to.
        if holds_ledger(source):
            record_act(source, _act(wanted.kind, selection, opened=opening is not None))
        if write is None:
            return _bundle(wanted)
        evidence = stack.enter_context(open_evidence(source))
        items = shown(evidence.items(), evidence.total())
        return write(wanted.out, views(items, selection, opening))


def _bundle(wanted: Wanted) -> int:
    from audit.bundle import export_bundle
    from audit.certification import Certification
    from audit.formats.view import Selection
    from audit.policytexts import texts_of
    from audit.storage.place import place_in

    return export_bundle(
        place_in(wanted.source),
        wanted.out,
        selection=None if wanted.selection == Selection() else wanted.selection,
        policies=texts_of(wanted.source) if wanted.source.is_dir() else (),
        certification=Certification(datetime.now(UTC)) if wanted.certification else None,
        shown=shown,
    )


def _writer(kind: Kind) -> Callable[[Path, Iterable[View]], int]:
    """What writes this format. Found before anything is put on record: it may not be installed."""
    from audit.export import write_records

    if kind is Kind.PARQUET:
        try:
            from audit.formats.parquet import write_parquet
        except ImportError:
            fail("Parquet needs pyarrow: run `make extras`")
        return write_parquet
    return lambda out, found: write_records(out, kind.value, found)


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


def shown(items: Iterator[T], total: int) -> Iterator[T]:
    """The same, with a bar on a terminal's standard error: how many of all, how fast, how long."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    if not sys.stderr.isatty():
        yield from items
        return
    rate = TextColumn("{task.fields[rate]} records/s")
    columns = (BarColumn(), MofNCompleteColumn(), rate, Remaining())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task, began = progress.add_task("", total=total, rate="-"), time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            if count % _EVERY == 0:
                rate_now = round(count / max(time.monotonic() - began, 1e-3))
                progress.update(task, completed=count, rate=rate_now)
        progress.update(task, completed=total)


def register(app: typer.Typer) -> None:
    app.command()(export)
