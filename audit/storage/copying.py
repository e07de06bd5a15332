"""What is done many times over, the quick way of each driver: whole rows, and single values.

PostgreSQL's COPY is one message, where the driver would send one a row. SQLite's own executemany
takes the rows as they are, where SQLAlchemy would look at each value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Table
from sqlalchemy.exc import SQLAlchemyError

# postgresql.org/docs/15/sql-copy.html, binary format: a signature, flags, no extension; for each
# row the number of its fields, for each field its length (-1: NULL) and its bytes; then -1.
_BEGIN = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_length, _number, _big_number = (struct.Struct(f).pack for f in ("!i", "!ii", "!iq"))


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that hold the table's columns in order. Part of the open transaction.

    Raises:
        SQLAlchemyError: none of them is there, and the transaction is void.
    """
    if rows and connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
    elif rows:
        connection.exec_driver_sql(_insert(table), list(rows))


def delete_each(connection: Connection, column: Column[Any], values: Sequence[Any]) -> None:
    """Delete the rows that hold one of these values. Part of the open transaction."""
    if not values:
        return
    statement = f"DELETE FROM {column.table} WHERE {column.name}"  # noqa: S608 - our own names
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"{statement} = ANY(%s)", (list(values),))
    else:
        connection.exec_driver_sql(f"{statement} = ?", [(value,) for value in values])


def look_up(
    connection: Connection, column: Column[Any], *keys: tuple[Column[Any], int]
) -> object | None:
    """The value of one row, found by its key; None where there is no such row."""
    statement = _select(column, tuple(key for key, _ in keys), connection.dialect.name)
    return connection.exec_driver_sql(statement, tuple(value for _, value in keys)).scalar()


@cache
def _select(column: Column[Any], keys: tuple[Column[Any], ...], dialect: str) -> str:
    mark = "%s" if dialect == "postgresql" else "?"
    where = " AND ".join(f"{key.name} = {mark}" for key in keys)
    return f"SELECT {column.name} FROM {column.table} WHERE {where}"  # noqa: S608 - our own names


@cache
def _insert(table: Table) -> str:
    marks = ", ".join("?" * len(table.c))
    return f"INSERT INTO {table.name} ({', '.join(table.c.keys())}) VALUES ({marks})"  # noqa: S608


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(table.c.keys())
    statement = f"COPY {table.name} ({names}) FROM STDIN WITH (FORMAT binary)"
    big = [isinstance(column.type, BigInteger) for column in table.c]
    driver: Any = connection.connection
    try:
        # An iterable of one: the driver would cut a file into many small messages.
        driver.cursor().execute(statement, stream=[_binary(rows, big)])
    except connection.dialect.loaded_dbapi.Error:
        raise SQLAlchemyError from None


def _binary(rows: Sequence[tuple[Any, ...]], big: Sequence[bool]) -> bytes:
    count = struct.pack("!h", len(big))
    out = [_BEGIN]
    for row in rows:
        out.append(count)
        for value, wide in zip(row, big, strict=True):
            out += _field(value, wide=wide)
    out.append(_END)
    return b"".join(out)


def _field(value: object, *, wide: bool) -> tuple[bytes, ...]:
    if isinstance(value, bytes):
        return _length(len(value)), value
    if isinstance(value, str):
        text = value.encode()
        return _length(len(text)), text
    if value is None:
        return (_NULL,)
    return (_big_number(8, value) if wide else _number(4, value),)
