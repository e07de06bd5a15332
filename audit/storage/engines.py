"""Engines over SQLite and PostgreSQL whose transactions begin, wait and end as the log needs.

SQLite in WAL with ``synchronous=FULL``: a transaction that returned has been synced, so what was
acknowledged survives a crash of the process and of the machine (sqlite.org/pragma.html
#pragma_synchronous). ``secure_delete`` overwrites what is deleted. Files are 0600 before the first
byte is in them. PostgreSQL with ``synchronous_commit=on`` and only where the server syncs at all.

Both elect one sequencer for each append, by the first statement of the transaction: SQLite's
``BEGIN IMMEDIATE``, PostgreSQL's advisory lock, freed by the server when its holder ends or dies.
"""

from __future__ import annotations

import os
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from audit.errors import AuditError, LedgerError
from audit.storage.place import Place, Server

BUSY_MS = 10_000
_SILENCE_S = 30  # a server that says nothing for so long is lost
# Any constant does, so long as every version of this program asks for the same one.
_SEQUENCER = 0x636C6F6973746572
_APPENDING = f"SELECT pg_advisory_xact_lock({_SEQUENCER})"
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


@contextmanager
def port(error: type[AuditError], message: str) -> Iterator[None]:
    """Errors of the drivers stop here, without their text."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError):
        raise error(message) from None


# --- SQLite -----------------------------------------------------------------------------------


def private_file(path: Path) -> None:
    """Create the file 0600 if it is not there: SQLite gives -wal and -shm the same mode."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.close(descriptor)


def file_engine(path: Path, *, begin: str) -> Engine:
    """An engine whose transactions start with ``begin``, said by us and not by the driver."""
    pool = QueuePool if begin == "BEGIN" else NullPool
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=pool)
    _listen(engine, begin, writable=True)
    return engine


def readonly_engine(path: Path, *, pooled: bool = False) -> Engine:
    """An engine that cannot write: for auditors, also on media that are mounted read-only."""
    wal = path.with_name(path.name + "-wal")
    immutable = not wal.exists() and not os.access(path.parent, os.W_OK)
    query = {"mode": "ro", "uri": "true"} | ({"immutable": "1"} if immutable else {})
    url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    engine = create_engine(url, poolclass=QueuePool if pooled else NullPool)
    _listen(engine, "BEGIN", writable=False)
    return engine


def _listen(engine: Engine, begin: str, *, writable: bool) -> None:
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        pragmas = [f"busy_timeout = {BUSY_MS}", "temp_store = MEMORY", "trusted_schema = OFF"]
        if writable:
            pragmas += ["journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"]
        for pragma in pragmas:
            connection.execute("PRAGMA " + pragma)

    event.listen(engine, "connect", connected)
    _begin_with(engine, begin)


def _begin_with(engine: Engine, statement: str) -> None:
    def started(connection: Connection) -> None:
        connection.connection.cursor().execute(statement)

    event.listen(engine, "begin", started)


# --- PostgreSQL -------------------------------------------------------------------------------

_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": str(BUSY_MS),
    # A holder of the sequencer's lock that is lost without a word: the server lets go of it.
    "idle_in_transaction_session_timeout": str(BUSY_MS),
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "search_path": "public",
}


def server_engine(server: Server, *, write: bool) -> Engine:
    """An engine over a server's database, for snapshots or for appending."""
    engine = create_engine(
        "postgresql+pg8000://",
        creator=_connecting(server),
        poolclass=NullPool if write else QueuePool,
        pool_pre_ping=not write,
    )
    _begin_with(engine, _APPENDING if write else _SNAPSHOT)
    return engine


def _connecting(server: Server) -> Callable[[], Any]:
    try:
        from pg8000 import dbapi  # noqa: PLC0415 - an extra; a SQLite ledger does without
    except ImportError:
        raise LedgerError("PostgreSQL needs pg8000, which the extra `gateway` brings") from None

    class Quiet(dbapi.Connection):  # type: ignore[misc]
        """Closes its socket also where the other end is gone, and says nothing of it."""

        def __init__(self, *args: Any, **options: Any) -> None:
            try:
                super().__init__(*args, **options)
                _prepare(self)
            except BaseException:
                self.close()
                raise

        def close(self) -> None:
            stream: Any = getattr(self, "_sock", None)
            with suppress(dbapi.Error, OSError, ValueError, AttributeError):
                super().close()
            with suppress(OSError, ValueError, AttributeError):
                stream.close()

    def connect() -> Any:
        where: dict[str, Any] = {"host": server.host, "port": server.port}
        if server.host.startswith("/"):
            where = {"unix_sock": f"{server.host}/.s.PGSQL.{server.port}"}
        try:
            return Quiet(
                server.user,
                database=server.database,
                password=_password(server),
                ssl_context=_tls(server),
                timeout=_SILENCE_S,
                application_name="cloister",
                **where,
            )
        except (dbapi.Error, OSError, ValueError):
            raise OSError("the database server cannot be used") from None

    return connect


def _prepare(connection: Any) -> None:
    cursor = connection.cursor()
    wanted = ", ".join(f"set_config('{name}', '{to}', false)" for name, to in _SESSION.items())
    cursor.execute(f"SELECT current_setting('fsync'), {wanted}")
    if cursor.fetchone()[0] != "on":  # nothing would be durable whatever a commit says
        raise OSError("the database server does not sync")
    connection.commit()


def _password(server: Server) -> str | None:
    if server.password_file is None:
        return None
    return server.password_file.read_text("utf-8").split("\n", 1)[0]


def _tls(server: Server) -> ssl.SSLContext | None:
    """TLS with a verified name beyond loopback, always (DESIGN §3)."""
    if server.local and server.ca_file is None:
        return None
    return ssl.create_default_context(cafile=server.ca_file)


# --- either -----------------------------------------------------------------------------------


def engines(place: Place, *, readonly: bool) -> tuple[Engine, Engine]:
    """An engine for snapshots and one for appending; the same one twice where none may write."""
    if isinstance(place, Server):
        reading = server_engine(place, write=False)
        return reading, reading if readonly else server_engine(place, write=True)
    if readonly:
        engine = readonly_engine(place)
        return engine, engine
    return file_engine(place, begin="BEGIN"), file_engine(place, begin="BEGIN IMMEDIATE")
