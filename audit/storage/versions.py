"""Which schema a database has: a newer one is not guessed at, an older one not mended unasked."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, delete, insert, inspect, select

from audit.errors import AuditError


def version(connection: Connection, table: Table, known: Sequence[str]) -> str:
    """The number a database gives its schema; the first one where it gives none."""
    if not inspect(connection).has_table(table.name):
        return known[0]
    found = connection.scalar(select(table.c.version_num))
    return known[0] if found is None else str(found)


def check_version(
    connection: Connection,
    table: Table,
    known: Sequence[str],
    *,
    write: bool,
    error: type[AuditError],
) -> None:
    """Refuse what this program does not know; for writing, also what is not the newest it knows.

    Raises:
        AuditError: ``error``, which says what to do.
    """
    found = version(connection, table, known)
    if found not in known:
        raise error("the database is newer than this program: update the program")
    if write and found != known[-1]:
        raise error("the database is older than this program: run `auditlog migrate`")


def stamp(connection: Connection, table: Table, number: str) -> None:
    """Say that the schema is of this number. For a database that was just made."""
    connection.execute(delete(table))
    connection.execute(insert(table), {"version_num": number})
