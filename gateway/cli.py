"""``gateway``: install, run and look after a gateway. Exit codes: 0 ok, 1 failed, 2 usage.

Heavy parts are imported inside the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import __version__, backupcli, modelcli
from gateway.domain import Purpose, Role
from gateway.errors import GatewayError
from gateway.output import FAILED, NOTHING, Format, Output, fail, show

if TYPE_CHECKING:
    from gateway.pii.site.files import SiteFile


class Kind(StrEnum):
    """The formats of which `mask` reads files."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    XML = "xml"
    HTML = "html"
    EML = "eml"


app = typer.Typer(
    name="gateway",
    help="Run a Cloister gateway: private AI for places that may not send a prompt anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="API keys: who may ask, and what for.", no_args_is_help=True)
recognizers = typer.Typer(help="What this site knows of its own.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(modelcli.models, name="models")
app.add_typer(backupcli.backup, name="backup")
app.add_typer(recognizers, name="recognizers")


def main() -> None:
    # The name model has small matrices: a second thread of OpenBLAS costs more than it brings, and
    # requests run side by side already. It reads this when numpy is first imported, by a command.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except GatewayError as error:
        fail(error.message)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def init(
    demo: Annotated[
        bool, typer.Option(help="A throw-away home that keeps its keys in demo-keys.json.")
    ] = False,
    auditor: Annotated[
        list[Path] | None,
        typer.Option(help="An auditor's public key (auditlog keygen). Repeatable."),
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Create CLOISTER_HOME. Prints each key once and keeps none of them; idempotent."""
    from gateway.clock import utc_now
    from gateway.provision import provision
    from gateway.settings import home_from_environment

    lines = [path.read_text("utf-8") for path in auditor or ()]
    done = provision(home_from_environment(), utc_now, demo=demo, auditors=lines)
    shown = {} if demo else done.shown
    text = [f"{done.home}: " + (f"created {', '.join(done.created)}" if done.created else "ready")]
    if shown:
        text.append("These are shown once and stored nowhere. Keep them now.")
    text += [f"\n{name}:\n{secret.strip()}" for name, secret in shown.items()]
    result = {"home": str(done.home), "created": done.created, "shown": shown}
    show(result, "\n".join(text), output)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Overrides server.host.")] = "",
    port: Annotated[
        int, typer.Option(min=0, max=65535, show_default=False, help="Overrides server.port.")
    ] = 0,
) -> None:
    """Serve the HTTP API until SIGTERM."""
    from gateway.serving import serve as run

    run(host=host, port=port)


@app.command()
def doctor(output: Format = Output.TEXT) -> None:
    """Report on the air gap, the wall around native code and this home. Exit 1 on a failure."""
    from gateway.clock import utc_now
    from gateway.doctor import Machine, run_doctor
    from gateway.settings import home_from_environment, load

    home = home_from_environment()
    report = run_doctor(load(home), home, Machine(), utc_now())
    checks = [
        {"check": c.name, "status": c.status.value, "detail": c.detail} for c in report.checks
    ]
    text = "\n".join(f"{c.status.value:<5} {c.name:<12} {c.detail}" for c in report.checks)
    show({"checks": checks, "ok": report.ok}, text, output)
    if not report.ok:
        sys.exit(FAILED)


@app.command()
def mask(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files and folders; - is standard input.")
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Rows of JSON in and out.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the masked files.")] = None,
    role: Annotated[Role, typer.Option(help="Whose rules apply.")] = Role.RESEARCHER,
    purpose: Annotated[Purpose, typer.Option(help="What for.")] = Purpose.RESEARCH,
    policy: Annotated[
        list[str] | None, typer.Option(help="A policy on top of those in force. Repeatable.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--as", help="The format, whatever the suffix says.")
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="Default: UTF-8, or UTF-16 with its mark.", show_default=False)
    ] = "",
    together: Annotated[
        bool, typer.Option("--together", help="One numbering for all files.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Keep names of files that tell something.")
    ] = False,
    names_to: Annotated[
        Path | None, typer.Option(help="Write which file became which; mode 0600.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=256, help="Processes; 0: one a processor.")
    ] = 0,
    review: Annotated[
        bool, typer.Option("--review", help="Show what is found and write nothing.")
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser", help="With --review: on a page, from memory.")
    ] = False,
) -> None:
    """De-identify rows, files or folders; one record per run."""
    from gateway import log
    from gateway.engine.wall import harden_process
    from gateway.masking import command

    log.configure()
    harden_process()
    added = tuple(policy or ())
    if jsonl:
        if paths or out or review:
            fail("--jsonl reads standard input and writes standard output, and nothing else.")
        source, target = sys.stdin.buffer, sys.stdout.buffer
        sys.exit(command.rows(source, target, role, purpose, added, workers))
    wanted = command.Wanted(
        paths=tuple(paths or ()),
        out=out,
        kind=kind.value if kind else None,
        encoding=encoding or None,
        together=together,
        force=force,
        keep_names=keep_names,
        names_to=names_to,
        workers=workers,
    )
    if review:
        from gateway.reviewing import review as show_review

        sys.exit(show_review(wanted, role, purpose, added, browser=browser))
    sys.exit(command.files(wanted, role, purpose, added))


@app.command()
def evaluate(
    gold: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Marked texts.")],
    role: Annotated[Role, typer.Option(help="Whose rules apply.")] = Role.CLINICIAN,
    purpose: Annotated[Purpose, typer.Option(help="What for.")] = Purpose.TREATMENT,
    policy: Annotated[
        list[str] | None, typer.Option(help="A policy on top of those in force. Repeatable.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A label that counts neither way. Repeatable.")
    ] = None,
    errors: Annotated[
        int, typer.Option("--show", min=0, help="Print so many errors, text and all.")
    ] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write the figures as an SVG.")] = None,
    output: Format = Output.TEXT,
) -> None:
    """Score masking on a site's own marked texts: leaks, over-redaction, intervals.

    GOLD holds one JSON object a line: {"id", "text", "spans": [[start, end, label], ...]}.
    """
    from gateway import evaluating, log
    from gateway.engine.wall import harden_process

    log.configure()
    harden_process()
    with gold.open("rb") as source:
        report, scored = evaluating.evaluate(
            source, role, purpose, tuple(policy or ()), frozenset(ignore or ())
        )
    shown = list(islice(evaluating.errors(scored), errors))
    if plot is not None:
        evaluating.plot(report, plot)
    if output is Output.JSON:
        typer.echo(json.dumps(evaluating.as_json(report, shown), indent=2))
    else:
        evaluating.print_report(report, shown)


# --- keys -----------------------------------------------------------------------------------------


def _keys_file() -> Path:
    from gateway.settings import API_KEYS_FILE, home_from_environment

    return home_from_environment() / API_KEYS_FILE


@keys.command("issue")
def issue(
    principal: Annotated[str, typer.Option(help="Who holds it, without spaces.")],
    role: Annotated[Role, typer.Option(help="The one duty of this key.")],
    purpose: Annotated[list[Purpose], typer.Option(help="Granted; the first is the default.")],
    matter: Annotated[list[str] | None, typer.Option(help="A matter it may name.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Until it expires.")] = 365,
    output: Format = Output.TEXT,
) -> None:
    """Issue a key and print it once."""
    from gateway.acts import record_event
    from gateway.api.keyfile import Grant, issue_key
    from gateway.clock import utc_now

    grant = Grant(
        principal=principal,
        role=role,
        purposes=frozenset(purpose),
        default_purpose=purpose[0],
        matters=frozenset(matter or ()),
        expires=utc_now() + timedelta(days=days),
    )
    issued = issue_key(_keys_file(), grant, utc_now())
    record_event("key.issued", {"role": role.value}, {"key": issued.record.id, "for": principal})
    text = f"{issued.record.id}\n{issued.secret}\nShown once and stored nowhere. Keep it now."
    show({"id": issued.record.id, "key": issued.secret}, text, output)


@keys.command("list")
def list_(output: Format = Output.TEXT) -> None:
    """List every key ever issued, without its secret."""
    from gateway.api.keyfile import list_keys
    from gateway.clock import utc_now

    rows = []
    for record in list_keys(_keys_file()):
        state = "revoked" if record.revoked else "valid"
        if state == "valid" and record.expires <= utc_now():
            state = "expired"
        rows.append(
            {
                "id": record.id,
                "principal": record.principal,
                "role": record.role.value,
                "purposes": sorted(record.purposes),
                "matters": sorted(record.matters),
                "expires": record.expires.date().isoformat(),
                "state": state,
            }
        )
    text = "\n".join(
        f"{r['id']}  {r['state']:<8} {r['role']:<10} {r['principal']}  until {r['expires']}"
        for r in rows
    )
    show(rows, text, output)


@keys.command("revoke")
def revoke(key_id: str) -> None:
    """Refuse a key from its next request on."""
    from gateway.acts import record_event
    from gateway.api.keyfile import revoke_key
    from gateway.clock import utc_now

    record = revoke_key(_keys_file(), key_id, utc_now())
    record_event("key.revoked", {"role": record.role.value}, {"key": record.id})
    typer.echo(f"{record.id} is revoked")


@keys.command("rotate")
def rotate(
    key_id: str,
    grace_hours: Annotated[int, typer.Option(min=0, help="The old key lives on for.")] = 24,
    output: Format = Output.TEXT,
) -> None:
    """Issue a key with the same grant; the old one ends after the grace period."""
    from gateway.acts import record_event
    from gateway.api.keyfile import rotate_key
    from gateway.clock import utc_now

    issued = rotate_key(_keys_file(), key_id, utc_now(), timedelta(hours=grace_hours))
    role = issued.record.role.value
    record_event("key.issued", {"role": role}, {"key": issued.record.id, "instead_of": key_id})
    text = f"{issued.record.id}\n{issued.secret}\nShown once and stored nowhere. Keep it now."
    show({"id": issued.record.id, "key": issued.secret}, text, output)


# --- recognizers ------------------------------------------------------------------------------


@recognizers.command("check")
def check_recognizers(
    file: Annotated[Path | None, typer.Argument(help="One file. Default: all of the home.")] = None,
    output: Format = Output.TEXT,
) -> None:
    """Load a site's files and run their cases. Exit 1 on a fault, 2 where there is no file."""
    from gateway.app import build_detector
    from gateway.pii.site.detector import try_out
    from gateway.pii.site.files import Knowledge, load_site, read_file
    from gateway.settings import RECOGNIZERS_DIR, SETTINGS_FILE, Settings, home_from_environment
    from gateway.settings import load as load_settings

    home = home_from_environment()
    site = Knowledge((read_file(file),)) if file else load_site(home / RECOGNIZERS_DIR)
    if not site.files:
        typer.echo(f"gateway: there is no file in {home / RECOGNIZERS_DIR}", err=True)
        sys.exit(NOTHING)
    settings = load_settings(home) if (home / SETTINGS_FILE).exists() else Settings()
    detector = build_detector(settings, site)
    rows = [
        {**_site_row(each), "faults": [f"{f.where}: {f.fault}" for f in try_out(each, detector)]}
        for each in site.files
    ]
    text = "\n".join("\n".join([_site_text(row), *row["faults"]]) for row in rows)
    show(rows, text, output)
    if any(row["faults"] for row in rows):
        sys.exit(FAILED)


@recognizers.command("list")
def list_recognizers(output: Format = Output.TEXT) -> None:
    """List what the files of this home hold, without running their cases."""
    from gateway.pii.site.files import load_site
    from gateway.settings import RECOGNIZERS_DIR, home_from_environment

    site = load_site(home_from_environment() / RECOGNIZERS_DIR)
    rows = [_site_row(each) for each in site.files]
    show(rows, "\n".join(_site_text(row) for row in rows), output)


@recognizers.command("from-report")
def from_report() -> None:
    """Draft a site's file from a report: records of `auditlog show -o json` on standard input."""
    from gateway.pii.site.stub import drafts

    for draft in drafts(sys.stdin):
        typer.echo(draft, nl=False)


def _site_row(file: SiteFile) -> dict[str, Any]:
    parts = [("pattern", rule.id, rule.entity_type, 1) for rule in file.patterns]
    for kind, lists in (("list", file.lists), ("deny", file.denied), ("allow", file.allowed)):
        parts += [(kind, each.source, each.entity_type, len(each.entries)) for each in lists]
    return {
        "name": file.name,
        "version": file.version,
        "file": file.file,
        "sha256": file.digest,
        "cases": len(file.examples),
        "parts": [
            {"kind": kind, "id": source.rpartition("/")[2], "type": entity_type, "entries": entries}
            for kind, source, entity_type, entries in parts
        ],
    }


def _site_text(row: dict[str, Any]) -> str:
    head = f"{row['name']} {row['version']}  {row['sha256'][:12]}  {row['cases']} case(s)"
    lines = [
        f"  {p['kind']:<8} {p['id']:<20} {p['type'] or 'never masked':<16} {p['entries']:>6}"
        for p in row["parts"]
    ]
    return "\n".join([f"{head}  {row['file']}", *lines])
