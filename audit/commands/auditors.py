"""``auditlog auditors``: who may read, and how two people change that (audit-format.md §7.7)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.common import (
    Output,
    OutputOption,
    Passphrase,
    Source,
    plain_errors,
    print_json,
    read_passphrase,
)

if TYPE_CHECKING:
    from audit.auditors import Registry, Request
    from audit.recipients import Auditor, Scope

auditors = typer.Typer(help="Who may read, and how two people change that.", no_args_is_help=True)
RequestFile = Annotated[Path, typer.Argument(help="The request, as `auditors request` wrote it.")]


class Act(StrEnum):
    ADD = "add"
    WIDEN = "widen"
    REMOVE = "remove"
    SIGNER = "signer"


@auditors.command("list")
def show_list(source: Source, output: OutputOption = Output.TEXT) -> None:
    """List who may read what, and who may agree to changes."""
    from audit.auditors import auditor_json

    with plain_errors():
        registry = _registry(source)
    if output is Output.JSON:
        listed = [auditor_json(auditor) for auditor in registry.auditors.values()]
        print_json({"auditors": listed, "signers": sorted(registry.signers)})
        return
    for auditor in registry.auditors.values():
        typer.echo(f"auditor  {auditor.name}  {auditor.id}  {_scope_words(auditor.scope)}")
    for name in registry.signers:
        typer.echo(f"signer   {name}")


@auditors.command()
def request(
    source: Source,
    act: Annotated[Act, typer.Option(help="What to change.")],
    out: Annotated[Path, typer.Option(help="The request to write, for two people to sign.")],
    key: Annotated[
        Path | None, typer.Option(help="The public key, to add an auditor or a signer.")
    ] = None,
    name: Annotated[str, typer.Option(help="The auditor's name, to widen or remove.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(help="A role in scope. Repeatable; none: every role.")
    ] = None,
    matter: Annotated[
        list[str] | None, typer.Option(help="A matter in scope. Repeatable; none: all of them.")
    ] = None,
) -> None:
    """Write a request to add, widen or remove an auditor, or to name a second person."""
    from audit.auditors import Request
    from audit.recipients import ANY, Scope
    from audit.record import minute

    with plain_errors():
        registry = _registry(source)
        scope = Scope(frozenset(role or [ANY]), frozenset(matter or [ANY]))
        now = minute(datetime.now(UTC))
        about = _about(registry, act, key, name, scope, now)
        _write(out, Request(act.value, registry.digest, about, now))
    typer.echo(f"{out}: to be signed with `auditlog auditors sign` by an auditor and a signer")


@auditors.command()
def sign(
    file: RequestFile,
    key: Annotated[Path, typer.Option(help="Your private key, an auditor's or a signer's.")],
    passphrase_file: Passphrase = None,
) -> None:
    """Sign a request. Look at what it says first: this prints it."""
    from audit.keys import load_signing

    with plain_errors():
        asked = _read(file)
        private = load_signing(key.read_bytes(), read_passphrase(passphrase_file))
        _write(file, asked.sign(private), replace=True)
    typer.echo(f"signed: {asked.act} {asked.auditor.name}, {_scope_words(asked.auditor.scope)}")


@auditors.command()
def apply(source: Source, file: Annotated[Path, typer.Option(help="The signed request.")]) -> None:
    """Check the signatures, put the change on record, and put it in force."""
    from audit.auditorlist import save_registry
    from audit.auditors import EVENTS
    from audit.exclusive import exclusive
    from audit.ledger import AUDITORS_FILE, record_act
    from audit.record import Entry

    # Two at once would each find the list that they change, and the later would undo the other.
    with plain_errors(), exclusive(source):
        asked = _read(file)
        changed = _registry(source).apply(asked)
        sealed = {"request": asked.to_json()}
        # Before it is in force: a change that is on record and was broken off can be done again.
        record_act(source, Entry(EVENTS[asked.act], None, {"role": "operator"}, sealed))
        save_registry(source / AUDITORS_FILE, changed)
    typer.echo(f"{EVENTS[asked.act]}: {asked.auditor.name}")


@auditors.command()
def public(
    key: Annotated[Path, typer.Option(help="Your private key.")],
    name: Annotated[str, typer.Option(help="Your name in the list of auditors.")],
    passphrase_file: Passphrase = None,
) -> None:
    """Print the public half of an auditor's key, with the key that their requests are signed with.

    For those registered before there were signatures: `gateway init --auditor FILE` takes it.
    """
    from audit.keys import auditor_line, load_private, signing_half
    from audit.recipients import Auditor, public_of

    with plain_errors():
        private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
        signer = signing_half(private).public_key().public_bytes_raw()
        typer.echo(auditor_line(Auditor(name, public_of(private), signer=signer)), nl=False)


def _about(
    registry: Registry, act: Act, key: Path | None, name: str, scope: Scope, now: str
) -> Auditor:
    """The auditor or signer that a request is about, as they shall be afterwards."""
    from dataclasses import replace

    from audit.errors import FormatError, MissingError
    from audit.keys import parse_auditor_line, parse_signer_line

    if act in (Act.ADD, Act.SIGNER):
        if key is None:
            raise MissingError("name the public key with --key")
        line = key.read_text("utf-8")
        if act is Act.SIGNER:
            return replace(parse_signer_line(line), since=now)
        return replace(parse_auditor_line(line), scope=scope, since=now)
    known = registry.auditors.get(name)
    if known is None:
        raise FormatError("no auditor of this name is registered: see `auditlog auditors list`")
    return known if act is Act.REMOVE else replace(known, scope=scope)


def _registry(source: Path) -> Registry:
    from audit.auditorlist import load_registry
    from audit.ledger import AUDITORS_FILE

    return load_registry(source / AUDITORS_FILE)


def _read(path: Path) -> Request:
    from audit.auditors import Request
    from audit.errors import FormatError

    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise FormatError("not a request for the list of auditors") from None
    return Request.parse(value)


def _write(path: Path, asked: Request, *, replace: bool = False) -> None:
    target = path.with_name(path.name + ".new") if replace else path
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asked.to_json(), file, indent=2)
    if replace:
        target.replace(path)


def _scope_words(scope: Scope) -> str:
    if scope.everything:
        return "everything"
    return f"roles {', '.join(sorted(scope.roles))}; matters {', '.join(sorted(scope.matters))}"


def register(app: typer.Typer) -> None:
    app.add_typer(auditors, name="auditors")
