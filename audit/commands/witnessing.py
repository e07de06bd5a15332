"""``auditlog checkpoint`` and ``witness``: heads that cross an air gap and come back cosigned."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from audit.commands.common import (
    Output,
    OutputOption,
    Passphrase,
    Source,
    key_text,
    plain_errors,
    print_json,
    read_passphrase,
)

_Request = Annotated[Path, typer.Argument(help="The file that `checkpoint export` wrote; - reads.")]


class _Newest(TyperGroup):
    """A group whose plain call prints the newest checkpoint: `auditlog checkpoint HOME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["newest", *args]
        return super().parse_args(ctx, args)


checkpoints = typer.Typer(cls=_Newest, help="The newest signed checkpoint, and its witnesses.")
witnesses = typer.Typer(help="What a witness does at its own machine.", no_args_is_help=True)


def newest(source: Source) -> None:
    """Print the newest signed checkpoint: keep it elsewhere, it anchors `verify`."""
    from audit.errors import MissingError
    from audit.export import open_evidence

    with plain_errors(), open_evidence(source) as evidence:
        found = None
        for found in evidence.checkpoints():  # noqa: B007 - the last one is wanted
            pass
        if found is None:
            raise MissingError("no checkpoint was signed yet")
        typer.echo(found, nl=False)


def export(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
    since: Annotated[
        int, typer.Option(min=0, help="How many records the witness has cosigned; 0 at first.")
    ] = 0,
    qr: Annotated[
        Path | None, typer.Option(help="A QR code of it: NAME.svg or NAME.png, or - to print it.")
    ] = None,
) -> None:
    """Write the newest checkpoint for a witness, with the proof that it extends its last one."""
    from audit.chain import Chain
    from audit.errors import MissingError
    from audit.storage.place import place_in
    from audit.store import LedgerStore
    from audit.witness import request

    with plain_errors():
        store = LedgerStore(place_in(source), readonly=True)
        try:
            with store.reading() as reader:
                chain, found = Chain.stored(reader), reader.newest_checkpoint()
                if found is None:
                    raise MissingError("no checkpoint was signed yet")
                # Who holds an older key takes the next one from the checkpoint that names it.
                between = next((n for n, _ in chain.later if 0 < since < n < found[0]), None)
                note = found[1] if between is None else reader.checkpoint_at(between)
                if note is None:
                    raise MissingError("the checkpoint of a rotation is not there")
                asked = request(since, note, chain, reader.node)
        finally:
            store.close()
        if out is not None:
            out.write_text(asked.text(), "utf-8")
        if qr is not None:
            _draw(asked.small(chain).text(), qr)
        if out is None and qr is None:
            typer.echo(asked.text(), nl=False)
        if between is not None:
            message = f"this head names a new key of the log; afterwards export --since {between}"
            typer.echo(f"auditlog: {message}", err=True)


def show_keys(source: Source, output: OutputOption = Output.TEXT) -> None:
    """Print the log's verifier keys, each with the first record that it signs; the last is in use.

    Where a log or bundle is not trusted, its keys are not either: compare the first one.
    """
    from audit.chain import Chain
    from audit.export import open_evidence

    with plain_errors(), open_evidence(source) as evidence:
        chain = Chain.follow(evidence.vkey(), evidence.checkpoints())
    keys = [{"from": n, "vkey": key.vkey()} for n, key in chain.keys]
    if output is Output.JSON:
        print_json({"keys": keys})
        return
    for key in keys:
        typer.echo(f"{key['from']} {key['vkey']}")


def second_key(
    home: Annotated[Path, typer.Argument(help="A gateway's home; it is used at the next start.")],
) -> None:
    """Make the log's ML-DSA-65 key, unless there is one, and print its verifier key: keep it."""
    from audit.keys import KeyStore
    from audit.ledger import KEYSTORE_FILE

    with plain_errors():
        keys = KeyStore.open(home / KEYSTORE_FILE)
        try:
            typer.echo(keys.second_key().vkey())
        finally:
            keys.close()


def cosign(
    asked: _Request,
    key: Annotated[Path, typer.Option(help="The witness' private key; its state is KEY.state.")],
    log: Annotated[
        str | None, typer.Option(help="The log's verifier key, the first time: text or a file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
    qr: Annotated[Path | None, typer.Option(help="A QR code: NAME.svg, NAME.png, or -.")] = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Cosign a head, where it extends the one that this witness holds."""
    from audit.witness import Request, Witness, load_private

    with plain_errors():
        private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
        witness = Witness(private, _state(key))
        vkey = None if log is None else key_text(log)
        note = witness.cosign(Request.parse(_read(asked)), vkey, datetime.now(UTC))
        if out is not None:
            out.write_text(note, "utf-8")
        if qr is not None:
            _draw(note, qr)
        if out is None and qr is None:
            typer.echo(note, nl=False)


def bring(
    source: Source,
    cosigned: Annotated[Path, typer.Option("--from", help="What the witness wrote; - reads.")],
    witness: Annotated[
        list[str], typer.Option(help="The verifier key of a witness: text, or a file (FILE.pub).")
    ],
) -> None:
    """Keep the cosignatures of witnesses with the checkpoint they are for."""
    from audit.chain import Chain
    from audit.commands.common import fail, witness_key
    from audit.cosignature import merge
    from audit.errors import MissingError
    from audit.storage.place import place_in
    from audit.store import LedgerStore

    with plain_errors():
        note, keys = _read(cosigned), [witness_key(given) for given in witness]
        store = LedgerStore(place_in(source))
        try:
            with store.writing() as writer:
                size = Chain.stored(writer).open(note).size
                stored = writer.checkpoint_at(size)
                if stored is None:
                    raise MissingError(f"this log has no checkpoint of {size} records")
                merged, added = merge(stored, note, keys)
                if added:
                    writer.cosigned(size, merged)
        finally:
            store.close()
        if not added:
            fail("no cosignature of these witnesses is new here")
    typer.echo(f"{added} cosignature{'s' * (added > 1)} kept with the checkpoint of {size} records")


def keygen(
    out: Annotated[Path, typer.Option(help="Where the private key goes; FILE.pub is beside it.")],
    name: Annotated[str, typer.Option(help="The witness' name, such as witness.example/1.")],
    passphrase_file: Passphrase = None,
) -> None:
    """Make a witness' key pair and the file in which it remembers what it cosigned."""
    from audit.witness import Witness, generate

    with plain_errors():
        witness, pem = generate(name, read_passphrase(passphrase_file))
        descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        Witness.create(_state(out), name)
        public = out.with_name(out.name + ".pub")
        public.write_text(witness.vkey() + "\n", "utf-8")
    typer.echo(f"private key  {out} (stays at the witness' machine)")
    typer.echo(f"state        {_state(out)} (keep it: without it the key MUST NOT be used again)")
    typer.echo(f"public key   {public} (for auditlog verify --witness)")


def _state(key: Path) -> Path:
    return key.with_name(key.name + ".state")


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def _draw(text: str, target: Path) -> None:
    """A QR code, on the terminal or as a file, read by any scanner as the text it is."""
    import segno

    from audit.commands.common import fail

    try:
        code = segno.make_qr(text.encode(), error="l", encoding="utf-8")
    except segno.DataOverflowError:
        fail("too much for one QR code; carry it as a file (--out)")
    if str(target) == "-":
        code.terminal(compact=True)
    elif target.suffix in (".svg", ".png"):
        code.save(str(target), scale=4)
    else:
        fail("a QR code is written as NAME.svg, NAME.png or -", 2)


def register(app: typer.Typer) -> None:
    checkpoints.command()(newest)
    checkpoints.command()(export)
    checkpoints.command()(cosign)
    checkpoints.command("import")(bring)
    checkpoints.command("ml-dsa")(second_key)
    checkpoints.command("keys")(show_keys)
    witnesses.command()(keygen)
    app.add_typer(checkpoints, name="checkpoint")
    app.add_typer(witnesses, name="witness")
