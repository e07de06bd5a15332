"""`gateway mask FILE --review`: what would be masked, by which rule; nothing is written."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console

from gateway.domain import Purpose, Role
from gateway.errors import RequestError
from gateway.masking.command import STDIN, Wanted
from gateway.masking.files import read_text
from gateway.masking.formats import READERS, SUFFIXES
from gateway.masking.run import Run, start
from gateway.pii.mask import Memory
from gateway.reviewing.loopback import Once, serve_once
from gateway.reviewing.page import page
from gateway.reviewing.terminal import show
from gateway.reviewing.view import Passage, passages

PAGE_LIMIT = 2_000_000  # characters; a review is for a person


def review(
    wanted: Wanted, role: Role, purpose: Purpose, added: Sequence[str], *, browser: bool
) -> int:
    """Show what masking one file would do; on record as a run.

    Raises:
        GatewayError: it cannot be read, or may not be masked.
    """
    if len(wanted.paths) != 1 or wanted.paths[0] == STDIN:
        raise RequestError("A review shows one file.")
    run = start(role, purpose, added)
    try:
        shown = list(_passages(run, wanted))
    finally:
        run.record({"review": True})
    if not browser:
        show(Console(highlight=False), shown)
        return 0
    once = Once()
    body, policy = page(shown, once.alive)
    once.load(body)
    with contextlib.suppress(KeyboardInterrupt):
        serve_once(once, policy, _announce)
    return 0


def _announce(address: str) -> None:
    sys.stderr.write(f"{address}\nIt opens once. Close the page or press Ctrl-C to end.\n")


def _passages(run: Run, wanted: Wanted) -> Iterator[Passage]:
    path = wanted.paths[0]
    kind = wanted.kind or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise RequestError("Its suffix is of no text format; --as names one.")
    memory = Memory()
    number, length = 1, 0
    try:
        with read_text(path, wanted.encoding) as text:
            for block in READERS[kind](text):
                length += len(block.source)
                if length > PAGE_LIMIT:
                    raise RequestError(f"A review shows up to {PAGE_LIMIT:,} characters.")
                for passage in passages(block, run.look(block, memory), number):
                    number += sum(each.found is not None for each in passage.runs)
                    yield passage
    except UnicodeError:
        raise RequestError("It is not text in the encoding it is said to be in.") from None
