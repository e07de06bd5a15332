"""``auditlog keygen`` and ``show``: with an auditor's private key."""

from __future__ import annotations

import json
import os
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
    read_passphrase,
    record_opening,
)


def keygen(
    out: Annotated[Path, typer.Option(help="Where the private key goes; FILE.pub is beside it.")],
    name: Annotated[str, typer.Option(help="The auditor's name, as records will show it.")],
    passphrase_file: Passphrase = None,
    hybrid: Annotated[
        bool, typer.Option(help="ML-KEM-768 and X25519: withstands quantum computers, too.")
    ] = False,
    signer: Annotated[
        bool, typer.Option(help="Of a second person, who agrees to new auditors and reads nothing.")
    ] = False,
) -> None:
    """Make an auditor's key pair. The private half never goes to the gateway."""
    from audit.keys import auditor_line, generate_auditor, generate_signer, signer_line

    with plain_errors():
        phrase = read_passphrase(passphrase_file)
        if signer:
            person, pem = generate_signer(name, phrase)
        else:
            person, pem = generate_auditor(name, phrase, hybrid=hybrid)
        descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        public = out.with_name(out.name + ".pub")
        public.write_text((signer_line if signer else auditor_line)(person), "utf-8")
    how = "auditlog auditors request --act signer --key" if signer else "gateway init --auditor"
    typer.echo(f"private key  {out} (keep it away from the gateway)")
    typer.echo(f"public key   {public} (register it: {how} {public})")


def show(
    source: Source,
    key: Annotated[Path, typer.Option(help="Your private key.")],
    keystore: Annotated[Path, typer.Option(help="The gateway's keystore.db: reading needs both.")],
    receipt_id: Annotated[str | None, typer.Option("--rid", help="Only this receipt.")] = None,
    index: Annotated[int | None, typer.Option(help="Only this record.")] = None,
    passphrase_file: Passphrase = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Decrypt records. Verify first: this command opens seals and proves nothing."""
    from audit.export import open_whole
    from audit.keys import KeyStore, load_private
    from audit.record import parse
    from audit.replay import spared, tags_of

    found = 0
    with plain_errors():
        private = load_private(key.read_bytes(), read_passphrase(passphrase_file))
        record_opening(source, "show", private)
        keys = KeyStore.open(keystore, readonly=True)
        with open_whole(source) as evidence:
            # A copy of the key store that is older than an erasure still has its keys.
            readable = spared(keys.key, tags_of(item.body for item in evidence.items()))
            for item in evidence.items():
                if index is not None and item.index != index:
                    continue
                record = parse(item.body)
                if receipt_id is not None and record.header.rid != receipt_id:
                    continue
                found += 1
                shown = _opened(item.index, record, readable, private)
                if output is Output.JSON:
                    typer.echo(json.dumps(shown, ensure_ascii=True, sort_keys=True))
                else:
                    _print_record(shown)
        keys.close()
    if not found:
        fail("no such record")


def _opened(index: int, record: Any, key: Any, private: Any) -> dict[str, Any]:
    from audit.errors import MissingError
    from audit.seal import open_entry

    header = record.header.to_json()
    del header["v"], header["origin"]
    try:
        opened = open_entry(record, key, private)
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


def register(app: typer.Typer) -> None:
    app.command()(keygen)
    app.command()(show)
