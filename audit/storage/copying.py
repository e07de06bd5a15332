"""PostgreSQL's COPY: many rows in one message, where the driver would send one message a row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

# postgresql.org/docs/15/sql-copy.html, text format: what would end a field or a row is escaped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that hold the table's columns in order. Part of the open transaction.

    Raises:
        SQLAlchemyError: none of them is there, and the transaction is void.
    """
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
