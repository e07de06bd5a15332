"""``auditlog timestamp``: RFC 3161 stamps on checkpoints, over files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.common import Source, fail, plain_errors

stamps = typer.Typer(help="Time stamps on checkpoints, over files.", no_args_is_help=True)
_Response = Annotated[Path, typer.Option(help="The authority's answer (a TimeStampResp).")]


def _newest(source: Path) -> str:
    """The newest checkpoint of a log or bundle, or the note that a file holds."""
    from audit.errors import MissingError
    from audit.export import open_evidence

    if source.is_file() and source.suffix == ".txt":
        return source.read_text("utf-8")
    with open_evidence(source) as evidence:
        notes = list(evidence.checkpoints())
    if not notes:
        raise MissingError("no checkpoint was signed yet")
    return notes[-1]


def request(
    source: Source, out: Annotated[Path, typer.Option(help="The TimeStampReq to write.")]
) -> None:
    """Write a request over the newest checkpoint, for the authority on your premises.

    The checkpoint goes beside it as OUT.checkpoint.txt: the stamp is on this one.
    """
    from audit.timestamp import request as make

    with plain_errors():
        note = _newest(source)
        out.write_bytes(make(note))
        beside = out.with_name(out.name + ".checkpoint.txt")
        beside.write_text(note, "utf-8")
    typer.echo(f"request     {out}\ncheckpoint  {beside}")


def bring(
    home: Annotated[Path, typer.Argument(help="A gateway's home.")],
    response: _Response,
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint that was stamped.")],
) -> None:
    """Keep a stamp with the log, as HOME/timestamps/SIZE.tsr, beside its checkpoint."""
    from audit.chain import Chain
    from audit.export import open_evidence
    from audit.timestamp import imprint

    with plain_errors():
        data, note = response.read_bytes(), checkpoint.read_text("utf-8")
        with open_evidence(home) as evidence:
            size = Chain.follow(evidence.vkey(), evidence.checkpoints()).open(note).size
        moment = imprint(data, note)
        folder = home / "timestamps"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in ((f"{size}.tsr", data), (f"{size}.txt", note.encode())):
            with (folder / name).open("xb") as file:
                file.write(content)
    typer.echo(f"kept as {folder / f'{size}.tsr'}; it says {moment.isoformat()}")


def verify(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint that was stamped.")],
    response: _Response,
    root: Annotated[list[Path], typer.Option(help="The authority's root certificate, PEM.")],
    intermediate: Annotated[list[Path] | None, typer.Option(help="Between, PEM.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="The authority's own certificate, where it sends none.")
    ] = None,
) -> None:
    """Say when a checkpoint was stamped, once the authority's signature verifies."""
    from audit.timestamp import certificates
    from audit.timestamp import verify as judge

    with plain_errors():
        roots = [found for path in root for found in certificates(path.read_bytes())]
        between = [
            found for path in intermediate or [] for found in certificates(path.read_bytes())
        ]
        own = certificates(authority.read_bytes()) if authority else []
        if authority and len(own) != 1:
            fail("one certificate is wanted for the authority", 2)
        note = checkpoint.read_text("utf-8")
        moment = judge(response.read_bytes(), note, roots, between, own[0] if own else None)
    typer.echo(f"stamped {moment.isoformat()}: the records under this checkpoint were there then")


def register(app: typer.Typer) -> None:
    stamps.command()(request)
    stamps.command("import")(bring)
    stamps.command()(verify)
    app.add_typer(stamps, name="timestamp")
