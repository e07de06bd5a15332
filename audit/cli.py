"""``auditlog``: what an auditor holds in hand. Needs nothing of the gateway.

Exit codes of ``verify`` are DESIGN §3: 0 verified and anchored, 10 consistent but unanchored,
20 nothing or bytes missing, 30 contradicts what was kept, 40 tampered. Others: 0 done, 1 failed,
2 wrong use. Libraries that take long to load are imported by the command that needs them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from audit.verify import Report

_HELP = "Read, verify and export the gateway's sealed log."
app = typer.Typer(name="auditlog", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


def _home() -> Path:
    return Path(os.environ.get("CLOISTER_HOME", ".cloister"))


_Source = Annotated[
    Path,
    typer.Argument(
        default_factory=_home, help="A bundle, a ledger file or a gateway's home ($CLOISTER_HOME)."
    ),
]
_OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print the answer.")]
_Passphrase = Annotated[
    Path | None, typer.Option(help="A file whose first line is the private key's passphrase.")
]


def main() -> None:
    """The entry point of ``auditlog``."""
    app()


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"auditlog: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def _plain_errors(code: int = 1) -> Iterator[None]:
    """One line for people instead of a traceback. Messages of AuditError are safe to show."""
    from audit.errors import AuditError  # noqa: PLC0415 - see the module's docstring

    try:
        yield
    except AuditError as error:
        _fail(str(error), code)
    except OSError as error:
        _fail(error.strerror or "a file cannot be used", code)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _read_passphrase(path: Path | None) -> bytes | None:
    return path.read_bytes().split(b"\n", 1)[0] if path else None


# --- verify -------------------------------------------------------------------------------------


@app.command()
def verify(
    source: _Source,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that you kept elsewhere: the anchor.")
    ] = None,
    receipt: Annotated[
        list[Path] | None, typer.Option(help="A signed receipt that somebody was given.")
    ] = None,
    output: _OutputOption = Output.TEXT,
) -> None:
    """Verify a log; the exit code is the verdict (0, 10, 20, 30, 40)."""
    from audit.errors import FormatError, MissingError  # noqa: PLC0415
    from audit.export import open_evidence  # noqa: PLC0415
    from audit.record import minute  # noqa: PLC0415
    from audit.verify import Code, Report, check_kept  # noqa: PLC0415
    from audit.verify import verify as judge  # noqa: PLC0415

    with _plain_errors(2):
        kept = [path.read_bytes() for path in checkpoint or []]
        receipts = [path.read_bytes() for path in receipt or []]
        check_kept(kept, receipts)
        try:
            with open_evidence(source) as evidence:
                now = minute(datetime.now(UTC))
                report = judge(evidence, kept=kept, receipts=receipts, now=now)
        except MissingError as failed:
            report = Report(Code.MISSING, f"Bytes are missing: {failed}.")
        except FormatError as failed:
            report = Report(Code.TAMPERED, f"Tampered: {failed}.")
    if output is Output.JSON:
        _print_json(_report_json(report))
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
        "open_intents": [
            {"index": i.index, "rid": i.rid, "minute": i.minute, "reason": i.reason}
            for i in report.open_intents
        ],
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
    if report.receipts:
        typer.echo(f"receipts     {report.receipts} in place")
    for intent in report.open_intents:
        typer.echo(
            f"open intent  record {intent.index}, {intent.minute}, receipt {intent.rid}: "
            f"{intent.reason}, no outcome was written"
        )
    if int(report.code) == 10:  # noqa: PLR2004 - unanchored
        typer.echo("keep         `auditlog checkpoint > kept.txt`, away from this machine")


# --- checkpoint, export -------------------------------------------------------------------------


@app.command()
def checkpoint(source: _Source) -> None:
    """Print the newest signed checkpoint: keep it elsewhere, it anchors `verify`."""
    from audit.errors import MissingError  # noqa: PLC0415
    from audit.export import open_evidence  # noqa: PLC0415

    with _plain_errors(), open_evidence(source) as evidence:
        newest = None
        for newest in evidence.checkpoints():  # noqa: B007 - the last one is wanted
            pass
        if newest is None:
            raise MissingError("no checkpoint was signed yet")
        typer.echo(newest, nl=False)


@app.command()
def export(
    source: _Source,
    out: Annotated[Path, typer.Option(help="The bundle to write: NAME.zip, or a directory.")],
    output: _OutputOption = Output.TEXT,
) -> None:
    """Write a bundle: records, checkpoints, and the stand-alone verifier.

    From a gateway's home, the export is put on record first; a ledger file is copied as it is.
    """
    from audit.export import export_bundle  # noqa: PLC0415
    from audit.ledger import LEDGER_FILE, record_act  # noqa: PLC0415
    from audit.record import Entry  # noqa: PLC0415

    with _plain_errors():
        if out.exists():
            _fail("there is something at the place of the bundle already")
        if source.is_dir():
            record_act(source, Entry("export.made", features={"role": "operator"}))
        count = export_bundle(source / LEDGER_FILE if source.is_dir() else source, out)
    if output is Output.JSON:
        _print_json({"records": count, "bundle": str(out)})
    else:
        typer.echo(f"{count} records in {out}. Verify with: auditlog verify {out}")


# --- keygen, show -------------------------------------------------------------------------------


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(help="Where the private key goes; FILE.pub is beside it.")],
    name: Annotated[str, typer.Option(help="The auditor's name, as records will show it.")],
    passphrase_file: _Passphrase = None,
) -> None:
    """Make an auditor's key pair. The private half never goes to the gateway."""
    from audit.keys import auditor_line, generate_auditor  # noqa: PLC0415

    with _plain_errors():
        auditor, pem = generate_auditor(name, _read_passphrase(passphrase_file))
        descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        public = out.with_name(out.name + ".pub")
        public.write_text(auditor_line(auditor), "utf-8")
    typer.echo(f"private key  {out} (keep it away from the gateway)")
    typer.echo(f"public key   {public} (register it: gateway init --auditor {public})")


