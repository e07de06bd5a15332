"""``auditlog subject``, ``erase``: what is held of somebody, and that it goes.

With an auditor's private key and the key store.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
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
    from collections.abc import Iterator

    from audit.ledger import Ledger
    from audit.recipients import PrivateKey

_HELP = "What is held of a data subject."
subject_app = typer.Typer(name="subject", help=_HELP, no_args_is_help=True)

Key = Annotated[Path, typer.Option(help="Your private key.")]
KeyStoreFile = Annotated[Path, typer.Option(help="The gateway's keystore.db: reading needs both.")]
Identifier = Annotated[str, typer.Option("--subject", help="The identifier, in any spelling.")]
Also = Annotated[
    list[str] | None,
    typer.Option(help="A name or number of theirs, as it stands in texts. Repeatable."),
]


class Form(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


class Right(StrEnum):
    """Which right a report answers."""

    GDPR15 = "gdpr15"
    HIPAA528 = "hipaa528"


@contextmanager
def opened_home(
    home: Path, key: Path, passphrase_file: Path | None
) -> Iterator[tuple[Ledger, PrivateKey]]:
    """A home's ledger, to read and to append to, beside a running gateway or without one."""
    from audit.keys import load_private
    from audit.ledger import Ledger

    with plain_errors():
        private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
        ledger = Ledger.open(home, clock=lambda: datetime.now(UTC))
        try:
            yield ledger, private
        finally:
            ledger.close()


@subject_app.command("report")
def report(
    source: Source,
    subject: Identifier,
    key: Key,
    keystore: KeyStoreFile,
    also: Also = None,
    kind: Annotated[Right, typer.Option(help="Which right is answered.")] = Right.GDPR15,
    copy: Annotated[bool, typer.Option("--copy", help="With the texts and values.")] = False,
    passphrase_file: Passphrase = None,
    output: Annotated[Form, typer.Option("-o", "--output", help="How to print it.")] = Form.TEXT,
) -> None:
    """Tell what is held of a subject, who used it and what for. Verify first: this proves nothing.

    `hipaa528` leaves out treatment, payment and operations and what is older than six years.
    """
    from audit.accounting import Kind, as_html, as_text
    from audit.accounting import report as make
    from audit.export import open_whole
    from audit.keys import KeyStore, load_private
    from audit.replay import spared, tags_of
    from audit.subjects import Search, Subject

    with plain_errors():
        private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
        record_opening(source, "subject report", private)
        keys = KeyStore.open(keystore, readonly=True)
        with open_whole(source) as evidence:
            erased = tags_of(item.body for item in evidence.items())
            search = Search(spared(keys.key, erased), private)
            items = ((item.index, item.body) for item in evidence.items())
            found = list(search.of_subject(items, Subject(subject, also or ())))
        keys.close()
    made = make(Kind(kind.value), found, search, datetime.now(UTC), copy=copy)
    if output is Form.JSON:
        print_json(made)
    else:
        typer.echo(as_html(made) if output is Form.HTML else as_text(made))


@subject_app.command("find")
def find(
    home: Source,
    key: Key,
    subject: Annotated[str | None, typer.Option(help="An identifier, in any spelling.")] = None,
    matter: Annotated[str | None, typer.Option(help="A matter.")] = None,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask the blind index which records concern a subject or a matter. Quick, and proves nothing.

    Records of before the index are not in it; `subject report` reads them all.
    """
    from audit import blind
    from audit.subjects import look_up

    wanted = [(blind.SUBJECT, subject), (blind.MATTER, matter)]
    terms = [(kind, name) for kind, name in wanted if name]
    if len(terms) != 1:
        fail("name a subject or a matter", 2)
    with opened_home(home, key, passphrase_file) as (ledger, private), ledger.reading() as reader:
        found, closed = look_up(reader, ledger.keys.key, private, *terms[0])
    if output is Output.JSON:
        print_json({"records": list(found), "closed_index_keys": closed})
        return
    typer.echo("\n".join(f"record {index}" for index in found) or "no record")
    if closed:
        typer.echo(f"{closed} of the index' keys do not open with this key: there may be more")


def erase(
    home: Source,
    subject: Identifier,
    key: Key,
    ground: Annotated[str, typer.Option(help="Of the GDPR: 17(1)(a) to 17(1)(f).")],
    also: Also = None,
    reference: Annotated[str, typer.Option(help="The site's own, without a name in it.")] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Although records do not open with this key.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go.")] = False,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Destroy the keys of a data subject, on record. Exit 1 where Art. 17(3) keeps them."""
    from audit.erase import Request, plan
    from audit.erase import erase as run
    from audit.subjects import Subject

    records: list[int] = []
    request = Request(Subject(subject, also or ()), ground, reference, partial)
    with opened_home(home, key, passphrase_file) as (ledger, private):
        request.check()
        if dry_run:
            step = plan(ledger, private, request.subject)
            value = _told(step.records, step.several, step.exports, len(step.keys), step.unreadable)
            value |= {"held": list(step.held), "near": list(step.near)}
            refusal = step.refusal
        else:
            done = run(ledger, private, request)
            value = _told(done.erased, done.several, done.exports, done.keys, done.unreadable)
            value |= {"held": list(done.held), "near": list(done.near)}
            refusal, records = done.refusal, list(done.records)
    value |= {"dry_run": dry_run, "on_record": records, "refused": None}
    if refusal is not None:
        value["refused"] = {"exception": refusal.exception, "why": refusal.words}
    if output is Output.JSON:
        print_json(value)
    else:
        _print(value)
    if refusal is not None:
        raise typer.Exit(1)


def _told(
    records: tuple[int, ...],
    several: tuple[int, ...],
    exports: tuple[int, ...],
    keys: int,
    unreadable: int,
) -> dict[str, Any]:
    return {
        "records": list(records),
        "several": list(several),
        "exports": list(exports),
        "keys": keys,
        "unreadable": unreadable,
    }


def _print(value: dict[str, Any]) -> None:
    refused = value["refused"]
    if refused:
        typer.echo(f"refused      GDPR {refused['exception']}: {refused['why']}")
    else:
        verb = "would go" if value["dry_run"] else "destroyed"
        typer.echo(f"keys         {value['keys']} {verb}")
    for name, words in (
        ("records", "concern the subject"),
        ("several", "hold values of others, too: look at them"),
        ("held", "hold values of theirs that a legal hold keeps"),
        ("near", "hold a value that contains a name given: name it with --also if it is theirs"),
        ("exports", "were made before: tell who has them (Art. 19)"),
        ("on_record", "say so"),
    ):
        if value[name]:
            typer.echo(f"{name:<12} {', '.join(map(str, value[name]))} {words}")
    if value["unreadable"]:
        typer.echo(f"unreadable   {value['unreadable']} records do not open with these keys")


def register(app: typer.Typer) -> None:
    app.add_typer(subject_app)
    app.command()(erase)
