"""``auditlog forward``: what was appended, sent on from a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.common import Source, fail, plain_errors


def forward(
    source: Source,
    state: Annotated[Path, typer.Option(help="A file that remembers what was sent.")],
    file: Annotated[Path | None, typer.Option(help="Append lines to this file.")] = None,
    syslog: Annotated[
        Path | None, typer.Option(help="Send to this Unix datagram socket: /dev/log.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on until interrupted.")] = False,
) -> None:
    """Send each record's readable part to a file or the local syslog; at least once."""
    from audit.storage.place import place_in
    from audit.store import LedgerStore
    from audit.watch import FileSink, Forwarder, Sink, SyslogSink

    if (file is None) == (syslog is None):
        fail("give one of --file and --syslog", 2)
    sink: Sink = FileSink(file) if file is not None else SyslogSink(str(syslog))
    with plain_errors():
        path = place_in(source)
        store = LedgerStore(path, readonly=True)
        try:
            forwarder = Forwarder(store.reading, sink, state, _tell)
            sent = more = forwarder.step()
            while more or follow:
                if not more:
                    time.sleep(1)
                more = forwarder.step()
                sent += more
        except KeyboardInterrupt:
            return
        finally:
            store.close()
    if forwarder.stopped:
        fail("the sink takes nothing")
    typer.echo(f"{sent} records sent")


def _tell(event: str, count: int) -> None:
    typer.echo(f"auditlog: {event.replace('_', ' ')}, {count}", err=True)


def register(app: typer.Typer) -> None:
    app.command()(forward)
