"""Many whole rows at once, the quick way of each driver.

PostgreSQL's COPY is one message, where the driver would send one a row. SQLite's own executemany
takes the rows as they are, where SQLAlchemy would look at each value.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

# postgresql.org/docs/15/sql-copy.html, text format: what would end a field or a row is escaped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that hold the table's columns in order. Part of the open transaction.

    Raises:
        SQLAlchemyError: none of them is there, and the transaction is void.
    """
    if rows and connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
    elif rows:
        connection.exec_driver_sql(_insert(table), list(rows))


@cache
def _insert(table: Table) -> str:
    marks = ", ".join("?" * len(table.c))
    return f"INSERT INTO {table.name} ({', '.join(table.c.keys())}) VALUES ({marks})"  # noqa: S608


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(table.c.keys())
    statement = f"COPY {table.name} ({names}) FROM STDIN"
    data = io.BytesIO("".join(map(_line, rows)).encode())
    driver: Any = connection.connection
    try:
        driver.cursor().execute(statement, stream=data)
    except connection.dialect.loaded_dbapi.Error:
        raise SQLAlchemyError from None


def _line(row: tuple[Any, ...]) -> str:
    return "\t".join(map(_field, row)) + "\n"


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    return str(value).translate(_ESCAPES)
