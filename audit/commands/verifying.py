"""``auditlog verify``."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.commands.common import (
    Output,
    OutputOption,
    Source,
    fail,
    key_text,
    plain_errors,
    print_json,
    witness_key,
)

if TYPE_CHECKING:
    from audit.verify import Report


def verify(
    source: Source,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that you kept elsewhere: the anchor.")
    ] = None,
    receipt: Annotated[
        list[Path] | None, typer.Option(help="A signed receipt that somebody was given.")
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="A witness' verifier key, or a file that holds it (FILE.pub)."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of the witnesses must have cosigned: all.")
    ] = None,
    ml_dsa: Annotated[
        str | None, typer.Option(help="The log's ML-DSA-65 verifier key: text or a file.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="A verifier key of the log that you kept: text or a file.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify a log; the exit code is the verdict (0, 10, 20, 30, 40)."""
    from audit.checkpoint import VerifyingKey
    from audit.errors import FormatError, MissingError
    from audit.export import open_evidence
    from audit.mldsa import MlDsaKey
    from audit.record import minute
    from audit.verify import Code, Report, check_kept
    from audit.verify import verify as judge

    with plain_errors(2):
        kept = [path.read_bytes() for path in checkpoint or []]
        receipts = [path.read_bytes() for path in receipt or []]
        check_kept(kept, receipts)
        keys = [witness_key(text) for text in witness or []]
        second = None if ml_dsa is None else MlDsaKey.parse(key_text(ml_dsa))
        known = None if log is None else VerifyingKey.parse(key_text(log))
        wanted = len(keys) if threshold is None else threshold
        if wanted > len({key.public for key in keys}):
            fail("more cosignatures are asked for than there are witnesses", 2)
        try:
            with open_evidence(source) as evidence:
                now = minute(datetime.now(UTC))
                report = judge(
                    evidence, kept=kept, receipts=receipts, now=now,
                    witnesses=keys, threshold=wanted, second=second, known=known,
                )  # fmt: skip
        except MissingError as failed:
            report = Report(Code.MISSING, f"Bytes are missing: {failed}.")
        except FormatError as failed:
            report = Report(Code.TAMPERED, f"Tampered: {failed}.")
    if output is Output.JSON:
        print_json(_report_json(report))
    else:
        _print_report(report)
    raise typer.Exit(int(report.code))


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "code": int(report.code),
        "verdict": report.code.name.lower(),
        "words": report.words,
        "demo": report.demo,
        "origin": report.origin,
        "records": report.records,
        "covered": report.covered,
        "root": report.root,
        "anchored": report.anchored,
        "receipts": report.receipts,
        "chosen": report.chosen,
        "policies": list(report.policies),
        "unnamed_policies": list(report.unnamed_policies),
        "open_intents": [
            {"index": i.index, "rid": i.rid, "minute": i.minute, "reason": i.reason}
            for i in report.open_intents
        ],
        "keys": [{"from": first, "vkey": vkey} for first, vkey in report.keys],
    }


def _print_report(report: Report) -> None:
    colour = {0: "green", 10: "yellow"}.get(int(report.code), "red")
    styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    words = f"DEMO - {report.words}" if report.demo else report.words
    typer.echo(typer.style(words, fg=colour, bold=True) if styled else words)
    if not report.origin:
        return
    typer.echo(f"log          {report.origin}")
    typer.echo(f"records      {report.records}, {report.covered} under the newest checkpoint")
    typer.echo(f"root         {report.root or '-'}")
    if report.chosen is not None:
        typer.echo(f"chosen       {report.chosen} of them are here")
    for name in report.policies:
        typer.echo(f"policy       {name}: the text that records name")
    for name in report.unnamed_policies:
        typer.echo(f"policy       {name}: no record names this text")
    if len(report.keys) > 1:
        since = report.keys[-1][0]
        typer.echo(f"keys         {len(report.keys)}, the newest signs from record {since} on")
    if report.receipts:
        typer.echo(f"receipts     {report.receipts} in place")
    for intent in report.open_intents:
        typer.echo(
            f"open intent  record {intent.index}, {intent.minute}, receipt {intent.rid}: "
            f"{intent.reason}, no outcome was written"
        )
    if int(report.code) == 10:  # noqa: PLR2004 - unanchored
        typer.echo("keep         `auditlog checkpoint > kept.txt`, away from this machine")


def register(app: typer.Typer) -> None:
    app.command()(verify)