@app.command()
def show(  # noqa: PLR0913, PLR0917 - one option each
    source: _Source,
    key: Annotated[Path, typer.Option(help="Your private key.")],
    keystore: Annotated[Path, typer.Option(help="The gateway's keystore.db: reading needs both.")],
    receipt_id: Annotated[str | None, typer.Option("--rid", help="Only this receipt.")] = None,
    index: Annotated[int | None, typer.Option(help="Only this record.")] = None,
    passphrase_file: _Passphrase = None,
    output: _OutputOption = Output.TEXT,
) -> None:
    """Decrypt records. Verify first: this command opens seals and proves nothing."""
    from audit.export import open_evidence  # noqa: PLC0415
    from audit.keys import KeyStore, load_private  # noqa: PLC0415
    from audit.record import parse  # noqa: PLC0415

    found = 0
    with _plain_errors():
        private = load_private(key.read_bytes(), _read_passphrase(passphrase_file))
        keys = KeyStore.open(keystore, readonly=True)
        with open_evidence(source) as evidence:
            for item in evidence.items():
                if index is not None and item.index != index:
                    continue
                record = parse(item.body)
                if receipt_id is not None and record.header.rid != receipt_id:
                    continue
                found += 1
                shown = _opened(item.index, record, keys, private)
                if output is Output.JSON:
                    typer.echo(json.dumps(shown, ensure_ascii=True, sort_keys=True))
                else:
                    _print_record(shown)
        keys.close()
    if not found:
        _fail("no such record")


def _opened(index: int, record: Any, keys: Any, private: Any) -> dict[str, Any]:
    from audit.errors import MissingError  # noqa: PLC0415
    from audit.seal import open_entry  # noqa: PLC0415

    header = record.header.to_json()
    del header["v"], header["origin"]
    try:
        opened = open_entry(record, keys.key, private)
    except MissingError as failed:
        return {"index": index, **header, "unreadable": str(failed)}
    return {
        "index": index,
        **header,
        "at": opened.at,
        "sealed": dict(opened.sealed),
        "text": dict(opened.text),
        "values": [dict(group) for group in opened.values],
        "erased_parts": opened.erased,
    }


def _print_record(shown: dict[str, Any]) -> None:
    """Readable for people; control characters in texts stay escaped."""
    typer.echo(f"record {shown.pop('index')}  {shown['event']}  {shown.pop('minute')}")
    for name, value in shown.items():
        if value not in (None, {}, [], 0) and name != "event":
            text = json.dumps(value, ensure_ascii=False, sort_keys=True)
            typer.echo(f"  {name:<13} {''.join(map(_visible, text))}")


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
