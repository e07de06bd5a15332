"""``auditlog report``: a log as a page for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    record_opening,
)

if TYPE_CHECKING:
    from audit.reports.facts import Facts, Opener
    from audit.verify import Report

_KINDS = ("activity", "access", "breach", "ropa", "dpia", "gaps")


def report(
    kind: Annotated[str, typer.Argument(help="One of: " + ", ".join(_KINDS) + ".")],
    source: Source,
    out: Annotated[Path, typer.Option(help="The HTML file to write; it must not exist.")],
    start: Annotated[
        str | None, typer.Option("--from", help="First day or minute, UTC: 2026-03-01[T09:30Z].")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The day or minute it ends before.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that you kept elsewhere: the anchor.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Your private key, to open sealed parts.")
    ] = None,
    keystore: Annotated[Path | None, typer.Option(help="The gateway's keystore.db.")] = None,
    passphrase_file: Passphrase = None,
    discovered: Annotated[
        str | None, typer.Option(help="breach: when it was discovered, with its time zone.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a report as one HTML file. Exit code 1 where the log does not verify."""
    from audit.reports.breach import deadlines
    from audit.reports.facts import Period
    from audit.reports.render import Kind, render

    if kind not in _KINDS:
        fail("the report is one of: " + ", ".join(_KINDS), 2)
    if (key is None) != (keystore is None):
        fail("--key and --keystore are given together or not", 2)
    if kind == "access" and key is None:
        fail("the access report names people: it needs --key and --keystore", 2)
    period = Period(_minute(start, "--from"), _minute(end, "--to"))
    known = _moment(discovered)
    with plain_errors(), _opener(source, key, keystore, passphrase_file) as opener:
        facts, verdict, watcher = _read(source, checkpoint or [], period, opener)
        page = render(
            Kind(kind), facts=facts, verdict=verdict, watcher=watcher,
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            deadlines=deadlines(known) if known else (),
            discovered=known.isoformat(timespec="minutes") if known else None,
        )  # fmt: skip
        _write(out, page)
    _tell(kind, out, facts, verdict, output)


def _read(source: Path, kept: list[Path], period: Any, opener: Opener | None) -> tuple[Any, ...]:
    """Verify, then count. A log in use may have grown in between: what it has then is counted."""
    from audit.chain import Chain
    from audit.errors import NoteError
    from audit.export import open_whole
    from audit.record import minute
    from audit.reports.facts import gather
    from audit.reports.gaps import Watcher
    from audit.verify import verify

    notes = [path.read_bytes() for path in kept]
    with open_whole(source) as evidence:
        verdict = verify(evidence, kept=notes, now=minute(datetime.now(UTC)))
        heads = []
        try:
            chain = Chain.follow(evidence.vkey(), evidence.checkpoints())
            heads = [chain.open(note).size for note in evidence.checkpoints()]
        except NoteError:
            heads = []  # the verdict says so already
        watcher = Watcher(heads=heads, anchored=verdict.anchored)
        return gather(evidence.items(), watcher, period, opener), verdict, watcher


@contextmanager
def _opener(
    source: Path, key: Path | None, keystore: Path | None, passphrase_file: Path | None
) -> Iterator[Opener | None]:
    if key is None or keystore is None:
        yield None
        return
    from audit.keys import KeyStore, load_private
    from audit.seal import open_entry

    private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
    record_opening(source, "report", private)
    keys = KeyStore.open(keystore, readonly=True)
    try:
        yield lambda record: open_entry(record, keys.key, private)
    finally:
        keys.close()


def _write(out: Path, page: str) -> None:
    """Only for its owner: a report may name people."""
    descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)


def _tell(kind: str, out: Path, facts: Facts, verdict: Report, output: Output) -> None:
    from audit.verify import Code

    sound = verdict.code in (Code.ANCHORED, Code.UNANCHORED)
    if output is Output.JSON:
        print_json(
            {
                "report": kind,
                "out": str(out),
                "verdict": verdict.code.name.lower(),
                "words": verdict.words,
                "records": facts.records,
                "requests": facts.requests,
                "denied": facts.denied,
                "purposes": dict(facts.purposes),
                "entities": dict(facts.entities),
                "errors": dict(facts.errors),
                "open_intents": len(verdict.open_intents),
                "not_opened": facts.closed,
            }
        )
    else:
        typer.echo(f"{facts.records} records counted in {out}. {verdict.words}")
    if not sound:
        raise typer.Exit(1)


def _minute(given: str | None, option: str) -> str | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        fail(f"{option} is a day or a minute: 2026-03-01 or 2026-03-01T09:30Z", 2)
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _moment(given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        fail("--discovered is a time: 2026-03-01T09:30+01:00", 2)
    if moment.tzinfo is None:
        fail("--discovered needs its time zone: 2026-03-01T09:30+01:00", 2)
    return moment


def register(app: typer.Typer) -> None:
    app.command()(report)
