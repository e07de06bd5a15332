"""``auditlog``: what an auditor holds in hand. Needs nothing of the gateway.

Exit codes of ``verify`` are DESIGN §3: 0 verified and anchored, 10 consistent but unanchored,
20 nothing or bytes missing, 30 contradicts what was kept, 40 tampered. Others: 0 done, 1 failed,
2 wrong use. Libraries that take long to load are imported by the command that needs them.
"""

from __future__ import annotations

import typer

from audit.commands import handing_out, migrating, reading, verifying

_HELP = "Read, verify and export the gateway's sealed log."
app = typer.Typer(name="auditlog", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
for group in (verifying, handing_out, reading, migrating):
    group.register(app)


def main() -> None:
    """The entry point of ``auditlog``."""
    app()
