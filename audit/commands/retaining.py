"""``auditlog hold`` and ``expire``: how long keys live."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.commands.common import (
    Output,
    OutputOption,
    Passphrase,
    Source,
    fail,
    plain_errors,
    print_json,
)
from audit.commands.erasing import Key, opened_home

_HELP = "Legal holds: what must not expire or be erased."
hold_app = typer.Typer(name="hold", help=_HELP, no_args_is_help=True)
Reason = Annotated[str, typer.Option(help="Why; sealed to the auditors.")]


@hold_app.command("set")
def set_(
    home: Source,
    key: Key,
    reason: Reason,
    subject: Annotated[str | None, typer.Option(help="An identifier, in any spelling.")] = None,
    matter: Annotated[str | None, typer.Option(help="A matter.")] = None,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Keep what concerns a subject or a matter, on record."""
    from audit.retention import set_hold

    with opened_home(home, key, passphrase_file) as (ledger, private):
        hold = set_hold(ledger, private, reason, subject=subject, matter=matter)
    if output is Output.JSON:
        print_json({"hold": hold.id, "record": hold.index, "unreadable": hold.unreadable})
    else:
        typer.echo(f"hold {hold.id}, record {hold.index}")
        if hold.unreadable:
            typer.echo(
                f"{hold.unreadable} records do not open with this key. Nothing expires until"
            )
            typer.echo("an auditor who opens them runs `auditlog expire --key`.")


@hold_app.command("release")
def release(
    home: Source,
    hold: Annotated[str, typer.Option(help="The hold's id, as `hold set` printed it.")],
    key: Key,
    reason: Reason,
    passphrase_file: Passphrase = None,
) -> None:
    """End a hold, on record. What it kept expires as the rest does."""
    from audit.retention import release_hold

    with opened_home(home, key, passphrase_file) as (ledger, private):
        release_hold(ledger, private, hold, reason)
    typer.echo(f"hold {hold} is released")


@hold_app.command("list")
def list_(
    home: Source,
    key: Key,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the holds in force."""
    from audit.retention import holds

    with opened_home(home, key, passphrase_file) as (ledger, private):
        rows: list[dict[str, Any]] = [
            {"hold": h.id, "record": h.index, "since": h.since, "subject": h.subject,
             "matter": h.matter, "reason": h.reason}
            for h in holds(ledger, private)
        ]  # fmt: skip
    if output is Output.JSON:
        print_json(rows)
        return
    for row in rows:
        kept = row["subject"] or row["matter"]
        line = f"{row['hold']}  {row['since']}  {kept or 'does not open'}  {row['reason']}"
        typer.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


def expire(
    home: Source,
    key: Annotated[Path | None, typer.Option(help="Your private key: refreshes holds.")] = None,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Destroy the keys of past months, on record; with a private key, holds are refreshed first."""
    from datetime import UTC, datetime

    from audit.ledger import Ledger
    from audit.retention import expire as run
    from audit.retention import refresh_holds, trust_clock

    incomplete = 0
    if key is not None:
        with opened_home(home, key, passphrase_file) as (ledger, private):
            incomplete = refresh_holds(ledger, private)
            done = run(ledger)
            trust_clock(ledger)
    else:
        with plain_errors():
            ledger = Ledger.open(home, clock=lambda: datetime.now(UTC))
            try:
                done = run(ledger)
                trust_clock(ledger)
            finally:
                ledger.close()
    if output is Output.JSON:
        print_json({**asdict(done), "incomplete_holds": incomplete})
        return
    typer.echo(f"destroyed    {done.destroyed} keys of the months before {done.before}")
    if done.held:
        typer.echo(f"held         {done.held} keys by a legal hold")
    if done.waiting:
        typer.echo("waiting      a hold keeps whole months: run this with an auditor's --key")
    if incomplete:
        fail(f"{incomplete} holds, or records they may be on, do not open with this key")


def register(app: typer.Typer) -> None:
    app.add_typer(hold_app)
    app.command()(expire)
