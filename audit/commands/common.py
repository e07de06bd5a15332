"""What the commands share: where a log is, how answers and failures are printed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from audit.cosignature import WitnessKey


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


def default_home() -> Path:
    return Path(os.environ.get("CLOISTER_HOME", ".cloister"))


Source = Annotated[
    Path,
    typer.Argument(
        default_factory=default_home,
        help="A bundle, a ledger file or a gateway's home ($CLOISTER_HOME).",
    ),
]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print the answer.")]
Passphrase = Annotated[
    Path | None, typer.Option(help="A file whose first line is the private key's passphrase.")
]


def fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"auditlog: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def plain_errors(code: int = 1) -> Iterator[None]:
    """One line for people instead of a traceback. Messages of AuditError are safe to show."""
    from audit.errors import AuditError

    try:
        yield
    except AuditError as error:
        fail(str(error), code)
    except OSError as error:
        fail(error.strerror or "a file cannot be used", code)


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def read_passphrase(path: Path | None) -> bytes | None:
    return path.read_bytes().split(b"\n", 1)[0] if path else None


def key_text(given: str) -> str:
    """A key as it was given: itself, or the name of a file that holds it."""
    if "+" in given and not Path(given).is_file():
        return given
    return Path(given).read_text("utf-8")


def witness_key(given: str) -> WitnessKey:
    from audit.cosignature import WitnessKey

    return WitnessKey.parse(key_text(given))
