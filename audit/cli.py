"""``auditlog``: what an auditor holds in hand. Needs nothing of the gateway.

Exit codes of ``verify`` are DESIGN §3: 0 verified and anchored, 10 consistent but unanchored,
20 nothing or bytes missing, 30 contradicts what was kept, 40 tampered. Others: 0 done, 1 failed,
2 wrong use. Libraries that take long to load are imported by the command that needs them.
"""

from __future__ import annotations

import typer

from audit.commands import (
    auditors,
    erasing,
    handing_out,
    keystores,
    migrating,
    reading,
    reports,
    retaining,
    stamping,
    verifying,
    watching,
    witnessing,
)

_HELP = "Read, verify and export the gateway's sealed log."
app = typer.Typer(name="auditlog", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
_GROUPS = (
    verifying, handing_out, reading, witnessing, stamping, keystores, auditors, erasing, retaining,
    reports, watching, migrating,
)  # fmt: skip
for group in _GROUPS:
    group.register(app)


def main() -> None:
    """The entry point of ``auditlog``."""
    app()
