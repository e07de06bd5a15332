"""What `gateway mask` does with a terminal around it: progress, what failed, exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.domain import Purpose, Role
from gateway.errors import GatewayError, RequestError
from gateway.masking.files import (
    Options,
    Outcome,
    ending_on_signals,
    failures,
    mask_files,
    mask_stream,
    write_names,
)
from gateway.masking.rows import mask_jsonl
from gateway.masking.run import Run, processors, start

STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of the command that are about files."""

    paths: tuple[Path, ...]
    out: Path | None = None
    kind: str | None = None
    encoding: str | None = None
    together: bool = False
    force: bool = False
    keep_names: bool = False
    names_to: Path | None = None
    workers: int = 0


def rows(  # noqa: PLR0913, PLR0917 - what a command line says
    source: BinaryIO,
    target: BinaryIO,
    role: Role,
    purpose: Purpose,
    added: Sequence[str],
    workers: int,
) -> int:
    with ending_on_signals():
        return mask_jsonl(source, target, role, purpose, added, workers or processors())


def files(wanted: Wanted, role: Role, purpose: Purpose, added: Sequence[str]) -> int:
    """Mask files, or one stream; return the exit status.

    Raises:
        GatewayError: nothing can be masked at all, or the run cannot be put on record.
    """
    if not wanted.paths:
        raise RequestError("Name files or folders, or - for standard input, or say --jsonl.")
    streaming = wanted.paths == (STDIN,)
    if not streaming and (wanted.out is None or STDIN in wanted.paths):
        raise RequestError("Files need --out FOLDER; - stands by itself.")
    run = start(role, purpose, added)
    outcomes: list[Outcome] = []
    try:
        with ending_on_signals():
            if streaming:
                _stream(run, wanted)
            elif wanted.out is not None:
                _files(run, wanted, wanted.out, outcomes)
    finally:
        run.record({"files": dict(run.tally.done)})
    failed = failures(outcomes)
    for line in failed:
        sys.stderr.write(f"gateway: {line}\n")
    if not outcomes and not streaming:
        raise RequestError("There is no file in what was named.")
    return 1 if failed else 0


def _stream(run: Run, wanted: Wanted) -> None:
    try:
        kind = wanted.kind or "text"
        mask_stream(run, sys.stdin.buffer, sys.stdout.buffer, kind, wanted.encoding)
    except GatewayError:
        run.tally.done["error"] += 1
        raise
    except UnicodeError:
        run.tally.done["error"] += 1
        raise RequestError("It is not text in the encoding it is said to be in.") from None
    run.tally.done["masked"] += 1


def _files(run: Run, wanted: Wanted, out: Path, outcomes: list[Outcome]) -> None:
    options = Options(
        force=wanted.force,
        together=wanted.together,
        workers=wanted.workers or processors(),
        kind=wanted.kind,
        encoding=wanted.encoding,
        keep_names=wanted.keep_names,
    )
    console = Console(stderr=True)
    columns = (TextColumn("masking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("mask", total=None)
        for total, outcome in mask_files(run, wanted.paths, out, options):
            outcomes.append(outcome)
            progress.update(task, total=total, completed=len(outcomes))
    if wanted.names_to is not None:
        write_names(wanted.names_to, outcomes)
