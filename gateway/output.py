"""What the commands print, and how they fail: exit codes 0 ok, 1 failed, 2 usage."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

FAILED, NOTHING = 1, 2


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


Format = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]


def fail(message: str) -> NoReturn:
    typer.echo(f"gateway: {message}", err=True)
    sys.exit(FAILED)


def show(value: object, text: str, output: Output) -> None:
    typer.echo(json.dumps(value, indent=2, default=str) if output is Output.JSON else text)
